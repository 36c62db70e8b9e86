"""A message as programs write it, made one that can be sent. Pure: octets in, octets out.

Lines end with LF in here; the daemon writes CRLF. Fields are found by the same rules as in
`mail.headers`, which is too slow to import for a program that lives some milliseconds;
importing `re` alone would cost a third of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME_OCTETS = bytes(octet for octet in range(33, 127) if octet != 58)
_RECIPIENT_FIELDS = frozenset((b"to", b"cc", b"bcc"))
_BLIND = frozenset((b"bcc", b"resent-bcc"))
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_ATOMS = _LETTERS + "!#$%&'*+/=?^_`{|}~ -"
_USUAL = _LETTERS + "!#$%&'*+/=?^_`{|}~.@-"
_ASKS_FOR_A_PARSER = frozenset('"():;[]\\')


class BadMessage(Exception):
    """The message cannot be sent; exit 65 (EX_DATAERR)."""


Field = tuple[bytes, bytes, bytes]
"""Name in lower case, value with its line ends, the whole field."""


def end_of_input(data: bytes | bytearray, start: int = 0) -> int | None:
    """Where a line that is a dot alone begins, looked for from `start`; None where there is none.

    A dot that other text follows is not that line, and is never taken away: unlike in
    SMTP, dots are not doubled here.
    """
    if start < 3 and data.startswith((b".\n", b".\r\n")):
        return 0
    for mark in (b"\n.\n", b"\n.\r\n"):
        found = data.find(mark, max(0, start - len(mark)))
        if found >= 0:
            return found + 1
    return None


def unified(data: bytes) -> bytes:
    """LF line ends whatever mixture came (PHP writes both), the last line ended, no `From ` line.

    What was translated twice (CR CR LF) is one end. A CR alone ends lines only where nothing else does: in
    a text with others it is no way to begin another header field.
    """
    if b"\r" in data:
        data = data.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n")
        if b"\n" not in data:
            data = data.replace(b"\r", b"\n")
    if data.startswith((b"From ", b">From ")):
        data = data.partition(b"\n")[2]
    return data if not data or data.endswith(b"\n") else data + b"\n"


def split(data: bytes) -> tuple[list[Field], bytes]:
    """The header fields, and the body without the empty line before it.

    The first line that is neither a field nor a continuation begins the body.
    """
    fields = []
    position = 0
    while (end := _field_end(data, position)) > position:
        name, _, value = data[position:end].partition(b":")
        fields.append((name.rstrip(b" \t").lower(), value, data[position:end]))
        position = end
    if data.startswith(b"\n", position):
        position += 1
    return fields, data[position:]


def _field_end(data: bytes, start: int) -> int:
    """Where the field that begins at `start` is over, folded lines and all; `start` where none begins."""
    end = data.find(b"\n", start) + 1
    name = data[start:end].partition(b":")
    if not name[1] or not name[0] or name[0].rstrip(b" \t").translate(None, _NAME_OCTETS):
        return start
    if name[0][:1] in b" \t":
        return start
    while data[end : end + 1] in (b" ", b"\t") and (more := data.find(b"\n", end)) >= 0:
        end = more + 1
    return end


def joined(fields: list[Field], body: bytes) -> bytes:
    return b"".join(field[2] for field in fields) + b"\n" + body


def recipient_values(fields: list[Field]) -> list[bytes]:
    """The values that name recipients: To, Cc and Bcc, or of a resent message those of the last resending."""
    resent = list(_last_resending(fields))
    if resent:
        return [value for name, value in resent if name.removeprefix(b"resent-") in _RECIPIENT_FIELDS]
    return [value for name, value, _ in fields if name in _RECIPIENT_FIELDS]


def _last_resending(fields: list[Field]) -> Iterator[tuple[bytes, bytes]]:
    """The Resent fields of the uppermost block: each resending is put on top (RFC 5322 3.6.6).

    A block ends where one of its fields that occur once comes again, or at a trace field.
    """
    seen: set[bytes] = set()
    for name, value, _ in fields:
        if not name.startswith(b"resent-"):
            if seen and name in (b"received", b"return-path"):
                return
            continue
        if name in seen:
            return
        seen.add(name)
        yield name, value


def without_blind_copies(fields: list[Field]) -> list[Field]:
    """Who got a blind copy is nobody's business, with -t or without."""
    return [field for field in fields if field[0] not in _BLIND]


def has(fields: list[Field], name: bytes) -> bool:
    return any(field[0] == name for field in fields)


def missing_author(fields: list[Field]) -> str | None:
    """The field that would name the author and is not there: of who resends a message his own."""
    resent = [name for name, _ in _last_resending(fields)]
    if resent:
        return None if b"resent-from" in resent else "Resent-From"
    return None if has(fields, b"from") else "From"


def author_field(field: str, name: str, address: str) -> Field:
    """`From: name <address>` with the name as the header can bear it."""
    shown = phrase(name)
    value = f" {shown} <{address}>\n" if shown else f" {address}\n"
    return field.lower().encode(), value.encode(), f"{field}:{value}".encode()


def phrase(name: str) -> str:
    """A display name: as it is, quoted, or encoded (RFC 2047) when it is not ASCII."""
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())[:200]
    if not name.strip(_ATOMS):
        return name
    if name.isascii():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return " ".join(_encoded_words(name))


def _encoded_words(name: str) -> Iterator[str]:
    """At most 75 characters each, none with half a character in it."""
    from binascii import b2a_base64

    piece = b""
    for character in name:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > 45:
            yield f"=?utf-8?b?{b2a_base64(piece, newline=False).decode()}?="
            piece = b""
        piece += octets
    yield f"=?utf-8?b?{b2a_base64(piece, newline=False).decode()}?="


def name_in_gecos(gecos: str, login: str) -> str:
    """The full name in a passwd entry: up to the first comma, "&" for the login capitalised."""
    return gecos.partition(",")[0].replace("&", login.capitalize()).strip()


def addresses(text: str) -> list[str]:
    """The addresses in an argument or a header's value: a list, with names, comments and groups.

    BadMessage where something is in it that is no address.
    """
    found = _usual_addresses(text)
    if found:
        return found
    from postroad.mail.mailboxes import scan

    octets = text.encode("utf-8", "surrogateescape")
    try:
        found = [box.spec.decode() for box in scan(octets, longest=len(octets))]
    except UnicodeDecodeError:
        raise BadMessage("an address is not valid UTF-8") from None
    if not found and text.strip() and not _is_empty_group(text):
        raise BadMessage(f"no address in {_shown(text)}")
    return [_checked(address) for address in found]


def _usual_addresses(text: str) -> list[str]:
    """Those of a list of `address` and `name <address>`; none where anything else is in it."""
    if not _ASKS_FOR_A_PARSER.isdisjoint(text):
        return []
    found = []
    for piece in text.split(","):
        name, bracket, address = piece.strip(" \t\n").rpartition("<")
        if bracket:
            if not address.endswith(">") or "<" in name or ">" in name:
                return []
            address = address[:-1]
        if not address or address.strip(_USUAL):
            return []
        found.append(address)
    return found


def _checked(address: str) -> str:
    if not address.isprintable() or len(address) > 1024:
        raise BadMessage(f"not an address: {_shown(address)}")
    return address


def _is_empty_group(text: str) -> bool:
    """`undisclosed-recipients:;` and its like."""
    return text.rstrip().endswith(";") and ":" in text


def _shown(text: str) -> str:
    return ascii(text.strip()[:80])
