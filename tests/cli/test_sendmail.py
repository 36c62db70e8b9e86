"""The sendmail command as its callers start it: a process, its input, its exit code."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pwd
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from postroad.adapters.local_client import LocalEnvelope
from postroad.cli import sendmail_door
from postroad.cli.sendmail_settings import Settings
from postroad.cli.sendmail_smtp import converse
from postroad.mail.lifecycle import State
from postroad.mail.message import Body, Notify, Ret, Submission
from postroad.mail.reply import Reply
from postroad.ports.queue import QueueFilter
from tests.support import happenings
from tests.support.build import deferred, message, queue_id, recipient
from tests.support.operating import Office, office
from tests.support.queued import fill

RUN = "import sys; sys.argv = sys.argv[1:]; from postroad.cli.sendmail import program; program()"
SOURCE = str(Path(__file__).parent.parent.parent / "src")
LETTER = b"From: A <a@example.com>\nTo: b@example.org\nSubject: hello\n\nGood morning.\n"
ME = pwd.getpwuid(os.getuid()).pw_name


@dataclass(frozen=True)
class Done:
    exit: int
    out: str
    err: str


async def start(
    state: Path, *words: str, name: str = "sendmail", run: Sequence[str] = ("-c", RUN), redirected: str = ""
) -> asyncio.subprocess.Process:
    """`redirected` as the shell would have it."""
    config = state / "postroad.toml"
    config.write_text(
        'hostname = "mail.example.com"\nstate_directory = "."\n[submission]\nmax_message_size = "1MiB"\n'
        '[local]\naliases = "aliases"\n'
    )
    environ = {"POSTROAD_CONFIG": str(config), "PATH": os.environ["PATH"]}
    return await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, *run, name, *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )


async def sendmail(state: Path, *words: str, given: bytes = LETTER, name: str = "sendmail") -> Done:
    process = await start(state, *words, name=name)
    out, err = await process.communicate(given)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def sent(office: Office, *words: str, given: bytes = LETTER) -> Submission:
    """What the daemon is given by a call that succeeds, quietly."""
    done = await sendmail(office.path.parent, *words, given=given)
    assert done == Done(0, "", "")
    return office.intake.taken[-1]


def text(submission: Submission) -> bytes:
    body = submission.content.body
    assert isinstance(body, bytes)
    return (submission.content.head + body).replace(b"\r\n", b"\n")


def recipients(submission: Submission) -> list[str]:
    return [str(to.address) for to in submission.envelope.recipients]


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


async def test_who_has_seen_enough_of_the_queue_may_close_his_side(tmp_path: Path) -> None:
    script = 'exec 3>&1; { "$@"; echo $? >&3; } | true'
    run = ("/bin/sh", "-c", script, "sh", sys.executable, "-c", RUN, "mailq")
    for _ in range(300):
        (tmp_path / "maildrop").mkdir(exist_ok=True)
        sendmail_door.drop(str(tmp_path / "maildrop"), WAITING, b"x", "down")
    config = tmp_path / "postroad.toml"
    config.write_text('hostname = "mail.example.com"\nstate_directory = "."\n')
    process = await asyncio.create_subprocess_exec(
        *run,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"POSTROAD_CONFIG": str(config), "PATH": os.environ["PATH"]},
    )
    out, err = await process.communicate()
    assert out == b"0\n"
    assert b"fatal" not in err


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


# --- its other names and modes -------------------------------------------------------------


async def test_mailq_of_an_installation_that_never_ran_is_empty(tmp_path: Path) -> None:
    warning = "mailq: warning: Mail system is down -- accessing queue directly\n"
    assert await sendmail(tmp_path, name="mailq") == Done(0, "Mail queue is empty\n", warning)
    async with office() as daemon:
        assert await sendmail(daemon.path.parent, "-bp") == Done(0, "Mail queue is empty\n", "")


STRANGER = "uid-4000000"


@pytest.mark.parametrize(
    ("sender", "allowed"),
    [
        ("", True),
        (STRANGER, True),
        (f"{STRANGER.upper()}@origin.example", True),
        (f"{STRANGER}@localhost", True),
        ("root", False),
        (f"{STRANGER}@elsewhere.example", False),
    ],
)
def test_while_nobody_else_looks_users_send_as_themselves_alone(
    monkeypatch: pytest.MonkeyPatch, sender: str, allowed: bool
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    settings = Settings("/nowhere", "mail.example.com", "origin.example", 1 << 20, local_sender="own")
    said = io.BytesIO()
    spoken = f"EHLO me\r\nMAIL FROM:<{sender}>\r\nQUIT\r\n".encode()
    assert converse(io.BufferedReader(io.BytesIO(spoken)), said, settings) == 0
    assert said.getvalue().splitlines()[-2][:9] == (b"250 2.1.0" if allowed else b"550 5.7.1")
    with nullcontext() if allowed else pytest.raises(sendmail_door.Refused, match="local_sender") as refused:
        sendmail_door.check_own(sender, "origin.example", "mail.example.com")
    if refused is not None:
        assert refused.value.exit == os.EX_NOPERM


WAITING = sendmail_door.request_line(
    **sendmail_door.envelope("a@example.com", ["b@example.org", "root"]), size=1
)


async def test_mailq_and_its_count_have_what_waits_for_a_daemon(tmp_path: Path) -> None:
    (tmp_path / "maildrop").mkdir()
    sendmail_door.drop(str(tmp_path / "maildrop"), WAITING, b"x", "down")
    (tmp_path / "maildrop" / ("2" * 12 + "." + "0" * 32)).write_text("no message\n")
    done = await sendmail(tmp_path, name="mailq")
    _, first, *to, _, total = done.out.splitlines()
    assert first.endswith("a@example.com")
    assert [line.strip() for line in to] == ["b@example.org", "root@mail.example.com"]
    assert total == "-- 0 Kbytes in 1 Request."
    assert (await sendmail(tmp_path, "-bp", "-qRc@")).out == "Mail queue is empty\n"
    # What is no message is the daemon's to tell of; it is a file all the same.
    assert (await sendmail(tmp_path, "-bP")).out == "2\n"


async def test_newaliases_has_nothing_to_do(tmp_path: Path) -> None:
    assert await sendmail(tmp_path, name="newaliases") == Done(0, "", "")


@pytest.mark.parametrize(
    ("option", "asked"),
    [
        ("-q", QueueFilter()),
    ],
)
async def test_q_asks_the_daemon_to_try_again(option: str, asked: QueueFilter) -> None:
    async with office() as daemon:
        assert await sendmail(daemon.path.parent, option) == Done(0, "", "")
        assert daemon.control.asked == [("retry", asked, os.getuid())]


@pytest.mark.parametrize(
    ("options", "verb", "numbers"),
    [
        (f"-qI{queue_id(2)}", "retry", [2]),
        ("-qRB1@EXAMPLE", "retry", [1]),
        ("-qSa@example -q!Rb1", "retry", [2, 3]),
        ("-Qlooks-odd -qRb2", "hold", [2]),
        ("-Q -qQ", "release", [3]),
        ("-Q -qQpolicy", "release", []),
    ],
)
async def test_q_selects_by_parts_of_ids_and_addresses(options: str, verb: str, numbers: list[int]) -> None:
    async with office() as daemon:
        rows = [recipient(f"b{n}@example.org", message=queue_id(n)) for n in (1, 2, 3)]
        rows[2] = replace(rows[2], state=State.HELD)
        await fill(daemon.path.parent, *((message(n), [rows[n - 1]], b"x\r\n") for n in (1, 2, 3)))
        assert await sendmail(daemon.path.parent, *options.split()) == Done(0, "", "")
        asked = [(verb, QueueFilter(ids=tuple(map(queue_id, numbers))), os.getuid())]
        assert daemon.control.asked == (asked if numbers else [])
        listed = await sendmail(daemon.path.parent, "-qQ", name="mailq")
    assert [number for number in (1, 2, 3) if queue_id(number) in listed.out] == [3]


async def test_q_without_a_daemon_says_so(tmp_path: Path) -> None:
    assert (await sendmail(tmp_path, "-q")).exit == os.EX_UNAVAILABLE


async def test_bv_says_where_mail_would_go(tmp_path: Path) -> None:
    (tmp_path / "aliases").write_text("root: ops\nops: anna@example.net, b@example.org\nx: y\ny: x\n")
    done = await sendmail(tmp_path, "-bv", "root", "B <b@example.org>", "b@@example", "nobody", "x")
    assert done.exit == os.EX_NOUSER
    lines = done.out.splitlines()
    assert lines[:4] == [
        "root@mail.example.com... aliased to anna@example.net, b@example.org",
        "anna@example.net... deliverable: mailer smtp, host example.net",
        "b@example.org... deliverable: mailer smtp, host example.org",
        "b@example.org... deliverable: mailer smtp, host example.org",
    ]
    assert lines[4].startswith("b@@example... undeliverable: ")
    assert lines[5].startswith("nobody@mail.example.com... waits: no alias for nobody in ")
    assert "lead in a circle: x -> y -> x" in lines[6]
    assert (await sendmail(tmp_path, "-bv", "ops")).exit == 0
    assert (await sendmail(tmp_path, "-bv", "nobody")).exit == os.EX_TEMPFAIL


async def test_few_callers_ask_for_more_and_the_daemon_hears_it() -> None:
    async with office() as daemon:
        plain = await sent(daemon, "b@example.org")
        asked = await sent(daemon, "-G", "-U", "-odq", "-L", "nightly", "b@example.org")
    assert (plain.gateway, plain.later, plain.envelope.smtputf8, plain.peer.tag) == (
        False,
        False,
        False,
        None,
    )
    assert (asked.gateway, asked.later, asked.envelope.smtputf8, asked.peer.tag) == (
        True,
        True,
        True,
        "nightly",
    )


async def test_said_twice_v_tells_what_becomes_of_the_message() -> None:
    async with office() as daemon:
        process = await start(daemon.path.parent, "-v", "-v", "b@example.org")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LETTER)
        process.stdin.close()
        assert await process.stdout.readline() == f"queued as {queue_id(1)}\n".encode()
        daemon.emit(happenings.tried(deferred()))
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"b0@example.org... deferred by ")


@pytest.mark.parametrize("option", ["-bV", "--version", "-d0.1", "--help"])
async def test_it_says_what_it_is(tmp_path: Path, option: str) -> None:
    done = await sendmail(tmp_path, option)
    assert done.exit == 0
    assert done.out.startswith("Postroad ")


# --- -bs ---------------------------------------------------------------------------------


async def dialogue(daemon: Office, *lines: str) -> list[str]:
    given = "".join(f"{line}\r\n" for line in lines).encode()
    done = await sendmail(daemon.path.parent, "-bs", given=given)
    assert done.err == ""
    return done.out.splitlines()


async def test_bs_speaks_smtp_and_submits_each_message() -> None:
    async with office() as daemon:
        said = await dialogue(
            daemon,
            "EHLO me",
            "MAIL FROM:<a@example.com> SIZE=100 BODY=8BITMIME",
            "RCPT TO:<b@example.org>",
            "rcpt to: <root>",
            "DATA",
            "Subject: x",
            "Bcc: y@z.example",
            "",
            "..dot",
            ".",
            "MAIL FROM:<>",
            "RCPT TO:<c@example.org>",
            "DATA",
            "",
            ".",
            "QUIT",
        )
        first, second = daemon.intake.taken
    codes = "220 250 250 250 250 250 250 250 250 250 250 250 250 354 250 250 250 354 250 221"
    assert " ".join(line[:3] for line in said) == codes
    assert said[14] == f"250 2.0.0 queued as {queue_id(1)}"
    assert (str(first.envelope.sender), recipients(first)) == (
        "a@example.com",
        ["b@example.org", "root@origin.example"],
    )
    assert text(first) == b"Subject: x\n\n.dot\n"
    assert second.envelope.sender is None


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("RCPT TO:<a@b.example>",), "503"),
        (("DATA",), "503"),
        (("MAIL FROM:<a@b.example>", "MAIL FROM:<a@b.example>"), "503"),
        (("MAIL TO:<a@b.example>",), "501"),
        (("MAIL FROM:<a@b.example> SIZE=99999999",), "552"),
        (("MAIL FROM:<a@b.example> RET=FULL ENVID=a+2Bb SMTPUTF8",), "250"),
        (("MAIL FROM:<a@b.example> RET=HALF",), "501"),
        (("MAIL FROM:<a@b.example> ENVID=+",), "501"),
        (("MAIL FROM:<a@b.example>", "RCPT TO:<>"), "501"),
        (("MAIL FROM:<a@b.example>", "RCPT TO:<a@b.example> NOTIFY=NEVER"), "250"),
        (("MAIL FROM:<a@b.example>", "RCPT TO:<a@b.example> NOTIFY=SOMETIMES"), "501"),
        (("MAIL FROM:<a@b.example>", "RCPT TO:<a@b.example> X=Y"), "555"),
        (("NONSENSE",), "500"),
        (("VRFY a",), "252"),
        (("RSET",), "250"),
        (("noop",), "250"),
    ],
)
async def test_bs_answers_what_is_out_of_place(lines: tuple[str, ...], code: str) -> None:
    async with office() as daemon:
        said = await dialogue(daemon, "EHLO me", *lines)
    assert said[-1][:3] == code


async def test_bs_hands_on_what_each_recipient_s_sender_wants_to_hear() -> None:
    async with office() as daemon:
        await dialogue(
            daemon,
            "EHLO me",
            "MAIL FROM:<grün@example.com> SMTPUTF8 RET=HDRS ENVID=id+2B1",
            "RCPT TO:<b@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B+2Bx@example.org",
            "RCPT TO:<c@example.org>",
            "DATA",
            "Subject: x",
            "",
            ".",
            "QUIT",
        )
        (taken,) = daemon.intake.taken
    envelope = taken.envelope
    assert (envelope.smtputf8, envelope.ret, envelope.envid) == (True, Ret.HDRS, "id+2B1")
    assert [(to.notify, to.orcpt) for to in envelope.recipients] == [
        (Notify.SUCCESS | Notify.DELAY, "rfc822;B+2Bx@example.org"),
        (None, None),
    ]


async def test_bs_passes_the_daemons_refusal_on() -> None:
    async with office() as daemon:
        daemon.intake.reply = Reply(550, ("not yours",), "5.7.1")
        begin = ("HELO me", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA")
        said = await dialogue(daemon, *begin, "", ".")
    assert said[-1] == "550 5.7.1 not yours"


async def test_bs_refuses_what_is_too_large_and_goes_on() -> None:
    async with office() as daemon:
        begin = ("HELO me", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA")
        said = await dialogue(daemon, *begin, *["x" * 60_000] * 20, ".", "NOOP")
        assert daemon.intake.taken == []
    assert [line[:3] for line in said[-2:]] == ["552", "250"]


async def test_bs_sends_nothing_when_the_client_leaves_in_the_middle() -> None:
    async with office() as daemon:
        await dialogue(daemon, "HELO me", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA", "half")
        assert daemon.intake.taken == []


async def test_bs_ends_a_client_that_errs_without_end() -> None:
    async with office() as daemon:
        said = await dialogue(daemon, *["NONSENSE"] * 100)
    assert (len(said), said[-1][:3]) == (23, "421")
