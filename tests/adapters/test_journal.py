"""The log as those read it who read it: people, programs, a service manager."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import typing
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.adapters.journal import Journal, renderer
from postroad.adapters.journal_console import ConsoleLines
from postroad.adapters.journal_fields import DEBUG, clean, entries, flatten
from postroad.demo.process import HANGS_AFTER
from postroad.mail import events
from postroad.mail.events import (
    Accepted,
    DoubleBounce,
    Event,
    InternalError,
    LoggedIn,
    LoginFailed,
    Operated,
    Removed,
)
from postroad.mail.message import Peer
from postroad.mail.outcome import Reason
from tests.support.build import NOW, deferred, delivered, failed
from tests.support.happenings import EVERY, ID, PEER, accepted, tried

FORMATS = ("console", "json", "postfix")


def written(event: Event, format: str = "json", level: str = "debug", **options: Any) -> list[str]:
    stream = BytesIO()
    journal = Journal(format, level, stream, hostname="mail.example.com", now=lambda: NOW, pid=7, **options)
    journal.emit(event)
    journal.close(HANGS_AFTER)
    return stream.getvalue().decode().splitlines()


def objects(event: Event, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(event, **options)]


def test_every_event_there_is_is_among_those_tried_here() -> None:
    assert {type(event) for event in EVERY} == set(typing.get_args(events.Event))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("event", EVERY, ids=lambda event: type(event).__name__)
def test_every_event_has_a_line_in_every_format(format: str, event: Event) -> None:
    lines = written(event, format)
    assert lines
    assert not any("unrenderable" in line for line in lines)


@pytest.mark.parametrize("event", EVERY, ids=lambda event: type(event).__name__)
def test_json_has_a_time_a_level_and_the_name_of_the_event(event: Event) -> None:
    for line in objects(event):
        assert list(line)[:3] == ["ts", "level", "event"]
        assert line["ts"] == "2026-11-18T11:06:40.000Z"
        assert line["level"] in ("debug", "info", "warning", "error")
        assert line["event"].replace("-", "") == type(event).__name__.lower()


def test_an_attempt_is_one_line_a_recipient() -> None:
    sent, put_off, bounced = objects(tried(delivered(), deferred(), failed()))
    assert sent == {
        "ts": "2026-11-18T11:06:40.000Z",
        "level": "info",
        "event": "tried",
        "id": ID,
        "to": "b0@example.org",
        "hop": "example.org",
        "relay": "mx.example.org[192.0.2.1]:25",
        "status": "sent",
        "dsn": "2.0.0",
        "reply": "250 2.0.0 Ok",
        "delay": 0.5,
        "delays": [0.0, 0.1, 0.1, 0.3],
        "attempts": 2,
        "next": None,
        "reason": "ok",
        "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
        "verified": True,
    }
    assert (put_off["status"], put_off["next"]) == ("deferred", "2026-11-18T11:16:40Z")
    assert put_off["reply"] == "451 4.7.1 Greylisted try in 300 s"
    assert (bounced["status"], bounced["level"], bounced["dsn"]) == ("failed", "warning", "5.1.1")


def test_an_attempt_without_a_host_or_a_reply_says_what_went_wrong() -> None:
    (line,) = objects(tried(deferred(reply=None, text="no route"), endpoint=None, tls=None))
    assert (line["relay"], line["reply"], line["tls"], line["verified"]) == (None, "no route", None, None)


def test_a_clock_that_was_set_back_makes_no_negative_delays() -> None:
    (line,) = objects(tried(started=NOW - 5, finished=NOW - 4))
    assert line["delay"] == 0.0
    assert min(line["delays"]) >= 0.0


def test_the_login_that_was_tried_is_told_not_the_one_of_the_session() -> None:
    (line,) = objects(LoginFailed(PEER, "LOGIN", "root"))
    assert (line["login"], line["method"], line["peer"]) == ("root", "LOGIN", "203.0.113.7")


def test_a_traceback_is_a_list_of_lines() -> None:
    (line,) = objects(InternalError("intake", "boom", "Traceback:\n  File\x1b[2J\nValueError"))
    assert line["trace"] == ["Traceback:", "  File\\x1b[2J", "ValueError"]


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("debug", {"removed", "logged-in", "tried", "internal-error"}),
        ("info", {"removed", "tried", "internal-error"}),
        ("warning", {"tried", "internal-error"}),
        ("error", {"internal-error"}),
    ],
)
def test_the_level_is_the_least_that_is_written(level: str, names: set[str]) -> None:
    happened = (
        Removed(ID),
        LoggedIn(PEER, "PLAIN", "app"),
        tried(delivered(reason=Reason.AMBIGUOUS)),
        InternalError("a", "b", ""),
    )
    said = {line["event"] for event in happened for line in objects(event, level=level)}
    assert said == names


def test_at_level_warning_the_recipients_who_got_their_mail_are_left_out() -> None:
    for format in FORMATS:
        (line,) = written(tried(delivered(), deferred(), failed()), format, "warning")
        assert "b2@example.org" in line


# --- control characters ----------------------------------------------------------

HOSTILE = "a\x00\x07\r\n\x1b[31m\x7f\x85\x9b\u2028\u2029\u202e\u2066\u200b\ufeff\ud800b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\r\n", "\\x0d\\x0a"),
        ("\x1b[0m", "\\x1b[0m"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("\u2028\u202e", "\\u2028\\u202e"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("grüße 日本 \U0001f600", "grüße 日本 \U0001f600"),
        ("no\u00a0break", "no\u00a0break"),
    ],
)
def test_what_could_forge_a_line_is_escaped_and_letters_are_not(text: str, shown: str) -> None:
    assert clean(text) == shown


def _poisoned(value: Any, poison: str) -> Any:
    """The value with the poison in every text of it, however deep."""
    if type(value) is str:
        return value + poison
    if isinstance(value, tuple):
        return type(value)(_poisoned(item, poison) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {f.name: _poisoned(getattr(value, f.name), poison) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **changes)
    return value


def is_harmless(line: str) -> bool:
    return clean(line) == line


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("event", EVERY, ids=lambda event: type(event).__name__)
def test_no_field_of_any_event_lets_a_control_character_through(format: str, event: Event) -> None:
    for line in written(_poisoned(event, HOSTILE), format, colors=False):
        assert "unrenderable" not in line
        assert is_harmless(line)
        if format == "json":
            assert all(map(is_harmless, _texts_in(json.loads(line))))


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(item)


@given(st.text())
def test_any_text_is_one_harmless_line(text: str) -> None:
    for format in FORMATS:
        made = renderer(format, "host", 1, False)
        ((_, line),) = made.event(NOW, DoubleBounce(ID, text), 0)
        assert is_harmless(line.decode())


# --- people ----------------------------------------------------------------------


def test_the_console_is_coloured_only_when_asked() -> None:
    (plain,) = written(Removed(ID), "console", colors=False)
    (coloured,) = written(Removed(ID), "console", colors=True)
    assert "\x1b[" not in plain
    assert "\x1b[" in coloured


def test_no_color_is_obeyed_on_a_terminal() -> None:
    main, terminal = os.openpty()
    with open(terminal, "wb", buffering=0) as stream:
        for environ in ({}, {"NO_COLOR": "1"}):
            journal = Journal("console", stream=stream, environ=environ)
            journal.emit(Removed(ID))
            journal.close()
            assert (b"\x1b[" in os.read(main, 10_000)) is (not environ)
    os.close(main)


@pytest.mark.parametrize("colors", [False, True])
@pytest.mark.parametrize("event", EVERY, ids=lambda event: type(event).__name__)
def test_the_console_writes_an_event_as_structlog_would(event: Event, colors: bool) -> None:
    lines = ConsoleLines(colors)
    as_it_would = [line for entry in entries(event, DEBUG) for line in lines.entry(NOW, entry)]
    assert list(lines.event(NOW, event, DEBUG)) == as_it_would


def test_the_console_shows_a_traceback_as_lines_below() -> None:
    lines = written(InternalError("intake", "boom", "Traceback:\n  File"), "console")
    assert lines[1:] == ["    Traceback:", "      File"]


def test_the_console_leaves_out_what_says_nothing() -> None:
    (line,) = written(tried(delivered(), tls=None), "console")
    assert "tls" not in line
    assert "next" not in line


# --- the service manager ---------------------------------------------------------


def test_under_journald_each_line_carries_its_priority(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w+b", buffering=0) as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        journal = Journal("json", "debug", stream, environ=environ)
        for event in (
            LoggedIn(PEER, "PLAIN", "app"),
            Removed(ID),
            tried(failed()),
            InternalError("a", "b", ""),
        ):
            journal.emit(event)
        journal.close()
        stream.seek(0)
        assert [line[:4] for line in stream] == [b"<7>{", b"<6>{", b"<4>{", b"<3>{"]


@pytest.mark.parametrize("named", ["", "1:1", "nonsense"])
def test_a_stream_that_is_not_the_journals_gets_no_priorities(tmp_path: Path, named: str) -> None:
    with (tmp_path / "stderr").open("w+b", buffering=0) as stream:
        journal = Journal("json", stream=stream, environ={"JOURNAL_STREAM": named})
        journal.emit(Removed(ID))
        journal.close()
        stream.seek(0)
        assert stream.read(1) == b"{"


# --- never fails, never waits ----------------------------------------------------


def test_a_reader_that_is_stuck_costs_lines_and_they_are_counted() -> None:
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as stream:
        journal = Journal("json", stream=stream, capacity=100)
        for _ in range(5000):
            journal.emit(accepted())
        assert journal.dropped > 1000
        journal.close(timeout=0.0)
        reported, rest = 0, b""
        while reported < journal.dropped:
            *whole, rest = (rest + os.read(reading, 1 << 16)).split(b"\n")
            said = [json.loads(line) for line in whole if b"lines-dropped" in line]
            assert {report["level"] for report in said} <= {"warning"}
            reported += sum(report["count"] for report in said)
        assert reported == journal.dropped
    os.close(reading)


def test_what_was_told_before_a_flush_is_written_after_it() -> None:
    stream = BytesIO()
    journal = Journal("json", stream=stream)
    for told in range(1, 400):
        journal.emit(Removed(ID))
        if told % 100 == 0:
            journal.flush(timeout=HANGS_AFTER)
            assert stream.getvalue().count(b"\n") == told
    journal.close()


def test_a_flush_does_not_wait_for_a_reader_that_is_stuck() -> None:
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as stream:
        journal = Journal("json", stream=stream, capacity=10_000)
        for _ in range(5000):
            journal.emit(accepted())
        journal.flush(timeout=0.0)
        journal.close(timeout=0.0)
        os.close(reading)


def test_a_reader_that_is_gone_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as stream:
        journal = Journal("json", stream=stream)
        journal.emit(Removed(ID))
        journal.close()
        assert journal.dropped == 1


def test_a_stream_that_somebody_made_non_blocking_loses_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(writing, "wb", buffering=0) as stream:
        journal = Journal("json", stream=stream)
        for _ in range(1000):
            journal.emit(accepted())
        lines = b""
        while lines.count(b"\n") < 1000:
            lines += os.read(reading, 1 << 16)
        journal.close()
    os.close(reading)
    assert all(json.loads(line)["event"] == "accepted" for line in lines.splitlines())


def test_closing_writes_what_is_buffered_and_may_be_done_twice() -> None:
    stream = BytesIO()
    journal = Journal("json", stream=stream)
    for _ in range(1000):
        journal.emit(Removed(ID))
    journal.close()
    journal.close()
    assert stream.getvalue().count(b"\n") == 1000


def test_an_event_that_cannot_be_rendered_is_itself_told() -> None:
    stream = BytesIO()
    journal = Journal("json", stream=stream)
    journal.emit("no event at all")  # type: ignore[arg-type]
    journal.close()
    assert json.loads(stream.getvalue())["event"] == "unrenderable-event"


def test_lines_are_written_without_the_loop() -> None:
    """Nothing of the journal runs in the loop, so that a loop that is busy still has a log."""
    reading, writing = os.pipe()

    async def emit_and_read_at_once() -> bytes:
        with open(writing, "wb", buffering=0) as stream:
            journal = Journal("json", stream=stream)
            journal.emit(Removed(ID))
            got = os.read(reading, 1000)
            journal.close()
            return got

    assert asyncio.run(emit_and_read_at_once()).endswith(b"\n")
    os.close(reading)


# --- libraries -------------------------------------------------------------------


def test_what_libraries_warn_of_is_in_the_log_and_their_chatter_is_not() -> None:
    stream = BytesIO()
    journal = Journal("json", stream=stream)
    journal.adopt_logging()
    mail = logging.getLogger("mail.log")
    mail.info("AUTH by %s", "app")
    mail.warning("odd\nline from %s", "peer")
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("asyncio").exception("in callback")
    journal.close()
    mail.warning("after the end")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["level"], first["logger"]) == ("library", "warning", "mail.log")
    assert first["text"] == "odd\\x0aline from peer"
    assert (second["level"], second["trace"][-1]) == ("error", "ValueError: boom")


def test_a_library_that_misuses_its_log_is_still_told() -> None:
    stream = BytesIO()
    journal = Journal("json", stream=stream)
    journal.adopt_logging()
    (ours,) = (h for h in logging.getLogger().handlers if type(h).__module__.startswith("postroad."))
    ours.handle(logging.LogRecord("x", logging.WARNING, "", 0, "%d", ("not a number",), None))
    journal.close()
    assert json.loads(stream.getvalue())["text"] == "%d"


def test_what_few_events_have_is_left_out_of_the_others() -> None:
    plain, asked = Operated("delete", 1, 0, ("X",)), Operated("hold", 1, 0, ("X",), "under review")
    assert "reason" not in flatten(plain)
    assert flatten(asked)["reason"] == "under review"
    accepted = Accepted("X", Peer("192.0.2.7"), "anna", "a@example.com", ("b@example.org",), 9, "<x@y>")
    assert "priority" not in flatten(accepted)
    assert flatten(replace(accepted, priority=0))["priority"] == 0
