"""The maildrop between the command that writes it and the queue that gets it, once each."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from postroad.adapters.maildrop import ABANDONED, MaildropDoor, MaildropSettings
from postroad.adapters.maildrop_names import REFUSED_DAYS, REFUSED_OF_ONE
from postroad.adapters.maildrop_view import TOLD, refused
from postroad.adapters.system import IdMaker
from postroad.cli.sendmail_door import Refused as Undroppable
from postroad.cli.sendmail_door import drop, envelope, request_line
from postroad.mail.events import Notified, Refused, StorageTrouble
from postroad.mail.message import Submission
from postroad.mail.reply import Reply
from tests.support import build
from tests.support.door import EventList, StillClock
from tests.support.memory_queue import MemoryQueue

CONTENT = b"Subject: hello\n\n.Good morning.\n"


@dataclass
class QueueingIntake:
    """`Intake` in front of a MemoryQueue; `dies` as a process does, after the message is in the queue."""

    queue: MemoryQueue = field(default_factory=MemoryQueue)
    refuses: Reply | None = None
    dies: bool = False
    taken: list[tuple[str | None, Submission]] = field(default_factory=list)

    async def accept(self, submission: Submission, id: str | None = None) -> Reply:
        if self.refuses is not None:
            return self.refuses
        assert id is not None
        self.taken.append((id, submission))
        owner = build.message(id=id)
        await self.queue.add(owner, [build.recipient(owner)])
        if self.dies:
            raise asyncio.CancelledError
        return Reply(250, (f"Ok: queued as {id}",), "2.0.0")


@dataclass
class Box:
    """A maildrop, its door and what is behind it."""

    directory: Path
    intake: QueueingIntake = field(default_factory=QueueingIntake)
    events: EventList = field(default_factory=EventList)
    notices: QueueingIntake = field(init=False)

    def __post_init__(self) -> None:
        self.notices = QueueingIntake(self.intake.queue)

    def door(self) -> MaildropDoor:
        door = MaildropDoor(
            self.directory,
            self.intake,
            self.intake.queue,
            IdMaker(),
            StillClock(),
            self.events,
            MaildropSettings("origin.example", 10_000),
            self.notices,
            poll=60.0,
        )
        door.prepare()
        return door

    def drop(
        self,
        content: bytes = CONTENT,
        recipients: tuple[str, ...] = ("b@example.org",),
        wishes: dict[str, object] | None = None,
    ) -> None:
        request = envelope("a@example.com", list(recipients)) | {"size": len(content)} | (wishes or {})
        drop(str(self.directory), request_line(**request), content, "no daemon")

    @property
    def names(self) -> list[str]:
        return sorted(path.name.partition(".")[0] for path in self.directory.iterdir())


@pytest.fixture
def box(tmp_path: Path) -> Box:
    box = Box(tmp_path / "maildrop")
    box.door()
    return box


def test_everybody_may_write_there_and_nobody_may_list(box: Box) -> None:
    assert stat.S_IMODE(box.directory.stat().st_mode) == 0o1733


async def test_a_dropped_message_is_submitted_as_its_owners_and_gone(box: Box) -> None:
    box.drop(recipients=("b@example.org", "root"))
    assert await box.door().sweep() == 1
    ((id, submission),) = box.intake.taken
    assert submission.account == f"uid:{os.getuid()}"
    assert submission.peer.address == f"userid {os.getuid()}"
    assert str(submission.envelope.sender) == "a@example.com"
    assert [str(to.address) for to in submission.envelope.recipients] == [
        "b@example.org",
        "root@origin.example",
    ]
    assert submission.content.head == b"Subject: hello\r\n\r\n"
    assert submission.content.body == b".Good morning.\r\n"
    assert submission.content.dotted
    assert await box.intake.queue.find(str(id)) is not None
    assert box.names == []


async def test_killed_between_acceptance_and_removal_it_is_not_submitted_again(box: Box) -> None:
    box.drop()
    box.intake.dies = True
    with pytest.raises(asyncio.CancelledError):
        await box.door().sweep()
    assert box.names == ["claimed"]
    box.intake.dies = False
    assert await box.door().sweep() == 1
    assert len(box.intake.taken) == 1
    assert box.names == []


async def test_killed_before_acceptance_it_is_submitted_under_the_id_it_was_given(box: Box) -> None:
    box.drop()
    box.intake.refuses = Reply(452, ("no room",), "4.3.1")
    await box.door().sweep()
    (claimed,) = (path.name for path in box.directory.iterdir())
    box.intake.refuses = None
    await box.door().sweep()
    ((id, _),) = box.intake.taken
    assert claimed.startswith(f"claimed.{id}.")


async def test_what_is_put_off_stays_until_it_is_taken(box: Box) -> None:
    box.intake.refuses = Reply(452, ("no room",))
    box.drop()
    await box.door().sweep()
    assert box.names == ["claimed"]
    box.intake.refuses = None
    await box.door().sweep()
    assert (len(box.intake.taken), box.names) == (1, [])


async def test_what_is_refused_is_told_to_its_sender_who_was_told_it_was_taken(box: Box) -> None:
    box.intake.refuses = Reply(554, ("no",), "5.6.0")
    box.drop()
    await box.door().sweep()
    ((id, notice),) = box.notices.taken
    assert notice.envelope.sender is None
    assert [str(to.address) for to in notice.envelope.recipients] == ["a@example.com"]
    assert isinstance(notice.content.body, bytes)
    assert b"\r\nFinal-Recipient: rfc822; b@example.org\r\nAction: failed\r\nStatus: 5.6.0\r\n" in (
        notice.content.body
    )
    assert b"Subject: hello" in notice.content.body
    (told,) = box.events.of(Notified)
    assert (told.id, told.to) == (id, "a@example.com")
    assert (box.intake.taken, box.names) == ([], [])


async def test_killed_between_the_notification_and_the_removal_it_is_told_once(box: Box) -> None:
    box.intake.refuses = Reply(554, ("no",))
    box.drop()
    box.notices.dies = True
    with pytest.raises(asyncio.CancelledError):
        await box.door().sweep()
    assert box.names == ["claimed"]
    box.notices.dies = False
    await box.door().sweep()
    assert (len(box.notices.taken), box.names) == (1, [])


@pytest.mark.parametrize(
    ("wishes", "refused", "left"),
    [
        ({"sender": ""}, None, "refused"),
        ({"notify": ["never"]}, None, "refused"),
        ({}, Reply(554, ("nor that",)), "refused"),
        ({}, Reply(452, ("no room",)), "claimed"),
    ],
)
async def test_what_nobody_can_be_told_of_is_kept(
    box: Box, wishes: dict[str, object], refused: Reply | None, left: str
) -> None:
    box.intake.refuses, box.notices.refuses = Reply(554, ("no",)), refused
    box.drop(wishes=wishes)
    await box.door().sweep()
    assert (box.notices.taken, box.names) == ([], [left])
    box.intake.refuses = None
    await box.door().sweep()
    assert len(box.intake.taken) == (left == "claimed")


NAME = "1234." + "0" * 32


def _link(box: Box) -> None:
    target = box.directory.parent / "secret"
    target.write_bytes(b"secret")
    (box.directory / NAME).symlink_to(target)


def _second_name(box: Box) -> None:
    box.drop()
    (dropped,) = box.directory.iterdir()
    os.link(dropped, box.directory.parent / "second")


def _pipe(box: Box) -> None:
    os.mkfifo(box.directory / NAME)


def _folder(box: Box) -> None:
    (box.directory / NAME).mkdir()


def _socket(box: Box) -> None:
    os.mknod(box.directory / NAME, stat.S_IFSOCK | 0o600)


def _huge(box: Box) -> None:
    with (box.directory / NAME).open("wb") as file:
        file.truncate(1 << 40)


def _file(data: bytes) -> object:
    return lambda box: (box.directory / NAME).write_bytes(data)


REQUEST = b'{"verb":"submit","sender":"a@b.example","recipients":["c@d.example"],"size":5}\n'


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (_link, "symbolic links"),
        (_second_name, "several names"),
        (_pipe, "not a regular file"),
        (_folder, "not a regular file"),
        (_huge, "larger than"),
        (_socket, "not to be read"),
        (_file(b""), "not JSON"),
        (_file(b"Subject: no request\n\n"), "not JSON"),
        (_file(b'{"verb":"delete","all":true}\n'), "no submission"),
        (_file(REQUEST + b"1234"), "4 octets of content where 5 were announced"),
        (_file(REQUEST + b"123456"), "6 octets of content where 5 were announced"),
        (_file(REQUEST.replace(b"c@d.example", b"c d") + b"12345"), "553 5.1.3"),
        (_file(REQUEST.replace(b":5}", b":50000}") + b"1" * 50000), "552 5.3.4"),
    ],
)
async def test_what_is_no_message_is_told_and_kept_aside(box: Box, put: object, why: str) -> None:
    assert callable(put)
    put(box)
    await box.door().sweep()
    (told,) = box.events.of(Refused)
    assert why in told.reply
    assert box.names == ["refused"]
    assert box.intake.taken == []


@pytest.mark.parametrize(
    ("count", "days", "left"),
    [
        (3, 0, 3),
        (REFUSED_OF_ONE, REFUSED_DAYS - 1, REFUSED_OF_ONE),
        (REFUSED_OF_ONE + 3, 0, REFUSED_OF_ONE),
        (3, REFUSED_DAYS + 1, 0),
    ],
)
async def test_what_was_refused_is_kept_for_so_long_and_so_many_of_a_user(
    box: Box, monkeypatch: pytest.MonkeyPatch, count: int, days: int, left: int
) -> None:
    for number in range(count):
        (box.directory / f"refused.{number:x}.{'0' * 32}").write_bytes(b"no message")
    (box.directory / f"refused.{'0' * 32}").write_bytes(b"no name of ours")
    now = time.time()
    monkeypatch.setattr("postroad.adapters.maildrop.time.time", lambda: now + days * 86400)
    await box.door().sweep()
    told = [event.text for event in box.events.of(StorageTrouble)]
    assert (len(list(box.directory.iterdir())) - 1, len(told)) == (left, count - left)
    assert all("of uid" in text and "removed" in text for text in told)


async def test_why_something_was_refused_can_be_seen_later(box: Box) -> None:
    _second_name(box)
    (box.directory / NAME).write_bytes(b"Subject: no request\n\n")
    box.drop(wishes={"sender": ""})
    box.intake.refuses = Reply(554, ("no",))
    await box.door().sweep()
    found = list(refused(box.directory, MaildropSettings("origin.example", 10_000)))
    assert [each.uid for each in found] == [os.getuid()] * 3
    assert [each.why for each in found] == ["the request is not JSON", "a file with several names", TOLD]


async def test_what_is_renamed_by_an_operator_is_taken_up_again(box: Box) -> None:
    box.drop(wishes={"sender": ""})
    box.intake.refuses = Reply(554, ("no",))
    await box.door().sweep()
    (kept,) = box.directory.iterdir()
    box.intake.refuses = None
    kept.rename(kept.with_name(kept.name.removeprefix("refused.")))
    assert await box.door().sweep() == 1
    assert len(box.intake.taken) == 1


async def test_a_bad_file_does_not_hold_up_the_others(box: Box) -> None:
    box.drop()
    _pipe(box)
    box.drop()
    await box.door().sweep()
    assert (len(box.intake.taken), box.names) == (2, ["refused"])


async def test_unfinished_files_are_left_alone_until_nobody_can_be_writing_them(box: Box) -> None:
    for name, age in (("tmp.new", 0.0), ("tmp.old", ABANDONED + 60)):
        path = box.directory / name
        path.write_bytes(REQUEST + b"12345")
        then = path.stat().st_mtime - age
        os.utime(path, (then, then))
    (box.directory / "README").write_text("not ours")
    await box.door().sweep()
    assert sorted(path.name for path in box.directory.iterdir()) == ["README", "tmp.new"]
    assert box.intake.taken == []


async def test_it_runs_at_the_start_and_when_poked_until_it_is_closed(box: Box) -> None:
    box.drop()
    door = box.door()
    async with asyncio.TaskGroup() as group:
        group.create_task(door.run())
        while len(box.intake.taken) < 1:
            await asyncio.sleep(0)
        box.drop()
        door.poke()
        while len(box.intake.taken) < 2:
            await asyncio.sleep(0)
        door.close()
    assert box.names == []


async def test_a_directory_that_is_gone_is_told_and_does_not_end_the_daemon(box: Box) -> None:
    door = box.door()
    box.directory.rmdir()
    async with asyncio.TaskGroup() as group:
        group.create_task(door.run())
        while not box.events.of(StorageTrouble):
            await asyncio.sleep(0)
        door.close()


def test_a_dropped_file_can_be_read_by_the_daemon_and_its_name_cannot_be_guessed(box: Box) -> None:
    box.drop()
    (path,) = box.directory.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert len(path.name.partition(".")[2]) == 32


def test_a_maildrop_that_cannot_be_written_is_a_temporary_failure_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Undroppable) as refused:
        drop(str(tmp_path / "nowhere"), b"{}\n", b"", "no daemon")
    assert refused.value.exit == os.EX_TEMPFAIL
