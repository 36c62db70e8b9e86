"""Records as octets: what is damaged is refused, whatever the damage."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.adapters.segment_format import HEADER_SIZE, decode, decode_header, decode_record, encode
from postroad.mail.address import Address
from postroad.mail.message import Body, Lane, Location, Notify, Ret, StagedBody
from postroad.ports.spool import DamagedRecord, Record
from tests.support.build import HEAD, content, message, recipient, record

HERE = Location(17, 4096, 500)
OCTETS = encode(record())


def everything(body: bytes | StagedBody) -> Record:
    whole = replace(
        message(3),
        sender=None,
        lane=Lane.BULK,
        body=Body.EIGHT_BIT,
        smtputf8=True,
        ret=Ret.FULL,
        envid="QQ+2B",
        warn_at=None,
        location=HERE,
    )
    row = replace(
        recipient(whole), address=Address("zoë", "example.org"), notify=Notify.NEVER, orcpt="rfc822;b+2Bc"
    )
    return Record(whole, (row, recipient(whole, 1)), content(HEAD, body))


@pytest.mark.parametrize(
    "body", [b"", b".\r\n\xff", StagedBody("stage/X", 10**9, 2**32 - 1, b"\x00\xff" * 16)]
)
def test_a_record_is_self_contained(body: bytes | StagedBody) -> None:
    assert decode_record(encode(everything(body)), HERE) == everything(body)


@given(st.integers(0, len(OCTETS) - 1))
def test_a_record_cut_anywhere_is_damaged(length: int) -> None:
    with pytest.raises(DamagedRecord):
        decode(OCTETS[:length])


@given(st.integers(0, len(OCTETS) - 1), st.integers(1, 255))
def test_a_record_with_any_octet_changed_is_damaged(place: int, difference: int) -> None:
    changed = bytearray(OCTETS)
    changed[place] ^= difference
    with pytest.raises(DamagedRecord):
        decode(bytes(changed))


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_no_octets_are_read_as_a_record_that_was_not_written(octets: bytes) -> None:
    with pytest.raises(DamagedRecord):
        decode(octets)


def test_a_header_cannot_claim_more_than_a_message_may_have() -> None:
    start = bytearray(OCTETS[:HEADER_SIZE])
    start[16:20] = b"\xff\xff\xff\xff"
    with pytest.raises(DamagedRecord):
        decode_header(bytes(start))
