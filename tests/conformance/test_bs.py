"""The table `commands.txt`, and where it differs `bs.txt`, said to `sendmail -bs`."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

from postroad.cli.sendmail_lines import LINE_LONGEST
from postroad.cli.sendmail_settings import Settings
from postroad.cli.sendmail_smtp import converse
from tests.conformance.test_commands import as_wanted, rows
from tests.support.dialogue import unescape

NOT_OFFERED = re.compile(r"BDAT|MAIL FROM:<a@x\.example> .*(?:AUTH=|HOLD|MT-PRIORITY)", re.IGNORECASE)


def place(tmp_path: Path, most: int = 1000) -> Settings:
    """No daemon runs: what is accepted waits in the maildrop."""
    (tmp_path / "maildrop").mkdir(exist_ok=True)
    return Settings(str(tmp_path), "mail.sender.example", "origin.example", 100_000, max_recipients=most)


def talk(settings: Settings, given: bytes) -> list[str]:
    """The replies, lines of one joined, but those to connecting and EHLO."""
    out = BytesIO()
    converse(BytesIO(given), out, settings)
    text = out.getvalue().decode("ascii")
    return re.sub(r"(?m)^(...)-(.*)\r\n(?=\1)", r"\1 \2 ", text).replace("\r\n", "\n").splitlines()


def codes(settings: Settings, given: bytes) -> str:
    return " ".join(line[:3] for line in talk(settings, given))


def test_every_command_gets_the_reply_that_the_rfcs_ask_for(tmp_path: Path) -> None:
    settings = place(tmp_path)
    common = {said: wanted for said, wanted in rows("commands.txt").items() if not NOT_OFFERED.search(said)}
    wrong = []
    for said, wanted in (common | rows("bs.txt")).items():
        lines = [unescape(word.rstrip(" ")) + b"\r\n" for word in said.split(" ; ")]
        goes_on = wanted.split(", ")[-1][:3] not in ("221", "354", "421")
        heard = talk(settings, b"".join([b"EHLO c\r\n", *lines, b"XYZZY\r\n" if goes_on else b""]))[2:]
        if len(heard) != len(wanted.split(", ")) + goes_on or not as_wanted(heard, wanted):
            wrong.append((said, wanted, heard))
    assert wrong == []


def test_parameters_of_what_it_does_not_offer_are_not_recognised(tmp_path: Path) -> None:
    for said in rows("commands.txt"):
        if NOT_OFFERED.search(said) and "BDAT" not in said and " ; " not in said:
            heard = talk(place(tmp_path), b"EHLO c\r\n" + unescape(said) + b"\r\n")
            assert heard[-1].startswith("555 5.5.4 "), said


def test_mail_needs_a_hello(tmp_path: Path) -> None:
    assert codes(place(tmp_path), b"MAIL FROM:<a@x.example>\r\nHELO c\r\nMAIL FROM:<a@x.example>\r\n") == (
        "220 503 250 250"
    )


OPEN = b"EHLO c\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"


def test_to_who_speaks_smtp_only_crlf_dot_crlf_ends_a_message(tmp_path: Path) -> None:
    settings = place(tmp_path)
    for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n.\0\r\n"):
        evil = b"MAIL FROM:<evil@x.example>\r\n.\r\nNOOP\r\n"
        said = talk(settings, OPEN + b"Subject: x\r\n\r\nx" + end + evil)
        assert [line[:3] for line in said[5:]] in (["250", "250"], ["554", "250"]), end


def test_who_writes_text_ends_lines_and_messages_with_lf(tmp_path: Path) -> None:
    text = (OPEN + b"Subject: x\r\n\r\n..x\r\n.\r\nQUIT\r\n").replace(b"\r\n", b"\n")
    assert codes(place(tmp_path), text) == "220 250 250 250 354 250 221"
    (kept,) = (tmp_path / "maildrop").iterdir()
    assert kept.read_bytes().endswith(b"Subject: x\n\n.x\n")


def test_what_follows_a_bare_lf_is_no_command_of_who_speaks_smtp(tmp_path: Path) -> None:
    assert codes(place(tmp_path), b"NOOP\r\nRSET\nQUIT\nRSET\r\nNOOP\r\n") == "220 250 500 250"


def test_a_line_without_end_is_refused_and_not_kept(tmp_path: Path) -> None:
    long = b"NOOP " + b"x" * 50 * LINE_LONGEST + b"\r\n"
    assert codes(place(tmp_path), long + b"NOOP\r\n") == "220 500 250"


def test_recipients_beyond_the_limit_are_put_off_one_by_one(tmp_path: Path) -> None:
    begin = b"EHLO c\r\nMAIL FROM:<a@x.example>\r\n"
    heard = talk(place(tmp_path, most=2), begin + b"RCPT TO:<b@y.example>\r\n" * 4 + b"DATA\r\n.\r\n")
    assert [line[:9] for line in heard[3:7]] == ["250 2.1.5", "250 2.1.5", "452 4.5.3", "452 4.5.3"]
    assert [line[:3] for line in heard[7:]] == ["354", "250"]


def test_a_long_list_with_bad_addresses_is_no_reason_to_end(tmp_path: Path) -> None:
    begin = b"EHLO c\r\nMAIL FROM:<a@x.example>\r\n"
    heard = codes(place(tmp_path), begin + b"RCPT TO:<@>\r\n" * 50 + b"NOOP\r\n")
    assert heard.endswith("553 553 250")
