"""The sendmail command as its callers start it: a process, its input, its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from postroad.adapters.local_client import LocalEnvelope
from postroad.cli import sendmail_door
from postroad.mail.message import Body, Notify, Ret
from postroad.mail.reply import Reply
from tests.support import happenings
from tests.support.build import deferred, queue_id
from tests.support.operating import office
from tests.support.sendmail import LETTER, ME, RUN, Done, recipients, sendmail, sent, start, text

SOURCE = str(Path(__file__).parent.parent.parent / "src")


# --- with a daemon -----------------------------------------------------------------


async def test_a_message_goes_to_the_daemon_as_it_is() -> None:
    async with office() as daemon:
        got = await sent(daemon, "-f", "a@example.com", "b@example.org", "c@example.org")
    assert text(got) == LETTER
    assert (str(got.envelope.sender), recipients(got)) == (
        "a@example.com",
        ["b@example.org", "c@example.org"],
    )
    assert got.account == f"uid:{os.getuid()}"


async def test_with_t_the_header_names_the_recipients_and_blind_copies_vanish() -> None:
    letter = b"To: B <b@example.org>, c@example.org\nCc: d@example.org\nBcc: e@example.org\n\nx\n"
    async with office() as daemon:
        got = await sent(daemon, "-ti", "-fa@example.com", "f@example.org", "b@example.org", given=letter)
    assert sorted(recipients(got)) == [f"{local}@example.org" for local in "bcdef"]
    assert b"Bcc" not in text(got)


async def test_blind_copies_vanish_without_t_too() -> None:
    async with office() as daemon:
        got = await sent(
            daemon, "-fa@example.com", "b@example.org", given=b"From: a\nBcc: e@f.example\n\nx\n"
        )
    assert (recipients(got), text(got)) == (["b@example.org"], b"From: a\n\nx\n")


async def test_the_mail_of_cron_gets_a_sender_a_name_and_domains() -> None:
    async with office() as daemon:
        got = await sent(
            daemon, "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root", given=b"Subject: x\n\nout\n"
        )
    assert (str(got.envelope.sender), recipients(got)) == (f"{ME}@origin.example", ["root@origin.example"])
    assert text(got) == f"From: CronDaemon <{ME}>\nSubject: x\n\nout\n".encode()
    assert got.envelope.body is Body.EIGHT_BIT


async def test_php_writes_two_kinds_of_line_ends_into_one_message() -> None:
    async with office() as daemon:
        got = await sent(
            daemon, "-t", "-i", "-fa@b.example", given=b"To: c@d.example\r\nFrom: a\r\n\r\nx\ny\r\n"
        )
    assert got.content.head == b"To: c@d.example\r\nFrom: a\r\n\r\n"
    assert got.content.body == b"x\r\ny\r\n"


async def test_text_without_a_header_is_all_body() -> None:
    async with office() as daemon:
        got = await sent(daemon, "-f", "a@b.example", "c@d.example", given=b"no header here\n")
    assert text(got) == b"From: a@b.example\n\nno header here\n"


async def test_the_null_sender_and_delivery_notification_parameters_arrive() -> None:
    async with office() as daemon:
        got = await sent(
            daemon, "-f", "<>", "-N", "success,delay", "-R", "hdrs", "-V", "a+1", "--", "b@example.org"
        )
    assert got.envelope.sender is None
    assert got.envelope.recipients[0].notify == Notify.SUCCESS | Notify.DELAY
    assert (got.envelope.ret, got.envelope.envid) == (Ret.HDRS, "a+2B1")


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ((), b"Subject: x\n\none\n"),
        (("-i",), b"Subject: x\n\none\n.\ntwo\n"),
        (("-oi",), b"Subject: x\n\none\n.\ntwo\n"),
    ],
)
async def test_a_lone_dot_ends_the_message_unless_told_otherwise(
    options: tuple[str, ...], left: bytes
) -> None:
    async with office() as daemon:
        got = await sent(daemon, "-G", *options, "b@example.org", given=b"Subject: x\n\none\n.\ntwo\n")
    assert text(got) == left


async def test_after_the_lone_dot_nobody_waits_for_the_end_of_the_input() -> None:
    async with office() as daemon:
        process = await start(daemon.path.parent, "b@example.org")
        assert process.stdin is not None
        process.stdin.write(b"Subject: x\n\nfine\n.\n")
        assert await process.wait() == 0
        process.stdin.close()


async def test_dots_at_the_start_of_lines_stay() -> None:
    async with office() as daemon:
        got = await sent(daemon, "-G", "b@example.org", given=b"S: x\n\n.a\n..b\n")
    assert text(got) == b"S: x\n\n.a\n..b\n"


async def test_verbose_tells_the_queue_id() -> None:
    async with office() as daemon:
        done = await sendmail(daemon.path.parent, "-v", "b@example.org")
        assert done == Done(0, f"queued as {queue_id(1)} in {daemon.path.parent}\n", "")


@pytest.mark.parametrize(
    ("reply", "exit"),
    [
        (Reply(451, ("later",), "4.3.0"), os.EX_TEMPFAIL),
        (Reply(452, ("full",), "4.3.1"), os.EX_TEMPFAIL),
        (Reply(552, ("too large",), "5.3.4"), os.EX_DATAERR),
        (Reply(553, ("bad address",), "5.1.3"), os.EX_DATAERR),
        (Reply(554, ("loop",), "5.4.6"), os.EX_DATAERR),
        (Reply(554, ("no",), "5.6.0"), os.EX_DATAERR),
        (Reply(550, ("not yours",), "5.7.1"), os.EX_NOPERM),
        (Reply(554, ("no",)), os.EX_UNAVAILABLE),
    ],
)
async def test_a_refusal_is_an_exit_code_that_tells_the_truth(reply: Reply, exit: int) -> None:
    async with office() as daemon:
        daemon.intake.reply = reply
        done = await sendmail(daemon.path.parent, "b@example.org")
    assert (done.exit, done.out) == (exit, "")
    assert " ".join(reply.lines) in done.err


@pytest.mark.parametrize(
    ("words", "given", "exit"),
    [
        ((), LETTER, os.EX_USAGE),
        (("-t",), b"Subject: nobody\n\nx\n", os.EX_USAGE),
        (("-t",), b"To: undisclosed-recipients:;\n\nx\n", os.EX_USAGE),
        (("-W", "b@example.org"), LETTER, os.EX_USAGE),
        (("-bd",), b"", os.EX_USAGE),
        (("not an address",), LETTER, os.EX_DATAERR),
        (("b@..example",), LETTER, os.EX_DATAERR),
        (("-t",), b"To: not an address\n\nx\n", os.EX_DATAERR),
        (("b@example.org",), b"x" * (1 << 20) + b"too long\n", os.EX_DATAERR),
        (("-C", "/nowhere.toml", "b@example.org"), LETTER, os.EX_CONFIG),
    ],
)
async def test_mistakes_have_the_exit_codes_of_sysexits(
    words: tuple[str, ...], given: bytes, exit: int
) -> None:
    async with office() as daemon:
        done = await sendmail(daemon.path.parent, *words, given=given)
        assert daemon.intake.taken == []
    assert done.exit == exit
    assert done.err.startswith("sendmail: fatal: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
async def test_a_signal_while_reading_ends_it_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "maildrop").mkdir()
    process = await start(tmp_path, "-i", "b@example.org")
    assert process.stdin is not None
    # More than a pipe holds: when all of it is gone, the command has come to reading.
    process.stdin.write(b"x" * 300_000)
    await process.stdin.drain()
    process.send_signal(number)
    process.stdin.close()
    assert await process.wait() == os.EX_TEMPFAIL
    assert list((tmp_path / "maildrop").iterdir()) == []


def test_the_request_is_the_one_of_the_local_client() -> None:
    facts = ("a@b.example", ["c@d.example"], ["success"], "full", "id", "7BIT")
    theirs = LocalEnvelope(*facts).request(5, follow=False)
    ours = sendmail_door.envelope(*facts) | {"size": 5}
    assert ours == {key: value for key, value in theirs.items() if key != "follow"}


LIGHT = """
import os, sys
from postroad.cli import sendmail
code = sendmail.main(["sendmail", "-FCronDaemon", "-i", "-t", "-oem", "-fa@example.com", "B <b@example.org>"])
slow = {"re", "enum", "json", "socket", "tomllib", "typing", "signal", "asyncio"}
print(code, *sorted(slow & set(sys.modules)), flush=True)
os._exit(0)
"""


async def test_a_message_is_sent_without_loading_what_takes_long(tmp_path: Path) -> None:
    """Each of these takes as long as all the rest; the command is started for every message."""
    (tmp_path / "maildrop").mkdir()
    process = await start(
        tmp_path, run=("-I", "-S", "-c", f"import sys; sys.path.append({SOURCE!r})\n{LIGHT}")
    )
    out, err = await process.communicate(LETTER)
    assert (out.decode(), err.decode()) == ("0\n", "")


@pytest.mark.parametrize("redirected", [">/dev/full 2>&1", ">&- 2>&-"])
async def test_what_was_accepted_stays_so_when_nobody_can_be_told(tmp_path: Path, redirected: str) -> None:
    (tmp_path / "maildrop").mkdir()
    process = await start(tmp_path, "-v", "b@example.org", redirected=redirected)
    await process.communicate(LETTER)
    assert (process.returncode, len(list((tmp_path / "maildrop").iterdir()))) == (0, 1)


@pytest.mark.parametrize("redirected", [">/dev/full", ">&-"])
async def test_a_trace_that_nobody_reads_takes_nothing_back(redirected: str) -> None:
    async with office() as daemon:
        process = await start(daemon.path.parent, "-v", "-v", "b@example.org", redirected=redirected)
        assert process.stdin is not None
        process.stdin.write(LETTER)
        process.stdin.close()
        while not daemon.intake.taken:
            await asyncio.sleep(0.01)
        # Until it has asked to follow, nobody hears it.
        while process.returncode is None:
            daemon.emit(happenings.tried(deferred()))
            await asyncio.sleep(0.01)
        assert process.stderr is not None
        assert (process.returncode, await process.stderr.read()) == (0, b"")


@pytest.mark.parametrize(("words", "redirected"), [("-bs", "<&-"), ("-bs", ">&-")])
async def test_a_dialogue_needs_both_its_ends(tmp_path: Path, words: str, redirected: str) -> None:
    process = await start(tmp_path, words, redirected=redirected)
    _, err = await process.communicate(b"QUIT\r\n")
    assert process.returncode == os.EX_IOERR
    assert b"one of them is closed" in err


async def test_an_input_that_does_not_block_is_waited_for() -> None:
    async with office() as daemon:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        config = daemon.path.parent / "postroad.toml"
        config.write_text('hostname = "mail.example.com"\nstate_directory = "."\n')
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RUN, "sendmail", "b@example.org"),
            stdin=reading,
            stderr=asyncio.subprocess.PIPE,
            env={"POSTROAD_CONFIG": str(config), "PATH": os.environ["PATH"]},
        )
        os.close(reading)
        for part in (LETTER[:20], LETTER[20:]):
            # Long enough for most that it finds nothing there; it must hold either way.
            await asyncio.sleep(0.1)
            os.write(writing, part)
        os.close(writing)
        _, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert text(daemon.intake.taken[-1]) == LETTER


async def test_who_resends_a_message_is_named_and_its_author_left_alone() -> None:
    letter = b"Resent-To: b@example.org\nTo: c@example.org\n\nx\n"
    async with office() as daemon:
        got = await sent(daemon, "-t", "-F", "Some One", given=letter)
    assert recipients(got) == ["b@example.org"]
    assert text(got) == f"Resent-From: Some One <{ME}>\n".encode() + letter


async def test_an_interval_for_the_queue_is_the_daemons_own(tmp_path: Path) -> None:
    done = await sendmail(tmp_path, "-q15m")
    assert done.exit == os.EX_USAGE
    assert "the daemon itself goes through the queue" in done.err


async def test_an_input_that_is_closed_is_an_error_of_input(tmp_path: Path) -> None:
    process = await start(tmp_path, "b@example.org", redirected="<&-")
    await process.communicate()
    assert process.returncode == os.EX_IOERR


# --- without ---------------------------------------------------------------------------


async def test_while_the_daemon_is_down_the_message_waits_in_the_maildrop(tmp_path: Path) -> None:
    (tmp_path / "maildrop").mkdir()
    assert await sendmail(tmp_path, "-f", "a@example.com", "b@example.org") == Done(0, "", "")
    (path,) = (tmp_path / "maildrop").iterdir()
    line, _, content = path.read_bytes().partition(b"\n")
    assert json.loads(line)["recipients"] == ["b@example.org"]
    assert content == LETTER


async def test_without_daemon_and_maildrop_it_is_a_temporary_failure(tmp_path: Path) -> None:
    done = await sendmail(tmp_path, "b@example.org")
    assert done.exit == os.EX_TEMPFAIL
    assert "maildrop" in done.err


async def test_a_daemon_that_dies_with_the_whole_message_may_have_taken_it(tmp_path: Path) -> None:
    """So it is not dropped a second time: the caller decides."""
    (tmp_path / "maildrop").mkdir()

    async def read_all_and_die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        await reader.readexactly(request["size"])
        writer.close()

    async with await asyncio.start_unix_server(read_all_and_die, _short(tmp_path)):
        done = await sendmail(tmp_path, "b@example.org")
    assert done.exit == os.EX_TEMPFAIL
    assert list((tmp_path / "maildrop").iterdir()) == []


async def test_a_daemon_that_dies_before_it_had_the_message_has_not_taken_it(tmp_path: Path) -> None:
    (tmp_path / "maildrop").mkdir()

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_unix_server(die, _short(tmp_path)):
        done = await sendmail(tmp_path, "b@example.org", given=LETTER + b"x" * 900_000)
    assert done.exit == 0
    assert len(list((tmp_path / "maildrop").iterdir())) == 1


def _short(directory: Path) -> Path:
    """The socket's place in the directory, by a path that is short enough for one."""
    real = directory / "postroad.sock"
    return Path(os.path.relpath(real)) if len(str(real)) > 100 else real
