"""Mail transactions: MAIL, RCPT, DATA, and the answer of intake (RFC 5321 3.3, RFC 6409)."""

from __future__ import annotations

from typing import ClassVar

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_commands import Work
from postroad.adapters.smtpd_context import Door
from postroad.adapters.smtpd_receive import FarTooLarge, Reception
from postroad.adapters.smtpd_stream import SessionOver
from postroad.adapters.smtpd_xclient import RelayedSession
from postroad.mail.esmtp import EsmtpError, MailArguments, parse_mail, parse_rcpt
from postroad.mail.handling import HandlingError, lane_of, settle
from postroad.mail.message import Body, Content, Envelope, EnvelopeRecipient, Lane, Submission
from postroad.mail.reply import Reply
from postroad.ports.spool import BodyFile


class SubmissionSession(RelayedSession):
    """The session with messages by DATA; `ChunkSession` is the whole one."""

    NO_RECIPIENTS: ClassVar[Reply] = replies.NO_RECIPIENTS

    def __init__(self, door: Door) -> None:
        super().__init__(door)
        self._mail_refused = False
        self._most_recipients = self._config.max_recipients
        self._recipients: list[EnvelopeRecipient] = []
        self._asked = 0
        self._reception: Reception | None = None
        self._began = 0.0
        # When a window of `min_data_rate` began, and what was received by then.
        self._window = 0.0
        self._window_received = 0

    def smtp_MAIL(self, argument: str) -> None:
        if not self._helo:
            self._error(self.HELLO_FIRST)
        elif self._mail is not None:
            self._error(replies.MAIL_TWICE)
        else:
            self._asked = 0
            refusal = self._denial() or self._open_transaction(argument)
            self._mail_refused = refusal is not None
            if refusal is None:
                self.say(replies.SENDER_OK)
            else:
                self._refused("mail", refusal, sender=argument)
                self._error(refusal)

    def _open_transaction(self, argument: str) -> Reply | None:
        if self._world.spool.low():
            return replies.STORAGE_FULL
        try:
            mail = parse_mail(argument, extended=self._extended, known=self._parameters)
            if mail.asks is not None:
                settle(mail.asks, self._world.clock.now(), self._limits())
        except EsmtpError as error:
            return error.reply
        except HandlingError as error:
            return Reply(501, (str(error),), error.enhanced)
        if mail.size is not None and mail.size > self._config.max_message_size:
            return replies.TOO_LARGE
        if mail.sender is not None and not self._world.reaches(mail.sender.domain):
            return replies.SENDER_UNQUALIFIED
        account = self._account()
        assert account is not None
        permit = self._world.rights.permit(account)
        self._most_recipients = self._config.max_recipients
        if not permit.free:
            refusal = self._world.rights.mail(permit, mail.sender, mail.size)
            if refusal is not None:
                return refusal
            own = permit.policy.max_recipients
            if own is not None:
                self._most_recipients = min(self._most_recipients, own)
        self._transactions += 1
        if self._transactions > self._config.max_transactions:
            raise SessionOver("limit", replies.TOO_MANY_TRANSACTIONS)
        self._mail = mail
        return None

    def smtp_RCPT(self, argument: str) -> None:
        """Recipients that are refused are counted as recipients, not as errors.

        A long list with some bad addresses is usual, and so is a list sent in one
        go behind a MAIL that was refused; a session that probes without end is not.
        """
        mail = self._mail
        if mail is None and not self._mail_refused:
            self._error(self._login_wanted() or replies.MAIL_FIRST)
            return
        self._asked += 1
        if self._asked > 2 * self._config.max_recipients:
            self._error(replies.TOO_MANY_RECIPIENTS)
        elif mail is None:
            self.say(self._login_wanted() or replies.MAIL_FIRST)
        elif len(self._recipients) >= self._most_recipients:
            self._refused("rcpt", replies.TOO_MANY_RECIPIENTS, recipient=argument)
            self.say(replies.TOO_MANY_RECIPIENTS)
        else:
            self._add_recipient(mail, argument)

    def _add_recipient(self, mail: MailArguments, argument: str) -> None:
        try:
            recipient = parse_rcpt(argument, smtputf8=mail.smtputf8, extended=self._extended)
        except EsmtpError as error:
            self._refuse_recipient(error.reply, argument)
            return
        if not self._world.reaches(recipient.address.domain):
            self._refuse_recipient(replies.RECIPIENT_UNQUALIFIED, argument)
            return
        self._recipients.append(recipient)
        self.say(replies.RECIPIENT_OK)

    def _refuse_recipient(self, reply: Reply, argument: str) -> None:
        self._refused("rcpt", reply, recipient=argument)
        self.say(reply)

    def smtp_DATA(self, argument: str) -> None:
        if argument:
            self._error(replies.NO_ARGUMENT)
        elif self._mail is None and self._mail_refused:
            self.say(self._login_wanted() or replies.MAIL_FIRST)
            self._reset()
        elif self._mail is None:
            self._error(self._login_wanted() or replies.MAIL_FIRST)
        elif not self._recipients:
            self._error(self.NO_RECIPIENTS if self._asked else replies.RCPT_FIRST)
        elif self._mail.body is Body.BINARY:
            self._error(replies.BINARY_BY_DATA)
        else:
            self._open_data(self._mail)

    def _open_data(self, mail: MailArguments) -> None:
        self._busy = True
        reception = self._reception = Reception(self._config, self._stage)
        self._begin_time()
        self._taker = lambda chunk: self._take(mail, reception, chunk)
        self.say(replies.GO_AHEAD)

    def _take(self, mail: MailArguments, reception: Reception, chunk: bytes) -> Work | None:
        """More of the message. In mid-message only closing keeps us in step with the client."""
        try:
            writing = reception.feed(chunk) if chunk else None
        except FarTooLarge:
            self._refused("data", replies.TOO_LARGE)
            raise SessionOver("limit", replies.FAR_TOO_LARGE) from None
        except Exception as error:
            self._report(error)
            raise SessionOver("error", replies.OUT_OF_STEP) from error
        if writing is not None:
            return self._store(writing)
        return self._conclude(mail, reception) if reception.done else None

    async def _store(self, writing: Work) -> None:
        # The disk's time is not the client's.
        self.deadline.clear()
        try:
            await writing
            self._begin_window()
        except Exception as error:
            self._report(error)
            raise SessionOver("error", replies.OUT_OF_STEP) from error

    def _patience(self) -> float:
        """Each wait within `idle_timeout`, each window at the rate, a whole message within its time."""
        reception, config = self._reception, self._config
        if reception is None:
            return config.idle_timeout
        if reception.received - self._window_received >= config.min_data_rate * config.data_rate_window:
            self._begin_window()
        whole = self._began + config.data_timeout + reception.received / config.min_data_rate
        until = min(whole, self._window + config.data_rate_window)
        return max(0.0, min(config.idle_timeout, until - self.loop.time()))

    def _begin_time(self) -> None:
        """The client is asked for its message."""
        self._began = self._window = self.loop.time()
        self._window_received = 0

    def _begin_window(self) -> None:
        if self._reception is not None:
            self._window, self._window_received = self.loop.time(), self._reception.received

    async def _conclude(self, mail: MailArguments, reception: Reception) -> None:
        """The message is here: decide, and answer."""
        self.deadline.clear()
        self._taker = None
        self.give_back(reception.remainder)
        try:
            with reception:
                content = reception.finish()
            if content is not None:
                await self._hand_over(mail, content, reception)
            else:
                assert reception.refusal is not None
                self._refused("data", reception.refusal)
                self._answer(reception.refusal)
                self._count_error()
        finally:
            self._reception = None
            self._busy = False
            self._reset()

    def _abandon(self) -> None:
        if self._reception is not None:
            self._reception.discard()
            self._reception = None

    async def _hand_over(self, mail: MailArguments, content: Content, reception: Reception) -> None:
        account = self._account()
        assert account is not None
        now, asks = self._world.clock.now(), mail.asks
        handling, lane = None, Lane.NORMAL
        if asks is not None:
            limits = self._limits()
            handling = settle(asks, now, limits)
            lane = lane_of(handling, limits)
        envelope = Envelope(
            mail.sender, tuple(self._recipients), mail.body, mail.smtputf8, mail.ret, mail.envid, handling
        )
        submission = Submission(envelope, content, account, self._peer(), now, lane)
        try:
            reply = await self._world.intake.accept(submission)
        except Exception as error:
            self._report(error)
            reply = replies.INTERNAL
        if handling is not None and asks is not None and handling.priority != asks.priority:
            reply = _with_priority(reply, handling.priority)
        self._answer(reply)
        if reply.kind != 2:
            reception.discard()
            return
        self._accepted += 1
        self._errors = self._idle_commands = 0

    def _answer(self, reply: Reply) -> None:
        """Say what became of the message."""
        self.say(reply)

    def _stage(self) -> BodyFile:
        return self._registry.body(self._world.spool.stage(self._world.new_id(self._world.clock.now())))

    def _reset(self) -> None:
        super()._reset()
        self._mail_refused = False
        self._recipients = []
        self._asked = 0

    def smtp_RSET(self, argument: str) -> None:
        if argument:
            self._error(replies.NO_ARGUMENT)
            return
        self._reset()
        self._idle_command(replies.OK)


def _with_priority(reply: Reply, priority: int | None) -> Reply:
    """RFC 6710 4.1: a client whose priority was lowered is told."""
    if reply.kind != 2:
        return reply
    text = f"{priority} is the new priority assigned to the message; {reply.text}"
    return Reply(reply.code, (text,), "2.3.6")


SubmissionSession.VERBS = {
    name.removeprefix("smtp_"): getattr(SubmissionSession, name)
    for name in dir(SubmissionSession)
    if name.startswith("smtp_")
}
