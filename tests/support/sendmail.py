"""The sendmail command as a process: started, given its input, waited for."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from postroad.mail.message import Submission
from tests.support.operating import Office

RUN = "import sys; sys.argv = sys.argv[1:]; from postroad.cli.sendmail import program; program()"
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
