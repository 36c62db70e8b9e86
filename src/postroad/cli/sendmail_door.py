"""How a message gets from the sendmail command to the daemon: its socket, or the maildrop while it is down.

The request is the one of `adapters.local_client`, said here again without what that
module imports: this program is started for each single message. For the same reason
the modules below `socket` and `json` are used, which load in no time. A file of the
maildrop is the same request and content, which the daemon takes up when it starts.
"""

from __future__ import annotations

import _socket
import errno
import os
import time
from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from postroad.cli.sendmail_trace import Trace

ANSWER_TIMEOUT = 300.0
BUSY_SECONDS = 5.0
MAX_LINE = 1 << 20

EX_DATAERR, EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM = 65, 69, 75, 77


class Down(Exception):
    """No daemon took the message, and it is certain that none will."""


class Refused(Exception):
    """Nothing was accepted; `exit` is of sysexits.h."""

    def __init__(self, text: str, exit: int) -> None:
        super().__init__(text)
        self.exit = exit


def envelope(
    sender: str,
    recipients: list[str],
    notify: list[str] | None = None,
    ret: str | None = None,
    envid: str | None = None,
    body: str | None = None,
) -> dict[str, object]:
    """The request that a submission is, without its size."""
    return {
        "verb": "submit",
        "sender": sender,
        "recipients": recipients,
        "notify": notify,
        "ret": ret,
        "envid": envid,
        "body": body,
    }


def login() -> str:
    """Of who runs this."""
    import pwd

    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def check_own(sender: str, *domains: str) -> None:
    """Refused unless a user names himself, in a domain of this machine; root may send as anybody."""
    if os.getuid() == 0 or not sender:
        return
    name = login()
    own = {name, *(f"{name}@{domain}" for domain in (*domains, "localhost"))}
    if sender.casefold() not in map(str.casefold, own):
        text = (
            f'{name} may send as {name}@{domains[0]} alone, not as {sender} (submission.local_sender = "own")'
        )
        raise Refused(text, EX_NOPERM)


def submit(
    state_directory: str, request: dict[str, object], content: bytes, trace: Trace | None = None
) -> dict[str, object]:
    """Hand a message to the daemon, or leave it in the maildrop; its answer: "id", "text".

    Durable when it returns. Raises Refused. `trace` is told what becomes of it.
    """
    line = _line({**request, "size": len(content), **({"follow": True} if trace else {})})
    try:
        answers = ask(state_directory, line, content)
        answer = next(answers, None)
    except Down as down:
        _check_addresses(request)
        text = drop(os.path.join(state_directory, "maildrop"), line, content, str(down))
        return {"id": None, "text": text}
    if answer is None:
        # It had the whole message and may have taken it: only the caller can decide to send it again.
        raise Refused("the daemon went away without an answer", EX_TEMPFAIL)
    code = answer.get("code")
    if isinstance(code, int) and code // 100 == 2:
        if trace is not None:
            _follow(answer, answers, trace)
        return answer
    status = answer.get("enhanced") or ""
    raise Refused(f"{code} {status} {answer.get('text', '')}", exit_code(code, str(status)))


def _follow(first: dict[str, object], answers: Iterator[dict[str, object]], trace: Trace) -> None:
    trace.tell(first)
    try:
        for said in answers:
            trace.tell(said)
            if trace.enough:
                return
    except Refused:
        # The daemon ends, or nothing happens for long: the message is its own, whatever follows.
        return


def _check_addresses(request: dict[str, object]) -> None:
    """Refuse now what the daemon would refuse later, when nobody is there to be told."""
    recipients = request["recipients"]
    addresses = [str(word) for word in (recipients if isinstance(recipients, list) else ())]
    if request["sender"]:
        addresses.append(str(request["sender"]))
    odd = [address for address in addresses if not _is_plain(address)]
    if not odd:
        return
    from postroad.mail.address import AddressError, parse_address

    for address in odd:
        try:
            parse_address(address, smtputf8=True, default_domain="localhost")
        except AddressError as error:
            raise Refused(f"Bad address: {error}", EX_DATAERR) from None


def _is_plain(address: str) -> bool:
    """Whether it is an address at first sight: words of letters and digits, dots between."""
    local, at, domain = address.partition("@")
    words = [*local.split("."), *(domain.split(".") if at else ())]
    return (
        address.isascii()
        and len(local) <= 64
        and len(address) < 250
        and all(word.isalnum() and len(word) < 64 for word in words)
    )


def exit_code(code: object, status: str) -> int:
    """What a refusal means to a caller that understands sysexits.h and no SMTP."""
    if not isinstance(code, int) or code // 100 != 5:
        return EX_TEMPFAIL
    if status.startswith("5.7.") or code in (530, 535):
        return EX_NOPERM
    # 5.1 addresses, 5.3.4 and 5.2.3 size, 5.6 content; 5.4.6 is a loop, and 5.5 a bad parameter.
    return EX_DATAERR if status[:4] in ("5.1.", "5.2.", "5.3.", "5.4.", "5.5.", "5.6.") else EX_UNAVAILABLE


def ask(state_directory: str, line: bytes, content: bytes = b"") -> Iterator[dict[str, object]]:
    """The daemon's answers to one request. Raises Down, and Refused for an answer that is an error."""
    connection = _connected(os.path.join(state_directory, "postroad.sock"))
    try:
        connection.settimeout(ANSWER_TIMEOUT)
        whole = _sent(connection, line, content)
        try:
            for said in _lines(connection):
                whole = True
                yield _understood(said)
        except OSError as error:
            if whole:
                raise Refused(f"the daemon does not answer: {error}", EX_TEMPFAIL) from None
    finally:
        connection.close()
    if not whole:
        raise Down("the daemon went away before it had the message")


def request_line(**words: object) -> bytes:
    """A request that is no submission."""
    return _line(words)


def _line(request: Mapping[str, object]) -> bytes:
    return _json(request).encode("ascii") + b"\n"


def _json(value: object) -> str:
    """A request as JSON: texts, numbers, flags, None, and lists and tables of them."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode_basestring_ascii(key)}:{_json(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return str(value)


def _lines(connection: _socket.socket) -> Iterator[bytes]:
    """What the daemon says, line by line; the last may be cut."""
    said = b""
    while (more := connection.recv(1 << 16)) and len(said) < MAX_LINE:
        *lines, said = (said + more).split(b"\n")
        yield from lines
    if said:
        yield said


def _connected(path: str) -> _socket.socket:
    patience = time.monotonic() + BUSY_SECONDS
    while True:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(path)
            return connection
        except BlockingIOError:
            # Its backlog is full: it lives, and is busy.
            connection.close()
            if time.monotonic() > patience:
                raise Down(f"{path}: too busy to listen") from None
            time.sleep(0.05)
        except OSError as error:
            connection.close()
            raise Down(f"{path}: {error.strerror or error}") from None


def _sent(connection: _socket.socket, line: bytes, content: bytes) -> bool:
    """Whether all was sent; what was not sent in full cannot have been accepted."""
    try:
        connection.sendall(line)
        connection.sendall(content)
    except OSError:
        # Refused before all was sent: the reason may wait to be read.
        return False
    return True


_QUEUED = b'{"code":250,"enhanced":"2.0.0","text":"Ok: queued as '


def _understood(said: bytes) -> dict[str, object]:
    if said.startswith(_QUEUED):
        # The usual answer, as `adapters.local` writes it: json would take longer to load than all else.
        id = said[len(_QUEUED) :].partition(b'"')[0].decode("ascii", "replace")
        return {"code": 250, "enhanced": "2.0.0", "text": f"Ok: queued as {id}", "id": id}
    import json

    try:
        answer = json.loads(said)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Refused("the daemon's answer is not understood; is it of another version?", EX_TEMPFAIL)
    if "error" in answer:
        exit = answer.get("exit")
        raise Refused(str(answer["error"]), exit if isinstance(exit, int) else EX_TEMPFAIL)
    return answer


# --- maildrop --------------------------------------------------------------------


def drop(directory: str, line: bytes, content: bytes, why: str) -> str:
    """Leave the message for the daemon to find, durably; says so. Raises Refused.

    Nobody but the daemon may list the directory (mode 1733), so the random name is what keeps
    a file private that the daemon's user must be able to read.
    """
    name = f"{time.time_ns():x}.{os.urandom(16).hex()}"
    unfinished = os.path.join(directory, f"tmp.{name}")
    try:
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(
            f"no daemon ({why}), and {directory} cannot be written: {error.strerror}", EX_TEMPFAIL
        ) from None
    try:
        _write(fd, line + content)
        os.fchmod(fd, 0o644)
        os.fsync(fd)
        os.rename(unfinished, os.path.join(directory, name))
    except BaseException as error:
        _remove(unfinished)
        if isinstance(error, OSError):
            raise Refused(f"{directory}: {error.strerror}", EX_TEMPFAIL) from None
        raise
    else:
        _sync_name(fd, directory)
    finally:
        os.close(fd)
    return f"the daemon is down ({why}); the message waits in {directory}"


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _sync_name(fd: int, directory: str) -> None:
    """Make the new name durable: by the directory where it may be opened, which others may not.

    For them by the file once more: on ext4, XFS and Btrfs syncing a file that was
    renamed brings its rename to disk.
    """
    try:
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise Refused(f"{directory}: {error.strerror}", EX_TEMPFAIL) from None
        os.fsync(fd)
        return
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
