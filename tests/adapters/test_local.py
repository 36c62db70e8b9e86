"""The local door and its client, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.adapters import local_client
from postroad.adapters.local import MAX_CONNECTIONS_PER_USER, MAX_LINE
from postroad.adapters.local_client import (
    Answer,
    DaemonDown,
    Denied,
    LocalEnvelope,
    NotAnswered,
    TimedOut,
    ask,
    ping,
    submit,
)
from postroad.mail.address import Address
from postroad.mail.events import HopDeferred, HopFailed, Notified, Removed, SiteResumed
from postroad.mail.message import Body, Notify, Ret
from postroad.mail.reply import Reply
from postroad.ports.queue import QueueFilter
from tests.support.build import NOW, deferred, delivered, failed, queue_id
from tests.support.happenings import accepted, tried
from tests.support.operating import Office, office
from tests.support.running import running

ENVELOPE = LocalEnvelope("anna@example.com", ["b0@example.org"])
MESSAGE = b"From: anna@example.com\nTo: b@example.org\n\nGood morning.\n"


async def raw(path: Path, octets: bytes) -> list[dict[str, object]]:
    """The answers to octets that no client of ours would send."""

    def talk() -> list[dict[str, object]]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(path))
            with contextlib.suppress(ConnectionError):
                connection.sendall(octets)
            return [json.loads(line) for line in connection.recv(1 << 16).splitlines()]

    return await asyncio.to_thread(talk)


async def connected(path: Path, count: int) -> list[asyncio.StreamWriter]:
    return [(await asyncio.open_unix_connection(path))[1] for _ in range(count)]


async def test_everybody_may_reach_the_socket() -> None:
    async with office() as there:
        mode = there.path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o666
        assert await asyncio.to_thread(ping, there.path)


async def test_the_socket_goes_with_the_door() -> None:
    async with office() as there:
        there.door.close()
    assert not await asyncio.to_thread(ping, there.path)


async def test_a_message_comes_in_with_canonical_lines_and_its_submitter() -> None:
    async with office() as there:
        answer = await asyncio.to_thread(submit, there.path, ENVELOPE, MESSAGE)
        assert answer == Answer(250, "2.0.0", f"queued as {queue_id(1)}", queue_id(1))
        assert answer.accepted
        (submission,) = there.intake.taken
    assert submission.envelope.sender == Address("anna", "example.com")
    assert submission.content.head == b"From: anna@example.com\r\nTo: b@example.org\r\n\r\n"
    assert submission.content.body == b"Good morning.\r\n"
    assert submission.account == f"uid:{os.getuid()}"
    assert submission.peer.address == f"userid {os.getuid()}"
    assert submission.peer.protocol == "local"
    assert submission.received_at == NOW


async def test_a_large_message_comes_in_whole() -> None:
    async with office() as there:
        body = b"x" * 70 + b"\n"
        await asyncio.to_thread(submit, there.path, ENVELOPE, b"Subject: l\n\n" + body * 60_000)
        (submission,) = there.intake.taken
    assert submission.content.body == body.replace(b"\n", b"\r\n") * 60_000


async def test_what_an_envelope_may_say_arrives() -> None:
    envelope = LocalEnvelope(
        "", ["root", "ünal@example.org"], ["success", "delay"], "hdrs", "order 7+1", "8bitmime"
    )
    async with office() as there:
        await asyncio.to_thread(submit, there.path, envelope, MESSAGE)
        found = there.intake.taken[0].envelope
    assert found.sender is None
    assert [str(one.address) for one in found.recipients] == ["root@origin.example", "ünal@example.org"]
    assert {one.notify for one in found.recipients} == {Notify.SUCCESS | Notify.DELAY}
    assert (found.ret, found.envid, found.body) == (Ret.HDRS, "order+207+2B1", Body.EIGHT_BIT)
    assert found.smtputf8


@pytest.mark.parametrize(
    ("envelope", "code", "enhanced"),
    [
        (LocalEnvelope("anna@", ["b@example.org"]), 553, "5.1.7"),
        (LocalEnvelope("anna@example.com", ["b c@example.org"]), 553, "5.1.3"),
        (LocalEnvelope("anna@example.com", ["b@example.org\n"]), None, None),
        (LocalEnvelope("anna@example.com", []), 554, "5.5.1"),
        (LocalEnvelope("anna@example.com", ["b@example.org"], notify=["never", "delay"]), 501, "5.5.4"),
        (LocalEnvelope("anna@example.com", ["b@example.org"], ret="some"), 501, "5.5.4"),
        (LocalEnvelope("anna@example.com", ["b@example.org"], envid="ü"), 501, "5.5.4"),
        (LocalEnvelope("anna@example.com", ["b@example.org"], body="BINARYMIME"), 501, "5.5.4"),
    ],
)
async def test_a_bad_envelope_is_refused_whatever_follows_it(
    envelope: LocalEnvelope, code: int | None, enhanced: str | None
) -> None:
    async with office() as there:
        if code is None:
            with pytest.raises(Denied, match="printable"):
                await asyncio.to_thread(submit, there.path, envelope, MESSAGE * 100_000)
        else:
            answer = await asyncio.to_thread(submit, there.path, envelope, MESSAGE * 100_000)
            assert (answer.code, answer.enhanced) == (code, enhanced)
            assert not answer.accepted
        assert there.intake.taken == []


async def test_a_message_above_the_limit_is_refused_by_its_announced_size() -> None:
    async with office() as there:
        (said,) = await raw(there.path, json.dumps(ENVELOPE.request(10_000_001, False)).encode() + b"\n")
        assert (said["code"], said["enhanced"], said["id"]) == (552, "5.3.4", None)


async def test_a_message_that_ends_too_early_is_not_taken() -> None:
    async with office() as there:
        reader, writer = await asyncio.open_unix_connection(there.path)
        writer.write(json.dumps(ENVELOPE.request(1000, False)).encode() + b"\n" + MESSAGE)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert there.intake.taken == []


async def test_the_answer_of_the_intake_is_passed_on() -> None:
    async with office() as there:
        there.intake.reply = Reply(452, ("Insufficient system storage",), "4.3.1")
        answer = await asyncio.to_thread(submit, there.path, ENVELOPE, MESSAGE)
        assert str(answer) == "452 4.3.1 Insufficient system storage"
        assert answer.id is None


async def test_operations_reach_the_control_with_their_filter_and_who_asked() -> None:
    async with office() as there:
        given = {"ids": [queue_id(1)], "to": "b@example.org", "older_than": 7}
        answers = await there.ask({"verb": "hold", "filter": given})
        assert answers == [
            {"id": queue_id(1), "recipient": "b@example.org"},
            {"id": queue_id(1), "recipient": "c@example.org"},
            {"done": 2},
        ]
        expected = QueueFilter(ids=(queue_id(1),), to="b@example.org", older_than=7.0)
        assert there.control.asked == [("hold", expected, os.getuid())]


async def test_the_status_says_who_answers() -> None:
    async with office() as there:
        assert await there.ask({"verb": "status"}) == [{"running": True, "pid": os.getpid(), "waiting": 3}]


@pytest.mark.parametrize("verb", ["status", "retry", "hold", "release", "delete", "bounce"])
async def test_who_is_no_operator_may_submit_and_nothing_else(verb: str) -> None:
    async with office(operators=()) as there:
        with pytest.raises(Denied, match="may submit, but not look") as denied:
            await there.ask({"verb": verb, "all": True})
        assert denied.value.code == os.EX_NOPERM
        assert there.control.asked == []
        assert (await asyncio.to_thread(submit, there.path, ENVELOPE, MESSAGE)).accepted


async def test_the_whole_queue_is_changed_only_when_that_is_said() -> None:
    async with office() as there:
        with pytest.raises(Denied, match="the whole queue"):
            await there.ask({"verb": "delete"})
        await there.ask({"verb": "delete", "all": True})
        assert [asked[1] for asked in there.control.asked] == [QueueFilter()]


async def test_what_cannot_be_done_is_told() -> None:
    async with office() as there:
        there.control.refusal = "not today"
        with pytest.raises(Denied, match="not today"):
            await there.ask({"verb": "hold", "all": True})


async def test_a_wish_that_finds_no_room_on_the_disk_ends_nobody() -> None:
    async with office() as there:
        there.control.full = True
        with pytest.raises(Denied, match="disk is full; what was not changed yet stays as it is") as denied:
            await there.ask({"verb": "hold", "all": True})
        assert denied.value.code == os.EX_TEMPFAIL
        there.control.full = False
        assert len(await there.ask({"verb": "hold", "all": True})) == 3


@pytest.mark.parametrize(
    "octets",
    [
        b"\n",
        b"{\n",
        b"[]\n",
        b'{"verb": 7}\n',
        b'{"verb": "dance"}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"1" * 10_000 + b"\n",
        b"x" * (2 * MAX_LINE) + b"\n",
        b'{"verb": "submit"}\n',
        b'{"verb": "submit", "size": true, "sender": "", "recipients": []}\n',
        b'{"verb": "submit", "size": -1, "sender": "", "recipients": []}\n',
        b'{"verb": "submit", "size": 1, "sender": "\\ud800", "recipients": ["a@b"]}\n',
        b'{"verb": "submit", "size": 1, "sender": "", "recipients": "a@b"}\n',
        b'{"verb": "hold", "filter": [1]}\n',
        b'{"verb": "hold", "filter": {"ids": [1]}}\n',
        b'{"verb": "hold", "filter": {"state": "delivered"}}\n',
        b'{"verb": "hold", "filter": {"older_than": 1e400}}\n',
        b'{"verb": "hold", "filter": {"older_than": NaN}}\n',
        b'{"verb": "hold", "filter": {"to": "\\u0000"}}\n',
    ],
)
async def test_nonsense_is_answered_with_one_error_and_harms_nobody(octets: bytes) -> None:
    async with office() as there:
        (said,) = await raw(there.path, octets)
        assert set(said) == {"error", "exit"}
        assert there.control.asked == []
        assert there.intake.taken == []
        assert await asyncio.to_thread(ping, there.path)


async def test_users_have_a_limit_of_connections_and_operators_none() -> None:
    async with office(operators=()) as there:
        held = await connected(there.path, MAX_CONNECTIONS_PER_USER)
        with pytest.raises(Denied, match="too many connections"):
            await there.ask({"verb": "ping"})
        for writer in held:
            writer.close()
            await writer.wait_closed()
        assert await asyncio.to_thread(ping, there.path)
    async with office() as there:
        held = await connected(there.path, MAX_CONNECTIONS_PER_USER)
        assert await asyncio.to_thread(ping, there.path)
        for writer in held:
            writer.close()


# --- following -----------------------------------------------------------------


async def follow(there: Office, envelope: LocalEnvelope = ENVELOPE) -> asyncio.Task[list[dict[str, object]]]:
    """A submission being followed, accepted and ready to hear more."""
    task = asyncio.create_task(there.ask(envelope.request(len(MESSAGE), follow=True), MESSAGE))
    while not there.intake.taken:
        await asyncio.sleep(0)
    return task


async def test_a_follower_hears_of_its_message_until_it_is_settled() -> None:
    async with office() as there:
        there.intake.gate = asyncio.Event()
        following = await follow(there)
        # Also what happens before the submitter has its answer.
        there.emit(accepted(), tried(deferred()), Removed(queue_id(9)), SiteResumed("example.org"))
        there.intake.gate.set()
        there.emit(tried(delivered(), failed()), Notified(queue_id(1), queue_id(2), "failed", "a@b.example"))
        there.emit(Removed(queue_id(1)))
        reply, *told = await following
    assert reply["id"] == queue_id(1)
    assert [line["event"] for line in told] == [
        "accepted",
        "deferred",
        "delivered",
        "failed",
        "notified",
        "settled",
    ]
    first = told[1]
    assert first["recipient"] == "b0@example.org"
    assert first["next"] == "2026-11-18T11:16:40Z"
    assert first["text"] == deferred().text
    assert told[2]["next"] is None


async def test_what_happens_to_a_hop_is_told_for_every_recipient_that_shares_it() -> None:
    envelope = LocalEnvelope("a@example.com", ["b@example.org", "c@example.net", "d@example.org"])
    async with office() as there:
        following = await follow(there, envelope)
        there.emit(HopDeferred("example.org", 9, NOW, "no answer of the DNS"))
        there.emit(HopFailed("example.net", 1, "no such domain"), HopFailed("else.example", 1, "no"))
        there.emit(Removed(queue_id(1)))
        _, *told = await following
    assert [(line["event"], line.get("recipient"), line.get("text")) for line in told[:-1]] == [
        ("deferred", "b@example.org", "no answer of the DNS"),
        ("deferred", "d@example.org", "no answer of the DNS"),
        ("failed", "c@example.net", "no such domain"),
    ]


async def test_nobody_follows_a_message_that_was_refused() -> None:
    async with office() as there:
        there.intake.reply = Reply(550, ("No",), "5.7.1")
        assert [line["code"] for line in await (await follow(there))] == [550]


async def test_followers_and_idle_clients_do_not_hold_up_the_end() -> None:
    async with office() as there:
        following = await follow(there)
        (idle,) = await connected(there.path, 1)
        there.door.close()
        assert len(await following) == 1
        idle.close()


async def test_a_submission_that_has_begun_is_answered_before_the_end() -> None:
    async with office() as there:
        there.intake.gate = asyncio.Event()
        task = asyncio.create_task(asyncio.to_thread(submit, there.path, ENVELOPE, MESSAGE))
        while not there.intake.taken:
            await asyncio.sleep(0)
        there.door.close()
        there.intake.gate.set()
        assert (await task).accepted


async def test_a_follower_that_leaves_is_forgotten() -> None:
    async with office() as there:
        request = json.dumps(ENVELOPE.request(len(MESSAGE), True)).encode() + b"\n" + MESSAGE
        reader, writer = await asyncio.open_unix_connection(there.path)
        writer.write(request)
        await reader.readline()
        writer.close()
        await writer.wait_closed()
        there.emit(tried(delivered()), Removed(queue_id(1)))
        assert await asyncio.to_thread(ping, there.path)


# --- the socket itself -----------------------------------------------------------


async def test_the_socket_of_a_daemon_that_died_is_replaced() -> None:
    async with office() as there:
        path = there.path.with_name("dead.sock")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(os.fspath(path))
        second = Office(there.path.parent, None)
        second.door._path = path
        second.door.bind()
        async with running(second.door):
            assert await asyncio.to_thread(ping, path)


async def test_a_second_daemon_does_not_take_the_socket_of_the_first() -> None:
    async with office() as there:
        with pytest.raises(OSError, match="another daemon listens"):
            Office(there.path.parent, None).door.bind()
        assert await asyncio.to_thread(ping, there.path)


def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postroad.sock").write_text("precious")
    with pytest.raises(FileExistsError, match="is no socket"):
        Office(tmp_path, None).door.bind()
    assert (tmp_path / "postroad.sock").read_text() == "precious"


# --- the client alone --------------------------------------------------------------


def test_without_a_daemon_the_client_says_so(tmp_path: Path) -> None:
    with pytest.raises(DaemonDown, match="does not exist"):
        list(ask(tmp_path / "none.sock", {"verb": "ping"}))
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(os.fspath(path))
        with pytest.raises(DaemonDown, match="nobody listens"):
            list(ask(path, {"verb": "ping"}))
    assert not ping(path)


def test_a_daemon_that_does_not_answer_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(os.fspath(path))
        mute.listen()
        with pytest.raises(TimedOut, match=r"did not answer within 0\.01 s"):
            list(ask(path, {"verb": "ping"}, timeout=0.01))


@pytest.mark.parametrize(
    ("line", "error", "text"),
    [
        (b"hello\n", NotAnswered, "is not JSON"),
        (b"[]\n", NotAnswered, "is not an object"),
        (b'{"error": "no", "exit": 77}\n', Denied, "no"),
    ],
)
def test_an_answer_is_read_with_care(line: bytes, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        local_client._checked(line)


async def test_with_own_senders_a_user_sends_as_himself_alone() -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    request = {"verb": "submit", "recipients": ["b@example.org"], "size": 4}
    async with office(operators=()) as opened:
        opened.door.settings = replace(opened.door.settings, own_senders=lambda uid: uid == os.getuid())
        codes = [
            (await opened.ask({**request, "sender": sender}, b"x\n\ny"))[0]["code"]
            for sender in (
                me,
                f"{me.upper()}@origin.example",
                f"{me}@localhost",
                "<>",
                "other",
                f"{me}@example.com",
            )
        ]
    assert codes == [250, 250, 250, 250, 550, 550]


@pytest.mark.parametrize(
    "wrong",
    [
        {"dsn": []},
        {"dsn": [["never"]]},
        {"dsn": ["x"]},
        {"tag": 3},
        {"tag": "a\tb"},
    ],
)
async def test_what_a_submission_asks_besides_is_believed_in_nothing(wrong: dict[str, object]) -> None:
    request = {"verb": "submit", "sender": "", "recipients": ["b@example.org"], "size": 0}
    async with office() as opened:
        with pytest.raises(local_client.Denied):
            await opened.ask({**request, **wrong})
        refused = await opened.ask({**request, "dsn": [[None, "rfc822"]]})
        assert opened.intake.taken == []
    assert refused[0]["code"] == 501
