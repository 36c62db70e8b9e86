"""`postroad send`: one message in, and what becomes of it, told as it happens."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from postroad.adapters import local_client
from postroad.adapters.local_client import Answer, LocalEnvelope
from postroad.cli.client import config_for, translated
from postroad.cli.text import CommandFailed, listed, say
from postroad.config.model import Config

FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
SUBMISSION_TIMEOUT = 300.0


def run(config: str, args: Namespace) -> int:
    """0: delivered to all; 75: still waiting somewhere; 69: somebody cannot be reached."""
    timeout = _timeout(args.timeout)
    recipients, file = _recipients(args.to, args.file)
    content = _message(_read(file), args.sender, recipients, args.subject)
    envelope = LocalEnvelope(args.sender, recipients)
    settings = config_for(config)
    request = envelope.request(len(content), follow=not args.no_wait)
    fates = Fates(as_json=args.json)
    with translated():
        # How long it is followed has nothing to do with how long it takes to be durable.
        answers = local_client.ask(settings.socket_path, request, content, SUBMISSION_TIMEOUT, timeout)
        answer = _first(answers)
        fates.accepted(answer)
        if args.no_wait:
            return os.EX_OK
        code = _follow(answers, fates, len(set(recipients)), time.time() + timeout)
    if code == os.EX_TEMPFAIL and not args.json:
        _explain(settings, answer.id or "", fates)
    return code


def _first(answers: Iterable[dict[str, object]]) -> Answer:
    for said in answers:
        answer = local_client.as_answer(said)
        if answer.accepted:
            return answer
        raise CommandFailed(f"not accepted: {answer}", _refusal_code(answer))
    raise local_client.NotAnswered("the daemon closed without an answer; it may be stopping")


def _refusal_code(answer: Answer) -> int:
    """As `postroad-sendmail` ends: try later, not allowed, bad data, or refused for another reason."""
    if answer.code // 100 == 4:
        return os.EX_TEMPFAIL
    subject = (answer.enhanced or "")[:3]
    if subject == "5.7":
        return os.EX_NOPERM
    return os.EX_DATAERR if "5.1" <= subject <= "5.6" else os.EX_UNAVAILABLE


def _follow(answers: Iterable[dict[str, object]], fates: Fates, total: int, deadline: float) -> int:
    try:
        for said in answers:
            fates.note(said)
            if fates.settled(total) or fates.hopeless(total, deadline):
                break
    except local_client.NotAnswered:
        # The time is up, or the daemon stopped: either way the message is safe in its queue.
        pass
    return fates.verdict(total)


def _explain(settings: Config, id: str, fates: Fates) -> None:
    """What the queue knows of those nothing was heard of, where this user may look."""
    from postroad.cli.queue import look
    from postroad.cli.queue_view import fate

    with contextlib.suppress(CommandFailed):
        found = look(settings, lambda index: index.find(id))
        for recipient in found.recipients if found else ():
            if recipient.state.is_open and not fates.heard_of(str(recipient.address)):
                say(f"{recipient.address}: {fate(recipient, time.time())}")
    say(f"{id} stays in the queue; postroad queue show {id}")


class Fates:
    """What has become of each recipient so far: "delivered", "failed", or when it is tried next."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._final: dict[str, str] = {}
        self._next: dict[str, str] = {}
        self._over = False

    def accepted(self, answer: Answer) -> None:
        if self._as_json:
            self._tell({"event": "accepted", "id": answer.id, "code": answer.code, "text": answer.text})
        else:
            say(f"accepted as {answer.id}")

    def note(self, said: dict[str, object]) -> None:
        kind, recipient = str(said.get("event")), str(said.get("recipient"))
        if kind in ("delivered", "failed"):
            self._final[recipient] = kind
            self._next.pop(recipient, None)
        elif kind == "deferred":
            self._next[recipient] = str(said.get("next"))
        elif kind == "settled":
            self._over = True
        if self._as_json:
            if kind != "accepted":
                self._tell(said)
        elif kind in ("delivered", "failed", "deferred"):
            say(f"{recipient}: {_sentence(kind, said)}")
        elif kind == "notified":
            say(f"the sender is told: {said.get('dsn')} to {said.get('to')}")

    def settled(self, total: int) -> bool:
        return self._over or len(self._final) >= total

    def hopeless(self, total: int, deadline: float) -> bool:
        """Whether nothing more can happen before the deadline."""
        from postroad.mail.timestamps import rfc3339

        limit = rfc3339(deadline)
        open_ones = total - len(self._final)
        return len(self._next) >= open_ones and all(due > limit for due in self._next.values())

    def heard_of(self, recipient: str) -> bool:
        return recipient in self._final or recipient in self._next

    def verdict(self, total: int) -> int:
        if "failed" in self._final.values():
            return os.EX_UNAVAILABLE
        return os.EX_OK if self.settled(total) else os.EX_TEMPFAIL

    def _tell(self, said: dict[str, object]) -> None:
        print(json.dumps(said), flush=True)


def _sentence(kind: str, said: dict[str, object]) -> str:
    by = f" by {said['host']}" if said.get("host") else ""
    tls = f" over {said['tls']}" if said.get("tls") else ""
    if kind == "deferred":
        return f"deferred{by}, next attempt {said.get('next')}: {said.get('text')}"
    return f"{kind}{by}{tls}: {said.get('text')}"


def _timeout(text: str) -> float:
    from postroad.config.measures import duration
    from postroad.config.problems import BadValue

    try:
        return duration(text)
    except BadValue as bad:
        raise CommandFailed(f"--timeout: {bad}", os.EX_USAGE) from None


def _recipients(to: Sequence[str], file: str | None) -> tuple[list[str], str | None]:
    """`--to B C FILE` gives the file to `--to` as well: what is no address at its end is the file."""
    recipients = list(to)
    if file is None and len(recipients) > 1 and "@" not in recipients[-1]:
        file = recipients.pop()
    return recipients, file


def _read(file: str | None) -> bytes:
    if file is not None and file != "-":
        try:
            return Path(file).read_bytes()
        except OSError as error:
            raise CommandFailed(f"{file}: {error.strerror}", os.EX_NOINPUT) from None
    if sys.stdin.isatty():
        print("The message, then Ctrl-D on a line of its own:", file=sys.stderr)
    return sys.stdin.buffer.read()


def _message(raw: bytes, sender: str, recipients: Sequence[str], subject: str | None) -> bytes:
    """The input where it has a header, else a message with the input as its text."""
    if subject is None and FIELD.match(raw):
        return raw
    if subject is not None and not subject.isprintable():
        raise CommandFailed("--subject: control characters are not for subjects", os.EX_USAGE)
    lines = [f"From: {sender or 'MAILER-DAEMON'}", f"To: {', '.join(recipients)}"]
    if subject:
        lines.append(f"Subject: {_encoded(subject)}")
    try:
        raw.decode("utf-8")
        charset = "utf-8"
    except UnicodeDecodeError:
        charset = "unknown-8bit"
    if not raw.isascii():
        lines += [
            "MIME-Version: 1.0",
            f"Content-Type: text/plain; charset={charset}",
            "Content-Transfer-Encoding: 8bit",
        ]
    if not "".join(lines).isprintable():
        raise CommandFailed(f"control characters in an address: {listed(recipients)}", os.EX_USAGE)
    return "\n".join(lines).encode("utf-8", "replace") + b"\n\n" + raw


def _encoded(subject: str) -> str:
    if subject.isascii():
        return subject
    from email.header import Header  # RFC 2047 words are rare enough to wait for it

    return Header(subject, "utf-8").encode(linesep="\n")
