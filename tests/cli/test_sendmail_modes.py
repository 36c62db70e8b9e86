"""sendmail under its other names and in its other modes: mailq, newaliases, -q, -bv, -bs."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.cli import sendmail_door
from postroad.cli.sendmail_settings import Settings
from postroad.cli.sendmail_smtp import converse
from postroad.mail.lifecycle import State
from postroad.mail.message import Hold, Notify, Ret
from postroad.mail.reply import Reply
from postroad.ports.queue import QueueFilter
from tests.support import happenings
from tests.support.build import NOW, deferred, message, queue_id, recipient
from tests.support.operating import Office, office
from tests.support.queued import fill
from tests.support.sendmail import LETTER, RUN, Done, recipients, sendmail, sent, start, text

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
    (tmp_path / "maildrop" / f"refused.2.{'0' * 32}").write_text("no message\n")
    done = await sendmail(tmp_path, name="mailq")
    assert done.out.splitlines()[-1] == "-- 0 Kbytes in 1 Request."
    assert "1 file in " in done.err
    assert "refused: postroad spool check says why" in done.err


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
        ("-Q -qQODD", "release", [3]),
        ("-Q -qQpolicy", "release", []),
    ],
)
async def test_q_selects_by_parts_of_ids_and_addresses(options: str, verb: str, numbers: list[int]) -> None:
    async with office() as daemon:
        rows = [recipient(f"b{n}@example.org", message=queue_id(n)) for n in (1, 2, 3)]
        rows[2] = replace(rows[2], state=State.HELD, held=Hold(None, "looks odd", NOW))
        await fill(daemon.path.parent, *((message(n), [rows[n - 1]], b"x\r\n") for n in (1, 2, 3)))
        assert await sendmail(daemon.path.parent, *options.split()) == Done(0, "", "")
        asked = [(verb, QueueFilter(ids=tuple(map(queue_id, numbers))), os.getuid())]
        assert daemon.control.asked == (asked if numbers else [])
        assert daemon.control.reasons == (["looks-odd" if verb == "hold" else ""] if numbers else [])
        listed = await sendmail(daemon.path.parent, "-qQ", name="mailq")
        assert "(held by an operator: looks odd)" in listed.out
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
