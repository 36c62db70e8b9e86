"""The account on a terminal and off it."""

from __future__ import annotations

import io

import pytest

from postroad.demo.fates import Fate, Stand
from postroad.demo.letters import BERT, Letter
from postroad.demo.table import Table, fit, printable, row


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def fate(words: str = "delivered") -> Fate:
    letter = Letter("A title", (BERT,), b"", "<1@x.example>", False)
    return Fate(letter, BERT, "A1", Stand.DELIVERED, 1, words)


@pytest.mark.parametrize(
    ("text", "width", "fitted"), [("abc", 3, "abc"), ("abcd", 3, "ab~"), ("abc", 1, "~")]
)
def test_text_is_cut_to_the_width_and_the_cut_shows(text: str, width: int, fitted: str) -> None:
    assert fit(text, width) == fitted


@pytest.mark.parametrize("width", [20, 60, 200])
def test_a_row_is_never_wider_than_the_terminal(width: int) -> None:
    assert len(row(fate("x" * 500), width, 10, 20)) == width


def test_what_a_receiver_says_cannot_move_the_cursor() -> None:
    assert printable("550 \x1b[2J\r\nno\x9b") == "550 ?[2J??no?"


def test_off_a_terminal_a_change_is_one_plain_line() -> None:
    stream = io.StringIO()
    Table([fate()], stream).changed(fate("550 \x1b[2J"))
    assert stream.getvalue().endswith(f"A title -> {BERT}: 550 ?[2J\n")
    assert stream.getvalue().count("\n") == 1


def test_on_a_terminal_a_change_redraws_all_rows_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    table = Table([fate(), fate()], stream)
    table.changed(fate())
    table.changed(fate())
    assert stream.getvalue().count("\x1b[2A\x1b[J") == 1
    assert "\x1b[32m+ A title" in stream.getvalue()


def test_colours_are_left_out_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Table([fate()], stream).changed(fate())
    assert "\x1b[3" not in stream.getvalue()
