"""What a reply or a failure at a stage means, and for whom: the one place where outcomes are made.

The first digit of the basic code decides between deferred and failed; the rules
of `mail.rules` decide the class; the stage decides whom it hits. Four replies
say 5 and are deferred all the same, because they speak about us or this
connection and not about the message: to the greeting, EHLO, STARTTLS and AUTH.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from postroad.mail.hints import wait_asked
from postroad.mail.outcome import GREYLISTING, Fault, Kind, Outcome, Reason, Scope, Stage, Trouble
from postroad.mail.printable import one_line
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint
from postroad.mail.rules import Rule, Rules
from postroad.mail.transaction import Transaction

# A log line and a DSN quote this; a longer text tells nobody more.
LONGEST_TEXT = 2000

_SETUP = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH})

_WHILE = {
    Stage.GREETING: "receiving the initial server greeting",
    Stage.EHLO: "performing the EHLO handshake",
    Stage.STARTTLS: "starting TLS",
    Stage.AUTH: "authenticating",
    Stage.MAIL: "sending MAIL FROM",
    Stage.RCPT: "sending RCPT TO",
    Stage.DATA: "sending the message",
    Stage.DOT: "sending end of data",
}

_COMMAND = {
    Stage.STARTTLS: "STARTTLS",
    Stage.AUTH: "AUTH",
    Stage.MAIL: "MAIL FROM",
    Stage.RCPT: "RCPT TO",
    Stage.DATA: "DATA",
    Stage.DOT: "end of DATA",
}

# Subject and detail (RFC 3463) for a class whose reply brought no enhanced code.
_DETAIL = {
    Reason.INVALID: "1.1",
    Reason.INACTIVE: "2.1",
    Reason.BAD_DOMAIN: "1.2",
    Reason.FULL: "2.2",
    Reason.TOO_BIG: "3.4",
    Reason.TOO_MANY_RECIPIENTS: "5.3",
    Reason.NETWORK: "4.2",
    Reason.CONNECTIONS: "4.5",
    Reason.TLS: "7.5",
    Reason.AUTH: "7.0",
    Reason.BLOCK: "7.1",
    Reason.SPAM: "7.1",
    Reason.POLICY: "7.1",
    Reason.ROUTING: "7.1",
    Reason.GREYLIST: "7.1",
    Reason.PROTOCOL: "5.0",
}

# A fault that means the same at every stage: kind, scope, reason, status.
_FAULTS = {
    Fault.TLS: (Kind.DEFERRED, Scope.HOST, Reason.TLS, "4.7.5"),
    Fault.TLS_MISSING: (Kind.DEFERRED, Scope.HOST, Reason.TLS, "4.7.4"),
    Fault.NO_AUTH: (Kind.DEFERRED, Scope.HOST, Reason.AUTH, "4.7.0"),
    Fault.SIZE: (Kind.FAILED, Scope.MESSAGE, Reason.TOO_BIG, "5.3.4"),
    Fault.NO_SMTPUTF8: (Kind.FAILED, Scope.MESSAGE, Reason.UNSUPPORTED, "5.6.7"),
    Fault.NO_8BITMIME: (Kind.FAILED, Scope.MESSAGE, Reason.UNSUPPORTED, "5.6.3"),
    Fault.NO_BINARYMIME: (Kind.FAILED, Scope.MESSAGE, Reason.UNSUPPORTED, "5.6.3"),
    Fault.NO_REQUIRETLS: (Kind.FAILED, Scope.HOST, Reason.TLS, "5.7.30"),
    Fault.UNVALIDATED_MX: (Kind.FAILED, Scope.SITE, Reason.TLS, "5.7.10"),
    Fault.DNS_TEMPORARY: (Kind.DEFERRED, Scope.SITE, Reason.DNS, "4.4.3"),
    Fault.NO_SUCH_DOMAIN: (Kind.FAILED, Scope.SITE, Reason.BAD_DOMAIN, "5.1.2"),
    Fault.NO_ADDRESS: (Kind.FAILED, Scope.SITE, Reason.BAD_DOMAIN, "5.4.4"),
    Fault.NULL_MX: (Kind.FAILED, Scope.SITE, Reason.BAD_DOMAIN, "5.1.10"),
    Fault.LOOP: (Kind.FAILED, Scope.SITE, Reason.ROUTING, "5.4.6"),
    Fault.FORBIDDEN_ADDRESS: (Kind.DEFERRED, Scope.SITE, Reason.ROUTING, "4.4.4"),
    Fault.INTERNAL: (Kind.DEFERRED, Scope.MESSAGE, Reason.INTERNAL, "4.3.0"),
}


def judge(
    stage: Stage,
    what: Reply | Trouble,
    host: Endpoint | str | None,
    rules: Rules,
    now: float | None = None,
) -> Outcome:
    """The outcome of one reply or failure; a Trouble's own stage goes before `stage`.

    A 2xx reply is a delivery at the final dot and a protocol error elsewhere.
    `now` lets a date in a greylisting reply be read as a wait.
    """
    if isinstance(what, Trouble):
        return _judge_trouble(what, host)
    if what.kind == 2 and stage is Stage.DOT:
        return _delivered(what, host)
    if what.kind not in (4, 5):
        scope = Scope.HOST if stage in _SETUP else Scope.SESSION
        return _outcome(Kind.DEFERRED, scope, Reason.PROTOCOL, stage, what, host, _said(stage, what, host))
    rule = rules.find(stage, what, _name(host))
    return _judge_refusal(stage, what, host, rule, now)


def _delivered(reply: Reply, host: Endpoint | str | None) -> Outcome:
    detail = reply.enhanced[2:] if reply.enhanced else "0.0"
    place = None if host is None else str(host)
    text = one_line(str(reply), LONGEST_TEXT)
    return Outcome(Kind.DELIVERED, Scope.RECIPIENT, Reason.OK, f"2.{detail}", text, Stage.DOT, reply, place)


def insisting(outcome: Outcome) -> Outcome:
    """What an endpoint's outcome means to messages that require TLS (RFC 8689 4.2.1).

    That a host has no TLS to offer, or none to trust, will not change with time; that
    it cannot be reached, or has no TLS just now (454), may.
    """
    passing = outcome.reply is not None and outcome.reply.kind != 5
    if outcome.reason is not Reason.TLS or outcome.kind is not Kind.DEFERRED or passing:
        return outcome
    return replace(outcome, kind=Kind.FAILED, status="5.7.10")


def _judge_refusal(
    stage: Stage, reply: Reply, host: Endpoint | str | None, rule: Rule | None, now: float | None
) -> Outcome:
    kind = Kind.FAILED if reply.kind == 5 and stage not in _SETUP else Kind.DEFERRED
    reason = _reason(stage, reply, rule)
    hint = None
    if kind is Kind.DEFERRED:
        hint = wait_asked(reply.text, now) if reason in GREYLISTING else None
        hint = hint or (rule.wait if rule else None)
    return _outcome(kind, _scope(stage, reply), reason, stage, reply, host, _said(stage, reply, host), hint)


def _reason(stage: Stage, reply: Reply, rule: Rule | None) -> Reason:
    if stage is Stage.AUTH:
        return Reason.AUTH
    if stage is Stage.STARTTLS:
        return Reason.TLS
    if stage in _SETUP and reply.kind == 5:
        return Reason.BLOCK
    if rule is not None:
        return rule.reason
    return Reason.TEMPORARY if reply.kind == 4 else Reason.PERMANENT


def _scope(stage: Stage, reply: Reply) -> Scope:
    if stage in _SETUP:
        return Scope.HOST
    if reply.code == 421:
        return Scope.SESSION
    return Scope.RECIPIENT if stage is Stage.RCPT else Scope.MESSAGE


def _outcome(
    kind: Kind,
    scope: Scope,
    reason: Reason,
    stage: Stage,
    reply: Reply,
    host: Endpoint | str | None,
    text: str,
    hint: float | None = None,
) -> Outcome:
    digit = "4" if kind is Kind.DEFERRED else "5"
    detail = reply.enhanced[2:] if reply.enhanced else _DETAIL.get(reason, "0.0")
    place = None if host is None else str(host)
    return Outcome(
        kind, scope, reason, f"{digit}.{detail}", one_line(text, LONGEST_TEXT), stage, reply, place, hint
    )


def _judge_trouble(trouble: Trouble, host: Endpoint | str | None) -> Outcome:
    stage, fault = trouble.stage, trouble.fault
    if trouble.dot_sent:
        row = (Kind.DEFERRED, Scope.MESSAGE, Reason.AMBIGUOUS, "4.4.2")
    elif fault in _FAULTS:
        row = _FAULTS[fault]
    else:
        scope = Scope.HOST if stage in _SETUP else Scope.SESSION
        protocol = fault is Fault.PROTOCOL
        status = "4.5.0" if protocol else "4.4.1" if stage is Stage.CONNECT else "4.4.2"
        row = (Kind.DEFERRED, scope, Reason.PROTOCOL if protocol else Reason.NETWORK, status)
    place = None if host is None else str(host)
    return Outcome(*row, one_line(_went_wrong(trouble, place), LONGEST_TEXT), stage, None, place)


def _went_wrong(trouble: Trouble, host: str | None) -> str:
    stage, text = trouble.stage, trouble.text
    if host is None or host in text or stage in (Stage.LOCAL, Stage.DNS):
        return text
    if stage is Stage.CONNECT:
        return f"connect to {host}: {text}"
    doubt = " -- message may be sent more than once" if trouble.dot_sent else ""
    phrase = f"{_WHILE[stage]}{doubt}: {text}"
    if trouble.fault is Fault.TIMEOUT:
        return f"conversation with {host} timed out while {phrase}"
    if trouble.fault is Fault.LOST:
        return f"lost connection with {host} while {phrase}"
    return f"host {host}, while {phrase}"


def _said(stage: Stage, reply: Reply, host: Endpoint | str | None) -> str:
    who = "remote host" if host is None else f"host {host}"
    if stage in (Stage.CONNECT, Stage.GREETING, Stage.EHLO):
        return f"{who} refused to talk to me: {reply}"
    command = _COMMAND.get(stage)
    return f"{who} said: {reply}" + (f" (in reply to {command})" if command else "")


def _name(host: Endpoint | str | None) -> str:
    if isinstance(host, Endpoint):
        return host.host
    return (host or "").partition("[")[0]


def judge_transaction(
    done: Transaction, host: Endpoint | str | None, rules: Rules, now: float | None = None
) -> list[Outcome | None]:
    """One verdict per recipient, in their order, for a transaction that ended this way.

    None: the recipient was one too many for this transaction and goes again at
    once on this session, no attempt counted (RFC 5321 4.5.3.1.10). At least one
    other recipient then has a verdict, so repeating comes to an end.
    """
    mail, rcpts, data, dot = done.mail, done.rcpts, done.data, done.dot

    def judged(stage: Stage, what: Reply | Trouble) -> Outcome:
        return judge(stage, what, host, rules, now)

    delivered = _delivered(dot, host) if dot is not None and dot.kind == 2 else None
    if delivered is not None and _all_good(rcpts):
        return [delivered] * len(rcpts)
    refused = mail is not None and mail.kind != 2
    over = done.trouble is not None or any(reply.code == 421 for reply in (*rcpts, data, dot) if reply)
    rest = judged(*_ending(done))
    verdicts: list[Outcome | None] = []
    for n, reply in enumerate(rcpts):
        if reply is not None and reply.kind == 2:
            verdicts.append(delivered or rest)
        elif reply is None or refused:
            verdicts.append(rest)
        else:
            verdict = judged(Stage.RCPT, reply)
            crowded = _one_too_many(reply, verdict) and any(_good(earlier) for earlier in rcpts[:n])
            verdicts.append(verdict if not crowded else _later(verdict) if over else None)
    return verdicts


def _good(reply: Reply | None) -> bool:
    return reply is not None and reply.kind == 2


def _all_good(replies: Sequence[Reply | None]) -> bool:
    for reply in replies:  # noqa: SIM110 (what every message passes, at a third of the cost of `all`)
        if reply is None or not 200 <= reply.code < 300:
            return False
    return True


def _ending(done: Transaction) -> tuple[Stage, Reply | Trouble]:
    """What decides for the recipients that were not refused themselves and not delivered."""
    mail, data, dot, trouble = done.mail, done.data, done.dot, done.trouble
    if mail is not None and mail.kind != 2:
        return Stage.MAIL, mail
    if dot is not None and dot.kind != 2:
        return Stage.DOT, dot
    if trouble is not None and trouble.dot_sent:
        return trouble.stage, trouble
    if data is not None and data.kind != 3:
        return Stage.DATA, data
    closing = next((reply for reply in done.rcpts if reply is not None and reply.code == 421), None)
    if closing is not None:
        return Stage.RCPT, closing
    if trouble is not None:
        return trouble.stage, trouble
    return Stage.DATA, Trouble(Stage.DATA, Fault.INTERNAL, "the transaction ended without a reply")


def _one_too_many(reply: Reply, verdict: Outcome) -> bool:
    """Whether a reply to RCPT may mean the number of recipients and not this one.

    RFC 5321 4.5.3.1.10 has 552 treated as 452. As 552 also means a message or
    mailbox too large, it counts only where no enhanced code says so.
    """
    if reply.code == 552:
        return reply.enhanced in (None, "5.5.3")
    if reply.code == 452 and reply.enhanced is None:
        return verdict.reason is not Reason.FULL
    return reply.enhanced == "4.5.3"


def _later(verdict: Outcome) -> Outcome:
    """The session is over, so that "again at once" has to wait for the next one."""
    return replace(
        verdict,
        kind=Kind.DEFERRED,
        scope=Scope.SESSION,
        reason=Reason.TOO_MANY_RECIPIENTS,
        status="4.5.3",
    )
