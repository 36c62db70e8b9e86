"""Header fields as octets: found, counted and read, never parsed and written again (RFC 5322 2.2).

A field is a line "name:" with the folded lines that follow it. Names are compared
in lower case; white space before the colon (RFC 5322 4.5) is tolerated. A line
that is neither a field nor a continuation ends the header, as every receiver
takes it; what we are given inside a head is kept to the octet all the same.
"""

from __future__ import annotations

import re
from typing import NamedTuple

CRLF = b"\r\n"
_BLOCK = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)*+")
_LAST_LINE = re.compile(rb"[!-9;-~]++[ \t]*+:[^\n]*+\Z|[ \t][^\n]*+\Z")
_FIELD = re.compile(rb"([!-9;-~]*+)([ \t]*+:)?[^\n]*+(?:\n|\Z)(?:[ \t][^\n]*+(?:\n|\Z))*+")


class Field(NamedTuple):
    """One field: `name` in lower case, `raw` from its first octet to the CRLF of its last line.

    A malformed line has the name b"".
    """

    name: bytes
    raw: bytes


def split(content: bytes) -> tuple[bytes, bytes]:
    """Head and body, losing no octet; the head has the empty line that ends it.

    Where a line that is no field comes first, the head ends before it and has no
    empty line (`complete` adds it). `content` may be the first part of a message as
    long as the whole header is in it.
    """
    match = _BLOCK.match(content)
    end = match.end() if match is not None else 0
    if content.startswith(CRLF, end):
        end += 2
    elif (last := _LAST_LINE.match(content, end)) is not None:
        end = last.end()
    return content[:end], content[end:]


def fields(head: bytes) -> list[Field]:
    """Every field in order; joined, their `raw` are the head without its empty line."""
    end = len(head)
    if head.endswith(b"\r\n\r\n"):
        end -= 2
    elif head == CRLF:
        end = 0
    found = []
    position = 0
    while position < end:
        match = _FIELD.match(head, position, end)
        assert match is not None
        found.append(Field(match[1].lower() if match[2] else b"", match[0]))
        position = match.end()
    return found
