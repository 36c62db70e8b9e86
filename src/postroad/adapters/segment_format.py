"""A record of the spool as octets: pure encoding and decoding.

    magic "\\x89PRM"  version  kind  zero  meta length  head length  body length  CRC-32
         4              1       1     2        4            4            4          4     (big-endian)
    meta: JSON, what `Meta` says; self-contained, so that an index can be made from it
    head: our header fields, the submitted ones, the empty line
    body: as it is sent, dots not stuffed; absent when it has a file of its own

The CRC is over the header without it, meta, head and body. The first octet of the
magic is no ASCII, so that no text can look like a record.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import msgspec

from postroad.mail.message import Content, Location, Message, Recipient, StagedBody
from postroad.ports.spool import DamagedRecord, Record

MAGIC = b"\x89PRM"
VERSION = 1
INLINE = 0
OWN_FILE = 1

_FIELDS = struct.Struct(">4sBBHIII")
_CRC = struct.Struct(">I")
HEADER_SIZE = _FIELDS.size + _CRC.size
# What a header may claim, so that a damaged one cannot ask for all memory.
MAX_META = 64 * 1024 * 1024
MAX_PART = 1024 * 1024 * 1024


class Meta(msgspec.Struct, frozen=True):
    """Facts and recipients as accepted; `file` is the body where it lies outside the record."""

    message: Message
    recipients: tuple[Recipient, ...]
    dotted: bool
    eight_bit: bool
    file: StagedBody | None = None


class Header(NamedTuple):
    """Lengths in octets; `crc` as stored; `start` the octets that the CRC begins with."""

    kind: int
    meta: int
    head: int
    body: int
    crc: int
    start: bytes

    @property
    def length(self) -> int:
        """Of the whole record."""
        return HEADER_SIZE + self.meta + self.head + self.body


class Draft(NamedTuple):
    """A record about to be written: its parts in order, and the octets of the whole.

    Without its CRC, which `seal` adds where the time is not the loop's; one part is a whole record.
    """

    parts: tuple[bytes, ...]
    length: int


class Parts(NamedTuple):
    """A record whose CRC was right. `body` is empty where `file` has it."""

    meta: bytes
    head: bytes
    body: bytes
    kind: int

    @property
    def file(self) -> StagedBody | None:
        return None if self.kind == INLINE else decode_meta(self.meta).file


_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder(Meta).decode


def draft(record: Record) -> Draft:
    """A record, ready to be sealed and appended."""
    content = record.content
    staged = content.body if isinstance(content.body, StagedBody) else None
    body = b"" if isinstance(content.body, StagedBody) else content.body
    meta = _to_json(Meta(record.message, record.recipients, content.dotted, content.eight_bit, staged))
    kind = INLINE if staged is None else OWN_FILE
    start = _FIELDS.pack(MAGIC, VERSION, kind, 0, len(meta), len(content.head), len(body))
    length = HEADER_SIZE + len(meta) + len(content.head) + len(body)
    return Draft((start, meta, content.head, body), length)


def seal(drafted: Draft) -> tuple[bytes, ...]:
    """The parts to write, one after another."""
    if len(drafted.parts) == 1:
        return drafted.parts
    start, meta, head, body = drafted.parts
    # Of what is large the interpreter is given away meanwhile.
    crc = zlib.crc32(body, zlib.crc32(head, zlib.crc32(meta, zlib.crc32(start))))
    return start, _CRC.pack(crc), meta, head, body


def encode(record: Record) -> bytes:
    """The octets of a record."""
    return b"".join(seal(draft(record)))


def decode_header(octets: bytes) -> Header:
    """The header at the start of `octets`; DamagedRecord when there is none that can be right."""
    if len(octets) < HEADER_SIZE:
        raise DamagedRecord("a record that ends in its header")
    start = octets[: _FIELDS.size]
    magic, version, kind, zero, meta, head, body = _FIELDS.unpack(start)
    if magic != MAGIC or version != VERSION or kind not in (INLINE, OWN_FILE) or zero:
        raise DamagedRecord("no record begins here")
    if meta > MAX_META or max(head, body) > MAX_PART:
        raise DamagedRecord("a record of impossible length")
    (crc,) = _CRC.unpack_from(octets, _FIELDS.size)
    return Header(kind, meta, head, body, crc, start)


def decode(octets: bytes) -> Parts:
    """Exactly one record -> its parts; DamagedRecord unless length and CRC agree."""
    header = decode_header(octets)
    if header.length != len(octets):
        raise DamagedRecord("a record of the wrong length")
    if zlib.crc32(memoryview(octets)[HEADER_SIZE:], zlib.crc32(header.start)) != header.crc:
        raise DamagedRecord("a record whose CRC is wrong")
    head_at = HEADER_SIZE + header.meta
    body_at = head_at + header.head
    return Parts(octets[HEADER_SIZE:head_at], octets[head_at:body_at], octets[body_at:], header.kind)


def decode_meta(octets: bytes) -> Meta:
    """DamagedRecord where JSON that passed the CRC is not what this version writes."""
    try:
        return _from_json(octets)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedRecord(f"a record that cannot be read: {error}") from None


def check_owner(meta: bytes, id: str) -> None:
    """DamagedRecord unless the record is that of the message: an index may be wrong about where it lies."""
    # As this version writes it, which is cheaper than to read it all.
    if not meta.startswith(b'{"message":{"id":"%b"' % id.encode()):
        found = decode_meta(meta).message.id
        if found != id:
            raise DamagedRecord(f"the record of {found} lies where that of {id} should")


def decode_record(octets: bytes, location: Location) -> Record:
    """The whole record, its message told where it lies."""
    parts = decode(octets)
    meta = decode_meta(parts.meta)
    body = parts.body if meta.file is None else meta.file
    content = Content(parts.head, body, meta.dotted, meta.eight_bit)
    return Record(meta.message.at(location), meta.recipients, content)
