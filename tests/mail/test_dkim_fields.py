from __future__ import annotations

from base64 import b64encode

import pytest

from postroad.mail.dkim_fields import GUARDED, opening, select, signed_field, signed_octets, unsigned_field


def test_instances_are_taken_from_the_bottom_up_and_once_more_than_they_are_there() -> None:
    selection = select(b"From: a\r\nTo: first\r\nX-Y: z\r\nTo: second\r\nSender: s\r\n\r\n")
    assert [name for name in selection.names if name == b"to"] == [b"to"] * 3
    assert selection.names[-1] == b"sender"
    assert selection.signed == b"from:a\r\nto:second\r\nto:first\r\nsender:s\r\n"


def test_guarded_names_are_named_even_when_absent_and_the_rest_is_not() -> None:
    assert select(b"X: y\r\n\r\n").names == GUARDED
    assert select(b"").signed == b""


@pytest.mark.parametrize(
    "name", [b"received", b"return-path", b"dkim-signature", b"bcc", b"x-mailer", b"comments"]
)
def test_fields_that_change_on_the_way_are_not_signed(name: bytes) -> None:
    assert name not in select(name + b": x\r\nFrom: a\r\n\r\n").names


def test_the_key_signs_the_fields_and_then_the_field_itself_with_nothing_in_b() -> None:
    selection = select(b"From: a\r\n\r\n")
    field = unsigned_field(opening("rsa-sha256", "example.com", "s1"), 17, selection, b"\x00" * 32)
    octets = signed_octets(selection, field)
    assert octets.replace(b": ", b":") == (
        b"from:a\r\ndkim-signature:v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=s1; t=17;"
        b" h=from:from:to:cc:subject:date:message-id:reply-to:mime-version:content-type"
        b":content-transfer-encoding; bh=" + b64encode(b"\x00" * 32) + b"; b="
    )


@pytest.mark.parametrize("length", [64, 128, 256, 512])
def test_the_signature_fills_lines_of_at_most_78(length: int) -> None:
    field = signed_field(b"DKIM-Signature: v=1;\r\n\tb=", b"\xff" * length)
    assert max(len(line) for line in field.split(b"\r\n")) <= 78
    assert b"".join(field.partition(b"b=")[2].split()) == b64encode(b"\xff" * length)
