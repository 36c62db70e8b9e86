from __future__ import annotations

import re

import pytest

from postroad.mail.classify import judge
from postroad.mail.outcome import Fault, Kind, Outcome, Reason, Scope, Stage, Trouble
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint
from postroad.mail.rules import default_rules

RULES = default_rules()
MX = Endpoint("mx.example", "192.0.2.1", 25)
SAID = re.compile(r"(\d{3})(?: (\d\.\d+\.\d+))? (.*)")


def reply(text: str) -> Reply:
    """A reply as a table writes it: "450 4.2.0 Greylisted"."""
    found = SAID.fullmatch(text)
    assert found is not None
    return Reply(int(found[1]), (found[3],), found[2])


def at_rcpt(text: str, host: Endpoint | str = MX) -> Outcome:
    return judge(Stage.RCPT, reply(text), host, RULES)


GREYLISTING = [
    ("450 4.2.0 <a@b.example>: Recipient address rejected: Greylisted, see http://postgrey.example/", None),
    ("450 4.2.0 Greylisted for 300 seconds", 300),
    ("450 4.7.1 Greylisted for 5 minutes", 300),
    ("451 4.7.1 Greylisting in action, please come back in 00:30:00", 1800),
    ("451 greylisted", None),
    ("450 4.7.1 Greylisted. Please come back later.", None),
    ("451 Greylisted, please try again in 900 seconds", 900),
    ("451 Greylisting enabled, try again in 15 minutes", 900),
    ("451 4.7.1 gray-listed: 120 seconds left", 120),
    ("451 Internal resource temporarily unavailable", 60),
    ("451 Internal resources are temporarily unavailable - https://community.mimecast.example/", 60),
    ("451 4.7.1 Grey listed", None),
]

PERHAPS_GREYLISTING = [
    ("451 4.7.1 Try again later", None),
    ("451 Temporary failure, please try again later.", None),
    ("450 4.7.1 Recipient address rejected: Service is unavailable (try later)", None),
    ("451 4.3.2 Please try again later", None),
    ("451 4.7.1 Please try again later", None),
    ("451 Please try again later.", None),
    ("450 4.3.2 Service currently unavailable", 10),
    ("450 4.2.0 Mailbox temporarily unavailable", None),
    ("450 4.7.1 Deferred, come back in 5 minutes", 300),
]

CLASSES = [
    (Reason.INVALID, "550 5.1.1 <a@b.example>: Recipient address rejected: User unknown"),
    (Reason.INVALID, "550 5.1.1 The email account that you tried to reach does not exist."),
    (Reason.INVALID, "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient a@b.example not found"),
    (Reason.INVALID, "550 no such user"),
    (Reason.INVALID, "550 Requested action not taken: mailbox not found"),
    (Reason.INVALID, "553 sorry, that domain isn't in my list; no mailbox here by that name"),
    (Reason.INVALID, "550 Unrouteable address"),
    (Reason.INACTIVE, "550 5.2.1 The email account that you tried to reach is disabled"),
    (Reason.INACTIVE, "554 delivery error: dd This user's mailbox is disabled"),
    (Reason.INACTIVE, "551 5.1.6 Recipient has moved"),
    (Reason.BAD_DOMAIN, "550 5.1.2 Bad destination mailbox system address"),
    (Reason.BAD_DOMAIN, "556 5.1.10 Recipient domain has null MX"),
    (Reason.FULL, "452 4.2.2 The recipient's inbox is out of storage space (OverQuotaTemp)"),
    (Reason.FULL, "552 5.2.2 The recipient's inbox is over quota (OverQuotaPerm)"),
    (Reason.FULL, "552 Requested mail action aborted: exceeded storage allocation"),
    (Reason.FULL, "450 Mailbox full, try again later"),
    (Reason.THROTTLE, "421 4.7.28 Gmail has detected an unusual rate of mail originating from your IP"),
    (Reason.THROTTLE, "421 4.7.0 Our system has detected that this message comes from a low reputation IP"),
    (Reason.THROTTLE, "450 4.2.1 The user you are trying to contact is receiving mail too quickly."),
    (Reason.THROTTLE, "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited (S3114)"),
    (Reason.THROTTLE, "451 4.7.651 The mail server has been temporarily rate limited due to IP reputation"),
    (Reason.THROTTLE, "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS77713)"),
    (Reason.THROTTLE, "451 4.7.699 Server busy (AS843)"),
    (Reason.THROTTLE, "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to complaints"),
    (Reason.THROTTLE, "421 4.7.0 [TSS05] Messages temporarily deferred due to unexpected volume"),
    (Reason.THROTTLE, "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred"),
    (Reason.THROTTLE, "421 4.1.0 192.0.2.1 Throttled - try again later RL000010"),
    (Reason.THROTTLE, "451 Too many messages, slow down"),
    (Reason.THROTTLE, "451 4.7.1 Rate limit exceeded, please try again later"),
    (
        Reason.CONNECTIONS,
        "451 4.7.652 The mail server has exceeded the maximum number of connections. (S3115)",
    ),
    (Reason.CONNECTIONS, "421 4.7.0 mx.example Error: too many connections from 192.0.2.1"),
    (Reason.CONNECTIONS, "421 Trop de connexions, veuillez verifier votre configuration."),
    (Reason.CONNECTIONS, "421 IB007 connection refused"),
    (Reason.CONNECTIONS, "421 4.3.2 Too many concurrent SMTP sessions"),
    (Reason.AUTH, "421 4.7.26 This mail is unauthenticated"),
    (Reason.AUTH, "550 5.7.26 Unauthenticated email is not accepted due to the domain's DMARC policy"),
    (Reason.AUTH, "550 5.7.27 SPF check failed"),
    (Reason.AUTH, "550 5.7.30 DKIM check did not pass"),
    (Reason.AUTH, "550 5.7.25 The IP address sending this message does not have a PTR record setup"),
    (Reason.AUTH, "550 5.7.515 Access denied, sending domain does not meet the required level"),
    (Reason.AUTH, "550 5.7.509 Access denied, sending domain does not pass DMARC verification"),
    (Reason.AUTH, "450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]"),
    (Reason.TLS, "421 4.7.29 not sent over a TLS connection"),
    (Reason.TLS, "530 5.7.0 Must issue a STARTTLS command first"),
    (
        Reason.BLOCK,
        "550 5.7.1 messages from [192.0.2.1] weren't sent; their network is on our block list (S3140)",
    ),
    (Reason.BLOCK, "550 5.7.1 Unfortunately, messages weren't sent (S3150)"),
    (Reason.BLOCK, "550 5.7.606 Access denied, banned sending IP [192.0.2.1]"),
    (Reason.BLOCK, "550 5.7.649 Access denied"),
    (Reason.BLOCK, "550 5.7.511 Access denied, banned sender[a@example.com]"),
    (Reason.BLOCK, "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org"),
    (Reason.BLOCK, "550 Your IP 192.0.2.1 has been blocked"),
    (Reason.SPAM, "550 5.7.1 This message was classified as SPAM and may not be delivered"),
    (Reason.SPAM, "554 5.7.1 Message rejected as spam"),
    (Reason.SPAM, "550 5.1.1 rejected: looks like spam"),
    (Reason.POLICY, "554 5.7.9 Message not accepted for policy reasons."),
    (Reason.POLICY, "550 5.7.1 Access denied"),
    (Reason.POLICY, "554 Transaction failed: local policy"),
    (Reason.ROUTING, "554 5.7.1 <a@b.example>: Relay access denied"),
    (Reason.ROUTING, "550 5.7.1 Unable to relay"),
    (Reason.ROUTING, "550 relay not permitted"),
    (Reason.ROUTING, "550 not our customer"),
    (Reason.TOO_BIG, "552 5.3.4 Message size exceeds fixed limit"),
    (Reason.TOO_BIG, "552 5.2.3 Message exceeds maximum fixed size"),
    (Reason.TOO_BIG, "552 Message too large"),
    (Reason.UNSUPPORTED, "553 5.6.7 SMTPUTF8 not supported"),
    (Reason.TOO_MANY_RECIPIENTS, "452 4.5.3 Too many recipients"),
    (Reason.TOO_MANY_RECIPIENTS, "452 Error: too many recipients"),
    (Reason.PROTOCOL, "503 5.5.1 Bad sequence of commands"),
    (Reason.PROTOCOL, "501 Syntax error in parameters or arguments"),
    (Reason.NETWORK, "421 4.3.2 Service shutting down, closing channel"),
    (Reason.NETWORK, "451 4.4.1 Could not reach the mailbox server"),
    (Reason.DNS, "451 4.4.3 Temporary name resolution failure"),
    (Reason.TEMPORARY, "451 4.3.0 <a@b.example>: Temporary lookup failure"),
    (Reason.TEMPORARY, "451 4.3.0 Server load is too high, try again later"),
    (Reason.TEMPORARY, "452 4.3.1 Insufficient system storage"),
    (Reason.POLICY, "450 4.1.8 Sender address rejected: Domain not found"),
    (Reason.POLICY, "550 5.1.8 <a@example.com>: Sender address rejected: Domain not found"),
    (Reason.POLICY, "550 <a@example.com>: Sender address rejected: User unknown in relay table"),
    (Reason.POLICY, "553 unknown sender"),
    (Reason.THROTTLE, "550 5.2.1 The user you write to gets mail at a rate that leaves no room"),
    (Reason.THROTTLE, "550 5.1.1 <a@b.example> 192.0.2.1 has sent to too many recipients this hour"),
    (Reason.THROTTLE, "550 Ip frequency limited"),
    (Reason.INACTIVE, "525 5.7.13 Recipient is disabled"),
    (Reason.INACTIVE, "550 Mailbox is frozen"),
    (Reason.INACTIVE, "550 5.5.0 The recipient account is blocked."),
    (Reason.BAD_DOMAIN, "521 we take no mail"),
    (Reason.BAD_DOMAIN, "550 Host unknown"),
    (Reason.BAD_DOMAIN, "550 5.4.4 Invalid domain"),
    (Reason.AUTH, "550 Unauthenticated senders are not welcome"),
    (Reason.AUTH, "450 4.7.1 Access denied. IP name lookup failed [192.0.2.1]"),
    (Reason.BLOCK, "554 Host network not allowed"),
    (Reason.ROUTING, "554 5.4.6 Too many hops"),
    (Reason.INVALID, "554 delivery error: dd This user doesn't have a mail account here"),
    (Reason.TEMPORARY, "450 4.1.1 <a@b.example>: Recipient address rejected: User unknown"),
    (Reason.TEMPORARY, "450 4.1.1 Recipient address rejected: unverified"),
    (Reason.TEMPORARY, "450 Hello"),
    (Reason.PERMANENT, "550 Requested action not taken"),
    (Reason.PERMANENT, "554 5.0.0 Go away"),
]

OF_A_PROVIDER = [
    ("x.mail.protection.outlook.com", Reason.INVALID, "550 5.4.1 Recipient address rejected: Access denied."),
    ("x.mx.microsoft", Reason.INVALID, "550 5.4.1 Recipient address rejected: Access denied."),
    ("mx.example", Reason.PERMANENT, "550 5.4.1 Recipient address rejected: Access denied."),
    (
        "mta5.am0.yahoodns.net",
        Reason.INVALID,
        "554 30 Sorry, your message cannot be delivered. mailbox not found.",
    ),
    ("mta5.am0.yahoodns.net", Reason.INVALID, "552 1 Requested mail action aborted, mailbox not found"),
    ("mta5.am0.yahoodns.net", Reason.BLOCK, "553 5.7.2 [TSS09] All messages from 192.0.2.1 will be deferred"),
    ("mta5.am0.yahoodns.net", Reason.BLOCK, "553 5.7.1 [BL21] Connections will not be accepted"),
]


class TestClass:
    @pytest.mark.parametrize(("text", "hint"), GREYLISTING)
    def test_greylisting_is_recognised_with_the_wait_it_states(self, text: str, hint: float | None) -> None:
        outcome = at_rcpt(text)
        assert (outcome.reason, outcome.hint, outcome.kind) == (Reason.GREYLIST, hint, Kind.DEFERRED)

    @pytest.mark.parametrize(("text", "hint"), PERHAPS_GREYLISTING)
    def test_what_asks_for_a_later_try_may_be_greylisting(self, text: str, hint: float | None) -> None:
        outcome = at_rcpt(text)
        assert (outcome.reason, outcome.hint, outcome.kind) == (Reason.MAYBE_GREYLIST, hint, Kind.DEFERRED)

    @pytest.mark.parametrize(("reason", "text"), CLASSES)
    def test_each_reply_has_its_class(self, reason: Reason, text: str) -> None:
        outcome = at_rcpt(text)
        assert outcome.reason is reason
        assert outcome.kind is (Kind.FAILED if text.startswith("5") else Kind.DEFERRED)
        assert outcome.hint is None

    @pytest.mark.parametrize(("host", "reason", "text"), OF_A_PROVIDER)
    def test_a_provider_has_words_of_its_own(self, host: str, reason: Reason, text: str) -> None:
        assert at_rcpt(text, host).reason is reason
        assert at_rcpt(text, f"{host}[192.0.2.1]:25").reason is reason

    @pytest.mark.parametrize("stage", [Stage.GREETING, Stage.EHLO])
    def test_a_greeting_is_never_greylisting(self, stage: Stage) -> None:
        assert judge(stage, reply("451 4.7.1 Greylisted"), MX, RULES).reason is Reason.POLICY
        assert judge(stage, reply("450 4.3.2 Try again later"), MX, RULES).reason is Reason.TEMPORARY

    def test_mail_may_be_greylisted_only_in_so_many_words(self) -> None:
        assert judge(Stage.MAIL, reply("451 Greylisted"), MX, RULES).reason is Reason.GREYLIST
        assert judge(Stage.MAIL, reply("451 Try again later"), MX, RULES).reason is Reason.TEMPORARY

    def test_a_date_in_a_greylisting_reply_is_a_wait(self) -> None:
        date = reply("451 4.7.1 Greylisted, try again at Mon, 23 Nov 2026 12:05:00 +0000")
        assert judge(Stage.DOT, date, MX, RULES, 1_795_435_200.0).hint == 300

    @pytest.mark.parametrize("code", ["15.1.1.7", "192.0.2.5.1.1"])
    def test_digits_in_the_text_are_no_enhanced_code(self, code: str) -> None:
        assert at_rcpt(f"550 connection from {code} refused").reason is Reason.PERMANENT


class TestReply:
    @pytest.mark.parametrize(
        ("stage", "text", "kind", "scope", "status"),
        [
            (Stage.GREETING, "421 4.3.2 busy", Kind.DEFERRED, Scope.HOST, "4.3.2"),
            (Stage.GREETING, "554 go away", Kind.DEFERRED, Scope.HOST, "4.7.1"),
            (Stage.EHLO, "421 closing", Kind.DEFERRED, Scope.HOST, "4.4.2"),
            (Stage.EHLO, "550 5.7.1 go away", Kind.DEFERRED, Scope.HOST, "4.7.1"),
            (Stage.STARTTLS, "454 4.7.0 TLS not available", Kind.DEFERRED, Scope.HOST, "4.7.0"),
            (Stage.STARTTLS, "554 no", Kind.DEFERRED, Scope.HOST, "4.7.5"),
            (Stage.AUTH, "535 5.7.8 bad credentials", Kind.DEFERRED, Scope.HOST, "4.7.8"),
            (Stage.MAIL, "421 4.3.0 closing", Kind.DEFERRED, Scope.SESSION, "4.3.0"),
            (Stage.MAIL, "451 4.3.0 error", Kind.DEFERRED, Scope.MESSAGE, "4.3.0"),
            (Stage.MAIL, "550 5.7.1 no", Kind.FAILED, Scope.MESSAGE, "5.7.1"),
            (Stage.RCPT, "421 4.3.0 closing", Kind.DEFERRED, Scope.SESSION, "4.3.0"),
            (Stage.RCPT, "450 4.2.1 no", Kind.DEFERRED, Scope.RECIPIENT, "4.2.1"),
            (Stage.RCPT, "550 no such user", Kind.FAILED, Scope.RECIPIENT, "5.1.1"),
            (Stage.DATA, "451 error", Kind.DEFERRED, Scope.MESSAGE, "4.0.0"),
            (Stage.DATA, "421 error", Kind.DEFERRED, Scope.SESSION, "4.4.2"),
            (Stage.DOT, "554 5.6.0 no", Kind.FAILED, Scope.MESSAGE, "5.6.0"),
            (Stage.DOT, "421 4.3.0 closing", Kind.DEFERRED, Scope.SESSION, "4.3.0"),
            (Stage.DOT, "250 2.6.0 queued", Kind.DELIVERED, Scope.RECIPIENT, "2.6.0"),
            (Stage.DOT, "250 ok", Kind.DELIVERED, Scope.RECIPIENT, "2.0.0"),
            (Stage.RCPT, "354 what", Kind.DEFERRED, Scope.SESSION, "4.5.0"),
            (Stage.DATA, "250 what", Kind.DEFERRED, Scope.SESSION, "4.5.0"),
            (Stage.GREETING, "354 what", Kind.DEFERRED, Scope.HOST, "4.5.0"),
        ],
    )
    def test_whom_it_hits_and_whether_it_is_final(
        self, stage: Stage, text: str, kind: Kind, scope: Scope, status: str
    ) -> None:
        outcome = judge(stage, reply(text), MX, RULES)
        assert (outcome.kind, outcome.scope, outcome.status) == (kind, scope, status)
        assert (outcome.stage, outcome.reply, outcome.host) == (stage, reply(text), str(MX))

    @pytest.mark.parametrize(
        ("stage", "text", "reason"),
        [
            (Stage.GREETING, "554 no such user here, spam", Reason.BLOCK),
            (Stage.GREETING, "421 too many connections", Reason.CONNECTIONS),
            (Stage.GREETING, "421 4.7.0 [TSS04] deferred", Reason.THROTTLE),
            (Stage.EHLO, "550 5.7.1 go away", Reason.BLOCK),
            (Stage.STARTTLS, "454 4.7.0 TLS not available", Reason.TLS),
            (Stage.AUTH, "454 4.7.0 Temporary failure", Reason.AUTH),
            (Stage.RCPT, "354 what", Reason.PROTOCOL),
        ],
    )
    def test_what_is_said_before_mail_speaks_of_us(self, stage: Stage, text: str, reason: Reason) -> None:
        assert judge(stage, reply(text), MX, RULES).reason is reason

    @pytest.mark.parametrize(
        ("stage", "text"),
        [
            (Stage.GREETING, "host mx.example[192.0.2.1]:25 refused to talk to me: 550 5.1.1 no such user"),
            (Stage.EHLO, "host mx.example[192.0.2.1]:25 refused to talk to me: 550 5.1.1 no such user"),
            (
                Stage.MAIL,
                "host mx.example[192.0.2.1]:25 said: 550 5.1.1 no such user (in reply to MAIL FROM)",
            ),
            (Stage.RCPT, "host mx.example[192.0.2.1]:25 said: 550 5.1.1 no such user (in reply to RCPT TO)"),
            (
                Stage.DOT,
                "host mx.example[192.0.2.1]:25 said: 550 5.1.1 no such user (in reply to end of DATA)",
            ),
            (Stage.LOCAL, "host mx.example[192.0.2.1]:25 said: 550 5.1.1 no such user"),
        ],
    )
    def test_it_is_told_as_people_know_it(self, stage: Stage, text: str) -> None:
        assert judge(stage, reply("550 5.1.1 no such user"), MX, RULES).text == text

    def test_a_delivery_is_told_by_the_reply_alone(self) -> None:
        assert judge(Stage.DOT, reply("250 2.0.0 queued as 1"), MX, RULES).text == "250 2.0.0 queued as 1"

    def test_without_a_host_the_remote_host_said_it(self) -> None:
        outcome = judge(Stage.RCPT, reply("550 no"), None, RULES)
        assert (outcome.host, outcome.text) == (None, "remote host said: 550 no (in reply to RCPT TO)")


class TestTrouble:
    @pytest.mark.parametrize(
        ("stage", "fault", "kind", "scope", "reason", "status"),
        [
            (Stage.CONNECT, Fault.REFUSED, Kind.DEFERRED, Scope.HOST, Reason.NETWORK, "4.4.1"),
            (Stage.CONNECT, Fault.TIMEOUT, Kind.DEFERRED, Scope.HOST, Reason.NETWORK, "4.4.1"),
            (Stage.CONNECT, Fault.UNREACHABLE, Kind.DEFERRED, Scope.HOST, Reason.NETWORK, "4.4.1"),
            (Stage.GREETING, Fault.LOST, Kind.DEFERRED, Scope.HOST, Reason.NETWORK, "4.4.2"),
            (Stage.EHLO, Fault.PROTOCOL, Kind.DEFERRED, Scope.HOST, Reason.PROTOCOL, "4.5.0"),
            (Stage.STARTTLS, Fault.TLS, Kind.DEFERRED, Scope.HOST, Reason.TLS, "4.7.5"),
            (Stage.STARTTLS, Fault.TLS_MISSING, Kind.DEFERRED, Scope.HOST, Reason.TLS, "4.7.4"),
            (Stage.AUTH, Fault.NO_AUTH, Kind.DEFERRED, Scope.HOST, Reason.AUTH, "4.7.0"),
            (Stage.MAIL, Fault.LOST, Kind.DEFERRED, Scope.SESSION, Reason.NETWORK, "4.4.2"),
            (Stage.RCPT, Fault.TIMEOUT, Kind.DEFERRED, Scope.SESSION, Reason.NETWORK, "4.4.2"),
            (Stage.DATA, Fault.PROTOCOL, Kind.DEFERRED, Scope.SESSION, Reason.PROTOCOL, "4.5.0"),
            (Stage.LOCAL, Fault.SIZE, Kind.FAILED, Scope.MESSAGE, Reason.TOO_BIG, "5.3.4"),
            (Stage.LOCAL, Fault.NO_SMTPUTF8, Kind.FAILED, Scope.MESSAGE, Reason.UNSUPPORTED, "5.6.7"),
            (Stage.LOCAL, Fault.NO_8BITMIME, Kind.FAILED, Scope.MESSAGE, Reason.UNSUPPORTED, "5.6.3"),
            (Stage.LOCAL, Fault.INTERNAL, Kind.DEFERRED, Scope.MESSAGE, Reason.INTERNAL, "4.3.0"),
            (Stage.DNS, Fault.DNS_TEMPORARY, Kind.DEFERRED, Scope.SITE, Reason.DNS, "4.4.3"),
            (Stage.DNS, Fault.NO_SUCH_DOMAIN, Kind.FAILED, Scope.SITE, Reason.BAD_DOMAIN, "5.1.2"),
            (Stage.DNS, Fault.NO_ADDRESS, Kind.FAILED, Scope.SITE, Reason.BAD_DOMAIN, "5.4.4"),
            (Stage.DNS, Fault.NULL_MX, Kind.FAILED, Scope.SITE, Reason.BAD_DOMAIN, "5.1.10"),
            (Stage.DNS, Fault.LOOP, Kind.FAILED, Scope.SITE, Reason.ROUTING, "5.4.6"),
            (Stage.DNS, Fault.FORBIDDEN_ADDRESS, Kind.DEFERRED, Scope.SITE, Reason.ROUTING, "4.4.4"),
        ],
    )
    def test_whom_it_hits_and_whether_it_is_final(
        self, stage: Stage, fault: Fault, kind: Kind, scope: Scope, reason: Reason, status: str
    ) -> None:
        outcome = judge(Stage.MAIL, Trouble(stage, fault, "because"), MX, RULES)
        assert (outcome.kind, outcome.scope, outcome.reason, outcome.status) == (kind, scope, reason, status)
        assert (outcome.stage, outcome.reply) == (stage, None)

    @pytest.mark.parametrize("fault", [Fault.LOST, Fault.TIMEOUT, Fault.PROTOCOL])
    def test_after_the_dot_nobody_knows(self, fault: Fault) -> None:
        outcome = judge(Stage.DOT, Trouble(Stage.DOT, fault, "gone", dot_sent=True), MX, RULES)
        assert (outcome.kind, outcome.scope) == (Kind.DEFERRED, Scope.MESSAGE)
        assert (outcome.reason, outcome.status) == (Reason.AMBIGUOUS, "4.4.2")
        assert "may be sent more than once" in outcome.text

    @pytest.mark.parametrize("stage", Stage)
    @pytest.mark.parametrize("fault", Fault)
    def test_every_fault_at_every_stage_has_an_outcome(self, stage: Stage, fault: Fault) -> None:
        for host in (MX, "mx.example", None):
            outcome = judge(stage, Trouble(stage, fault, "because"), host, RULES)
            assert outcome.kind is not Kind.DELIVERED
            assert outcome.status[0] == ("4" if outcome.kind is Kind.DEFERRED else "5")
            assert "because" in outcome.text

    @pytest.mark.parametrize(
        ("trouble", "text"),
        [
            (
                Trouble(Stage.CONNECT, Fault.REFUSED, "Connection refused"),
                "connect to {}: Connection refused",
            ),
            (
                Trouble(Stage.RCPT, Fault.LOST, "reset by peer"),
                "lost connection with {} while sending RCPT TO: reset by peer",
            ),
            (
                Trouble(Stage.DATA, Fault.TIMEOUT, "180 s"),
                "conversation with {} timed out while sending the message: 180 s",
            ),
            (Trouble(Stage.STARTTLS, Fault.TLS, "bad record"), "host {}, while starting TLS: bad record"),
            (Trouble(Stage.DNS, Fault.NULL_MX, "null MX"), "null MX"),
            (Trouble(Stage.CONNECT, Fault.REFUSED, f"{MX} is down"), f"{MX} is down"),
        ],
    )
    def test_it_is_told_with_place_and_time(self, trouble: Trouble, text: str) -> None:
        assert judge(trouble.stage, trouble, MX, RULES).text == text.format(MX)


BLAMES_THE_ADDRESS = {Reason.INVALID, Reason.INACTIVE, Reason.BAD_DOMAIN}


@pytest.mark.parametrize(
    "text",
    [
        "550 5.1.1 rejected: your IP is on a blocklist, user unknown",
        "550 5.1.1 spam",
        "554 5.7.1 no such user policy: rate limit exceeded",
        "550 5.7.26 recipient not found: unauthenticated",
        "451 4.1.1 no such user",
        "450 user unknown",
        "550 5.7.1 Access denied",
        "421 4.7.0 no such user",
        "550 Sender address rejected: no such user",
    ],
)
def test_no_address_is_blamed_for_policy_spam_or_a_moment(text: str) -> None:
    assert at_rcpt(text).reason not in BLAMES_THE_ADDRESS
