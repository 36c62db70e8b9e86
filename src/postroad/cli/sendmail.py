"""The sendmail command, also as mailq and newaliases: `postroad-sendmail`.

Exit codes are those of sysexits.h and tell the truth: 0 only when the message is on
disk. What is rarely asked is imported when it is: this program starts once a message.
"""

from __future__ import annotations

import os
import sys

from postroad.cli import sendmail_door as door
from postroad.cli import sendmail_message as message
from postroad.cli.sendmail_options import (
    ALIASES,
    COUNT,
    HELP,
    HOLD,
    QUEUE,
    RELEASE,
    RUN,
    SMTP,
    VERIFY,
    VERSION,
    Options,
    Usage,
    parse,
)
from postroad.cli.sendmail_settings import Settings, read_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

EX_OK, EX_USAGE, EX_DATAERR, EX_NOUSER = 0, 64, 65, 67
EX_UNAVAILABLE, EX_SOFTWARE, EX_OSERR, EX_IOERR = 69, 70, 71, 74
EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 75, 77, 78

CHUNK = 1 << 16
# Ids in one request.
BATCH = 2000
_VERBS = {RUN: "retry", HOLD: "hold", RELEASE: "release"}


class Failure(Exception):
    """The end, with a line for stderr and an exit code."""

    def __init__(self, text: str, exit: int) -> None:
        super().__init__(text)
        self.exit = exit


def program() -> None:
    """Run as a program: the exit code is that of `main`, whatever becomes of the standard streams."""
    exit = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            # None where the caller closed it.
            if stream is not None:
                stream.flush()
        except OSError:
            # Nobody reads, or the disk of who redirected it is full: what was accepted stays accepted.
            continue
    # Nothing is left to tidy up, and the interpreter's own end takes milliseconds.
    os._exit(exit)


def main(argv: list[str] | None = None) -> int:
    """Run as the program that argv[0] names; the exit code."""
    words = sys.argv if argv is None else argv
    name = os.path.basename(words[0]) if words else "sendmail"
    try:
        return _run(parse(name, words[1:]))
    except Usage as wrong:
        return _complain(str(wrong), EX_USAGE)
    except (Failure, door.Refused) as failure:
        return _complain(str(failure), failure.exit)
    except message.BadMessage as bad:
        return _complain(str(bad), EX_DATAERR)
    except BrokenPipeError:
        # Whoever read what we print has seen enough.
        return EX_OK
    except KeyboardInterrupt:
        return _complain("interrupted; nothing was sent", EX_TEMPFAIL)
    except MemoryError:
        return _complain("out of memory", EX_TEMPFAIL)
    except OSError as error:
        return _complain(str(error), EX_OSERR)
    except Exception as bug:
        return _complain(f"internal error: {bug!r}", EX_SOFTWARE)


def _run(options: Options) -> int:
    if options.mode in (VERSION, HELP):
        return _about(options.mode)
    settings = _settings(options)
    return _ACTIONS.get(options.mode, _deliver)(options, settings)


def _settings(options: Options) -> Settings:
    try:
        return read_settings(options.config or os.environ.get("POSTROAD_CONFIG"))
    except OSError as error:
        # Without a name where the working directory is gone, to which a relative path belongs.
        where = error.filename or options.config or os.environ.get("POSTROAD_CONFIG")
        exit = EX_NOPERM if isinstance(error, PermissionError) else EX_CONFIG
        raise Failure(f"{where}: {error.strerror}", exit) from None
    except ValueError as error:
        raise Failure(f"the configuration is not TOML: {error}", EX_CONFIG) from None


def _complain(text: str, exit: int) -> int:
    shown = "".join(c if c.isprintable() else "?" for c in text)
    _print(f"sendmail: fatal: {shown}", sys.stderr)
    return exit


def _print(line: str, stream: TextIO | None) -> None:
    """A line to a stream that may be closed or full: the exit code says what matters."""
    if stream is None:
        return
    try:
        print(line, file=stream, flush=True)
    except (OSError, ValueError):
        return


# --- a message --------------------------------------------------------------------


def _deliver(options: Options, settings: Settings) -> int:
    if not options.recipients and not options.from_header:
        if options.interval:
            raise Usage("-q with a time: the daemon itself goes through the queue; -q alone tries it now")
        raise Usage("no recipients: name them, or use -t")
    _end_on_signals()
    data = read_message(0, settings.max_message_size, options.lone_dot_ends)
    fields, body = message.split(message.unified(data))
    recipients = _recipients(options, fields)
    sender = _sender(options)
    fields = message.without_blind_copies(fields)
    if sender and not options.gateway:
        author = message.missing_author(fields)
        if author is not None:
            fields.insert(0, message.author_field(author, _full_name(options), sender))
    request = door.envelope(sender, recipients, options.notify, options.ret, options.envid, options.body)
    request |= _wishes(options)
    if settings.local_sender == "own":
        # The daemon looks, too; while it is down nobody else would, before exit 0.
        door.check_own(sender, settings.origin, settings.hostname)
    if options.verbose > 1:
        from postroad.cli.sendmail_trace import Trace

        trace = Trace(len(recipients))
        answer = door.submit(settings.state_directory, request, message.joined(fields, body), trace)
    else:
        answer = door.submit(settings.state_directory, request, message.joined(fields, body))
    _tell(answer, options, settings)
    return EX_OK


def _wishes(options: Options) -> dict[str, object]:
    """What few callers ask for."""
    asked: dict[str, object] = {
        "smtputf8": options.smtputf8,
        "gateway": options.gateway,
        "later": options.later,
        "tag": options.tag,
    }
    return {key: value for key, value in asked.items() if value}


def read_message(fd: int, limit: int, lone_dot_ends: bool) -> bytes:
    """Everything up to the end of the input or the line that ends it; Failure beyond `limit` octets."""
    data = bytearray()
    while True:
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            _wait_for(fd)
            continue
        except OSError as error:
            raise Failure(f"reading the message: {error.strerror}", EX_IOERR) from None
        looked_at = len(data)
        data += chunk
        if lone_dot_ends:
            end = message.end_of_input(data, looked_at)
            if end is not None:
                return bytes(data[:end])
            if not chunk and (data == b"." or data.endswith(b"\n.")):
                return bytes(data[:-1])
        if not chunk:
            return bytes(data)
        if len(data) > limit:
            raise Failure(f"the message is larger than {limit} octets", EX_DATAERR)


def _wait_for(fd: int) -> None:
    """Until something can be read: who called us may have left its pipe non-blocking."""
    import select

    select.select([fd], [], [])


def _recipients(options: Options, fields: list[message.Field]) -> list[str]:
    """Those of the command line and, with -t, those of the header, each once, in order."""
    found = [address for argument in options.recipients for address in message.addresses(argument)]
    if options.from_header:
        for value in message.recipient_values(fields):
            found += message.addresses(value.decode("utf-8", "surrogateescape"))
    if not found:
        raise Usage("no recipients" + (" in To, Cc and Bcc" if options.from_header else ""))
    return list(dict.fromkeys(found))


def _sender(options: Options) -> str:
    if options.sender is None:
        return door.login()
    if not options.sender:
        return ""
    found = message.addresses(options.sender)
    if len(found) != 1:
        raise Usage("the sender is not one address")
    return found[0]


def _full_name(options: Options) -> str:
    """-F, or for who writes in his own name $NAME or the passwd entry's."""
    if options.full_name is not None or options.sender is not None:
        return options.full_name or ""
    if os.environ.get("NAME"):
        return os.environ["NAME"]
    import pwd

    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return ""
    return message.name_in_gecos(entry.pw_gecos, entry.pw_name)


def _tell(answer: dict[str, object], options: Options, settings: Settings) -> None:
    """Quiet, but for -v, and for a person who would wonder where the mail stays."""
    if options.verbose == 1 and answer.get("id"):
        _print(f"queued as {answer['id']} in {os.path.normpath(settings.state_directory)}", sys.stdout)
    elif not answer.get("id") and (options.verbose or (sys.stderr is not None and sys.stderr.isatty())):
        _print(f"sendmail: {answer.get('text')}", sys.stderr)


def _end_on_signals() -> None:
    """HUP and TERM end like INT: by an exception that removes an unfinished file on its way."""
    # The module below `signal`, which would load enum.
    import _signal  # type: ignore[import-not-found]

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM):
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, interrupt)


# --- all the rest --------------------------------------------------------------------


def _about(mode: str) -> int:
    from postroad import __version__

    print(f"Postroad {__version__}, sendmail-compatible")
    if mode == HELP:
        print(
            "usage: sendmail [-t] [-i] [-f SENDER] [-F NAME] [-N NOTIFY] [-R RET] [-V ENVID] [RECIPIENT...]\n"
            "       sendmail -bs | -bp | -bv ADDRESS... | [-Q[REASON]] -q[[!]Iid|Rrecipient|Ssender|Qreason]"
        )
    return EX_OK


def _smtp(options: Options, settings: Settings) -> int:
    from postroad.cli.sendmail_smtp import converse

    # None where the caller closed it.
    if sys.stdin is None or sys.stdout is None:
        raise Failure("-bs speaks on standard input and output, and one of them is closed", EX_IOERR)
    _end_on_signals()
    # A BufferedReader, of which typeshed says less.
    source: Any = sys.stdin.buffer
    try:
        return converse(source, sys.stdout.buffer, settings)
    except BrokenPipeError:
        raise Failure("the client went away without its answer", EX_IOERR) from None


def _queue(options: Options, settings: Settings) -> int:
    from postroad.cli.sendmail_queue import print_count, print_queue

    if options.mode == COUNT:
        return print_count(settings.state_directory)
    return print_queue(settings.state_directory, settings.origin, options.select)


def _verify(options: Options, settings: Settings) -> int:
    from postroad.cli.sendmail_verify import verify

    if not options.recipients:
        raise Usage("-bv needs addresses")
    return verify(options.recipients, settings.origin, settings.path)


def _operate(options: Options, settings: Settings) -> int:
    """Ask the daemon to try again, to hold or to release, all of it or what is selected."""
    verb = _VERBS[options.mode]
    why: dict[str, object] = {"reason": options.quarantine} if options.mode == HOLD else {}
    requests: list[dict[str, object]] = [{"all": True}]
    if options.select:
        from postroad.cli.sendmail_queue import ids_of

        ids, exit = ids_of(settings.state_directory, options.select)
        if exit or not ids:
            return exit
        requests = [{"filter": {"ids": ids[n : n + BATCH]}} for n in range(0, len(ids), BATCH)]
    try:
        for request in requests:
            for _ in door.ask(settings.state_directory, door.request_line(verb=verb, **request, **why)):
                pass
    except door.Down as down:
        raise Failure(f"the daemon is down ({down}): nothing is done", EX_UNAVAILABLE) from None
    return EX_OK


def _aliases(options: Options, settings: Settings) -> int:
    """Have the daemon read the alias files again; one that is down reads them when it starts."""
    try:
        for answer in door.ask(settings.state_directory, door.request_line(verb="aliases")):
            problems = answer.get("problems")
            for problem in problems if isinstance(problems, list) else ():
                _print(f"newaliases: {problem}", sys.stderr)
    except door.Down:
        return EX_OK
    return EX_OK


_ACTIONS: dict[str, Callable[[Options, Settings], int]] = {
    SMTP: _smtp,
    QUEUE: _queue,
    COUNT: _queue,
    VERIFY: _verify,
    RUN: _operate,
    HOLD: _operate,
    RELEASE: _operate,
    ALIASES: _aliases,
}


if __name__ == "__main__":
    program()
