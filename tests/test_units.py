"""The files for the service manager, judged by its own tools (Debian package systemd)."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parent.parent / "systemd"
UNIT = SYSTEMD / "postroad.service"


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as where the program is installed: `verify` wants an executable behind ExecStart."""
    unit = tmp_path / "postroad.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/postroad", sys.executable))
    return unit


def test_the_unit_is_one_the_service_manager_has_nothing_to_say_about(installed: Path) -> None:
    verdict = _run("systemd-analyze", "verify", installed)
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


def test_the_unit_is_exposed_to_at_most_two_of_ten(installed: Path) -> None:
    verdict = _run("systemd-analyze", "security", "--offline=true", "--threshold=20", installed)
    assert verdict.returncode == 0, verdict.stdout


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "ExecStart=/usr/bin/postroad serve",
        "ExecStartPre=/usr/bin/postroad config check",
        "RestartPreventExitStatus=78 64",
        "StateDirectoryMode=0711",
    ],
)
def test_the_unit_says(line: str) -> None:
    assert line in UNIT.read_text().splitlines()


def test_users_who_are_not_ours_can_drop_a_message_but_not_look(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    ids = f"{tmp_path.stat().st_uid}:{tmp_path.stat().st_gid}"
    uid, gid = ids.split(":")
    (tmp_path / "etc/passwd").write_text(f"postroad:x:{uid}:{gid}::/:/bin/false\n")
    (tmp_path / "etc/group").write_text(f"postroad:x:{gid}:\n")
    done = _run("systemd-tmpfiles", "--create", f"--root={tmp_path}", SYSTEMD / "tmpfiles.d/postroad.conf")
    assert done.returncode == 0, done.stderr
    state = tmp_path / "var/lib/postroad"
    assert stat.S_IMODE(state.stat().st_mode) == 0o711
    assert stat.S_IMODE((state / "maildrop").stat().st_mode) == 0o1733


def test_the_user_is_made_by_sysusers(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = _run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "sysusers.d/postroad.conf")
    assert done.returncode == 0, done.stderr
    (line,) = [u for u in (tmp_path / "etc/passwd").read_text().splitlines() if u.startswith("postroad:")]
    assert line.endswith(":Postroad mail daemon:/var/lib/postroad:/usr/sbin/nologin")
