"""Anything at all on sendmail's command line, and said to `sendmail -bs`."""

from __future__ import annotations

import contextlib
import re
from io import BytesIO

from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.cli.sendmail_options import Usage, parse
from postroad.cli.sendmail_settings import Settings
from postroad.cli.sendmail_smtp import converse

WORDS = st.sampled_from(
    ["-", "--", "-t", "-bs", "-q!I", "-Q", "-N", "never", "-V", "-o", "-odq", "a@b", "-qR", "mailq"]
)
LINES = st.sampled_from(
    [
        b"EHLO x\n",
        b"MAIL FROM:<a@b.example> RET=HDRS ENVID=+41\n",
        b"MAIL FROM:<> SMTPUTF8 SIZE=1\n",
        b"RCPT TO:<c@d.example> NOTIFY=SUCCESS ORCPT=rfc822;x\n",
        b"RCPT TO:<c@d.example>\n",
        b"DATA\n",
        b".\n",
        b"RSET\n",
        b"QUIT\n",
        b"MAIL FROM:",
        b" ENVID=+4",
        b"NOTIFY=,",
    ]
)
ENDS = [b"\r\n.\r\n", b"\n.\n", b"\r", b"x"]
MODES = {"deliver", "smtp", "queue", "verify", "aliases", "run", "hold", "release"} | {
    "count",
    "version",
    "help",
}
SAID = re.compile(rb"(?:[2345][0-9]{2}[ -][^\r\n]*\r\n)*")


@given(st.lists(WORDS | st.text(max_size=6), max_size=8))
def test_any_command_line_means_something_or_is_refused(words: list[str]) -> None:
    with contextlib.suppress(Usage):
        found = parse("sendmail", words)
        assert found.mode in MODES
        assert all(letter in "IRSQ" for letter, _, _ in found.select)


@settings(deadline=None)
@given(octets=st.lists(LINES | st.binary(max_size=12), max_size=20).map(b"".join))
def test_any_octets_to_bs_are_answered_in_well_formed_replies(octets: bytes) -> None:
    replies = BytesIO()
    exit = converse(
        BytesIO(octets), replies, Settings("/nonexistent", "mail.example.com", "example.com", 1000)
    )
    assert SAID.fullmatch(replies.getvalue())
    assert exit in (0, 65)


class Pieces:
    """Octets as they come: in pieces of any size."""

    def __init__(self, octets: bytes, sizes: list[int]) -> None:
        self._octets = octets
        self._sizes = sizes

    def read1(self, size: int = -1, /) -> bytes:
        length = self._sizes.pop() if self._sizes else len(self._octets)
        piece, self._octets = self._octets[:length], self._octets[length:]
        return piece


@settings(deadline=None)
@given(
    octets=st.lists(LINES | st.sampled_from([b"\r\n.\r\n", b"\n.\n", b"\r", b"x"]), max_size=20).map(
        b"".join
    ),
    ended=st.sampled_from([b"\n", b"\r\n"]),
    sizes=st.lists(st.integers(1, 9), max_size=60),
)
def test_how_the_octets_are_cut_changes_no_answer(octets: bytes, ended: bytes, sizes: list[int]) -> None:
    heard = []
    for pieces in ([], sizes):
        replies = BytesIO()
        given_octets = b"HELO me" + ended + octets.replace(b"\n", ended)
        converse(
            Pieces(given_octets, list(pieces)),
            replies,
            Settings("/nonexistent", "mail.example.com", "example.com", 1000),
        )
        heard.append(replies.getvalue())
    assert heard[0] == heard[1]
