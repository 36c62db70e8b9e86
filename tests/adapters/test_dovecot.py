from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import tempfile
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroad.adapters.dovecot import USUAL, DovecotServer
from postroad.adapters.smtpd_auth import Logins
from postroad.demo.process import HANGS_AFTER
from postroad.mail.dovecot_auth import Continue, Failed, Passed
from postroad.mail.events import LoggedIn, LoginFailed, LoginUnavailable
from postroad.ports.logins import LoginsUnavailable
from tests.support.door import client, house
from tests.support.peers import run
from tests.support.requires import as_root, require
from tests.support.scram_client import ScramClient
from tests.support.scripted_dovecot import GREETING, scripted

RIGHT = b64encode(b"\0anna\0secret").decode()


async def test_mechanisms_are_those_that_name_somebody(tmp_path: Path) -> None:
    server = DovecotServer(tmp_path / "auth")
    await server.greet()
    before = server.mechanisms
    async with scripted(tmp_path / "auth"):
        await server.greet()
    assert before == USUAL
    assert server.mechanisms == ("PLAIN", "LOGIN", "SCRAM-SHA-256")


async def test_an_exchange_is_passed_on_word_by_word(tmp_path: Path) -> None:
    answers = ("CONT\t1\tVXNlcm5hbWU6", "CONT\t1\tUGFzc3dvcmQ6", "OK\t1\tuser=anna")
    async with scripted(tmp_path / "auth", *answers) as script:
        async with DovecotServer(tmp_path / "auth").exchange("LOGIN", "192.0.2.1", 99) as step:
            assert await step(None) == Continue("VXNlcm5hbWU6")
            assert await step("YW5uYQ==") == Continue("UGFzc3dvcmQ6")
            assert await step("c2VjcmV0") == Passed("anna")
    assert script.heard == [
        "VERSION\t1\t1",
        f"CPID\t{os.getpid()}",
        "AUTH\t1\tLOGIN\tservice=smtp\tsecured\tnologin\trip=192.0.2.1\trport=99",
        "CONT\t1\tYW5uYQ==",
        "CONT\t1\tc2VjcmV0",
    ]


@pytest.mark.parametrize(
    ("answers", "greeting", "why"),
    [
        ((None,), GREETING, "closed the connection"),
        (("OK\t1\tuser=",), GREETING, "names no account"),
        (("SPID\t1\n" * 20,), GREETING, "does not answer what it was asked"),
        ((), "VERSION\t9\t0\nDONE\n", "speaks another version than 1"),
        ((), "220 smtp\n", "does not say its version first"),
        ((), "VERSION\t1\t1\n" + "MECH\tX\n" * 400, "its greeting has no end"),
        ((), "x" * 40_000, "limit"),
    ],
)
async def test_what_is_no_dovecot_is_unavailable(
    tmp_path: Path, answers: tuple[str | None, ...], greeting: str, why: str
) -> None:
    async with scripted(tmp_path / "auth", *answers, greeting=greeting):
        with pytest.raises(LoginsUnavailable, match=why):
            async with DovecotServer(tmp_path / "auth").exchange("PLAIN", "192.0.2.1", 1) as step:
                await step(RIGHT)


async def test_a_silent_dovecot_is_unavailable(tmp_path: Path) -> None:
    async with scripted(tmp_path / "auth", greeting=""):
        with pytest.raises(LoginsUnavailable, match=r"no answer in 0\.01 s"):
            async with DovecotServer(tmp_path / "auth", seconds=0.01).exchange("PLAIN", "192.0.2.1", 1):
                pass


@pytest.mark.parametrize(
    ("answer", "reply", "event"),
    [
        ("OK\t1\tuser=anna", "235 2.7.0", LoggedIn),
        ("FAIL\t1\tuser=anna", "535 5.7.8", LoginFailed),
        ("FAIL\t1\tuser=anna\ttemp", "454 4.7.0", None),
        (None, "454 4.7.0", LoginUnavailable),
    ],
)
async def test_the_door_says_what_dovecot_found(
    tmp_path: Path, answer: str | None, reply: str, event: type | None
) -> None:
    async with scripted(tmp_path / "auth", answer):
        logins = Logins(server=DovecotServer(tmp_path / "auth"))
        async with house(tls="implicit", logins=logins) as place, client(place, tls=True) as one:
            await one.reply()
            assert "AUTH PLAIN LOGIN SCRAM-SHA-256" in await one.say("EHLO c")
            assert (await one.say(f"AUTH PLAIN {RIGHT}"))[:9] == reply
            assert event is None or len(place.events.of(event)) == 1


async def test_base64_that_is_none_does_not_reach_dovecot(tmp_path: Path) -> None:
    async with scripted(tmp_path / "auth") as script:
        logins = Logins(server=DovecotServer(tmp_path / "auth"))
        async with house(tls="implicit", logins=logins) as place, client(place, tls=True) as one:
            await one.reply()
            await one.say("EHLO c")
            assert (await one.say("AUTH PLAIN AGE"))[:9] == "501 5.5.2"
            assert not any(line.startswith("AUTH") for line in script.heard)


CONFIGURATION = """\
{head}
protocols =
base_dir = {top}/run
state_dir = {top}/state
log_path = {top}/log
ssl = no
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
auth_mechanisms = plain login scram-sha-256
passdb{name} {{
  {users} = {top}/users
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service auth {{
  unix_listener auth-postroad {{
    mode = 0666
  }}
}}
"""


# What has other words since 2.4.
OLD = {"head": "", "name": "", "users": "driver = passwd-file\n  args"}
NEW = {
    "head": "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0",
    "name": " passwd-file",
    "users": "passwd_file_path",
}


@asynccontextmanager
async def dovecot() -> AsyncIterator[Path]:
    """A Dovecot of our own in a short-lived folder: its socket. It is ended by its own master process."""
    program = require("dovecot", "dovecot-core")
    top = Path(tempfile.mkdtemp(prefix="postroad-dovecot-"))
    top.chmod(0o755)
    group = "nogroup" if Path("/etc/debian_version").exists() else "nobody"
    words = OLD if (await run(program, "--version")).startswith("2.3") else NEW
    (top / "conf").write_text(CONFIGURATION.format(top=top, user="nobody", group=group, **words))
    scram = "{SCRAM-SHA-256}4096,pOIATE1Qm/aWtP5GWMqhWw==,M0lVKttDMZYpQwgnezGzNyNG8yKnOJj/bZAQESu+lBg=,"
    (top / "users").write_text(
        f"anna:{{PLAIN}}secret\nbert:{scram}8OVShMc7RTR7Fafy19yIayJFoLxzH7bvMyqloTGeZmE=\n"
    )
    # Its workers are other users, whatever this one's umask is.
    for name in ("conf", "users"):
        (top / name).chmod(0o644)
    master = await asyncio.create_subprocess_exec(
        *as_root(),
        *(program, "-F", "-c", str(top / "conf")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    socket = top / "run" / "auth-postroad"
    try:
        async with asyncio.timeout(HANGS_AFTER):
            while not await listens(socket):
                said = (top / "log").read_text() if (top / "log").exists() else "no log"
                assert master.returncode is None, said
                await asyncio.sleep(0.05)
        yield socket
    finally:
        if master.returncode is None:
            master.terminate()
        await master.wait()
        shutil.rmtree(top, ignore_errors=True)


async def listens(socket: Path) -> bool:
    """A name is there before anybody listens at it."""
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_a_real_dovecot_knows_the_accounts() -> None:
    assert pwd.getpwnam("nobody")
    async with dovecot() as socket:
        server = DovecotServer(socket)
        await server.greet()
        assert set(server.mechanisms) == {"PLAIN", "LOGIN", "SCRAM-SHA-256"}
        async with server.exchange("PLAIN", "192.0.2.1", 99) as step:
            assert await step(RIGHT) == Passed("anna")
        async with server.exchange("SCRAM-SHA-256", "192.0.2.1", 99) as step:
            scram = ScramClient("bert", b"pencil")
            said = await step(b64encode(scram.first()).decode())
            assert isinstance(said, Continue)
            proof = await step(b64encode(scram.final(b64decode(said.challenge))).decode())
            assert isinstance(proof, Continue)
            assert scram.believes(b64decode(proof.challenge))
            assert await step("") == Passed("bert")
        async with server.exchange("PLAIN", "192.0.2.1", 99) as step:
            assert await step(b64encode(b"\0anna\0wrong").decode()) == Failed("anna", False)
