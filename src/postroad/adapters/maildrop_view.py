"""What lies in the maildrop, for who lists the queue while no daemon takes it up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from postroad.adapters.local_request import BadRequest, Unacceptable, parse_request, submit_request
from postroad.adapters.maildrop import MAX_REQUEST, MaildropSettings, NoMessage, opened, read
from postroad.adapters.maildrop_names import CLAIMED, arrival, messages
from postroad.adapters.maildrop_names import refused as refused_names
from postroad.mail.account import of_user
from postroad.mail.frozen import dataclass
from postroad.mail.lifecycle import State
from postroad.mail.local_names import LocalNames
from postroad.mail.message import Instant, Lane, Location, Message, Recipient
from postroad.mail.routing import Hop

MAILDROP = Hop("maildrop", "")
"""Where their recipients wait: for a daemon, which then finds them a way."""


def waiting(
    directory: Path, origin: str, names: LocalNames | None = None
) -> Iterator[tuple[Message, list[Recipient]]]:
    """The messages in order of arrival, each with its recipients; nothing for who may not list them.

    The id of one that no daemon has seen yet is the time in its name. What is none is left to the daemon.
    """
    names = names or LocalNames(origin=origin)
    for name in messages(directory):
        with suppress(OSError, NoMessage, BadRequest, Unacceptable):
            yield _seen(directory / name, origin, names)


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that was refused and is kept: whose, how large, since when, and why as far as it can be seen."""

    file: str
    uid: int
    size: int
    since: Instant
    why: str


TOLD = "refused as a message; what was said stands in the log, as the event refused"


def refused(directory: Path, settings: MaildropSettings) -> Iterator[Kept]:
    """What was refused, in order of arrival; nothing for who may not list it. Blocks."""
    for name in refused_names(directory):
        with suppress(OSError):
            status = os.lstat(directory / name)
            why = _objection(directory / name, settings)
            yield Kept(name, status.st_uid, status.st_size, status.st_ctime, why)


def _objection(path: Path, settings: MaildropSettings) -> str:
    try:
        read(path, settings)
    except (NoMessage, BadRequest) as error:
        return str(error)
    except Unacceptable as error:
        return str(error.reply)
    except OSError as error:
        return f"not to be read: {error.strerror}"
    return TOLD


def _seen(path: Path, origin: str, names: LocalNames) -> tuple[Message, list[Recipient]]:
    fd = opened(path)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        request = submit_request(parse_request(file.readline(MAX_REQUEST)), origin, 1 << 60, names)
    claimed = CLAIMED.fullmatch(path.name)
    arrived = arrival(path.name) / 1e9
    message = Message(
        claimed[1] if claimed else path.name.partition(".")[0].upper(),
        request.envelope.sender,
        of_user(status.st_uid),
        Lane.NORMAL,
        request.size,
        arrived,
        expires_at=arrived,
        warn_at=None,
        location=Location(0, 0, 0),
    )
    return message, [
        Recipient(message.id, n, to.address, MAILDROP, State.WAITING, arrived)
        for n, to in enumerate(request.envelope.recipients)
    ]
