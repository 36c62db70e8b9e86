"""The files for the service manager, judged by its own tools (Debian package systemd)."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from postroad.cli.arguments import parser
from postroad.config import load
from postroad.config.model import STATE_DIRECTORY
from postroad.demo.house import self_signed
from postroad.demo.process import HANGS_AFTER

SYSTEMD = Path(__file__).parent.parent / "systemd"
UNIT = SYSTEMD / "postroad.service"
TEMPLATE = SYSTEMD / "postroad@.service"
SOCKETS = sorted(SYSTEMD.glob("*.socket"))


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=HANGS_AFTER, check=False
    )


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as where the program is installed: `verify` wants an executable behind ExecStart."""
    for unit in (UNIT, TEMPLATE, *SOCKETS):
        text = unit.read_text().replace("/usr/bin/postroad", sys.executable)
        (tmp_path / unit.name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", ["postroad.service", "postroad@one.service", *(s.name for s in SOCKETS)])
def test_the_service_manager_has_nothing_to_say_about_a_unit(installed: Path, name: str) -> None:
    verdict = _run("systemd-analyze", "verify", "--man=no", installed / name)
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["postroad.service", "postroad@.service"])
def test_a_service_is_exposed_to_at_most_two_of_ten(installed: Path, name: str) -> None:
    verdict = _run("systemd-analyze", "security", "--offline=true", "--threshold=20", installed / name)
    assert verdict.returncode == 0, verdict.stdout


def test_an_instance_is_the_service_with_a_name() -> None:
    named = UNIT.read_text()
    for one, other in (
        ("transfer agent", "transfer agent (%i)"),
        ("/usr/bin/postroad ", "/usr/bin/postroad --config /etc/postroad/%i/postroad.toml "),
        ("Directory=postroad\n", "Directory=postroad-%i\n"),
        ("ConfigurationDirectory=postroad-%i", "ConfigurationDirectory=postroad/%i"),
        ("SyslogIdentifier=postroad", "SyslogIdentifier=postroad-%i"),
    ):
        named = named.replace(one, other)
    assert _settings(TEMPLATE.read_text()) == _settings(named)


def _settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("unit", SOCKETS, ids=lambda path: path.stem)
def test_a_socket_names_itself_as_the_configuration_beside_it_says(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    name = unit.stem.removeprefix("postroad-")
    assert f"FileDescriptorName={name}" in text.splitlines()
    assert "Service=postroad.service" in text.splitlines()
    listener = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#   ")]
    if not listener:
        assert f"ListenStream={STATE_DIRECTORY}/postroad.sock" in text.splitlines()
        return
    self_signed(tmp_path)
    (tmp_path / "accounts").touch()
    config = tmp_path / "postroad.toml"
    config.write_text(
        'hostname = "mail.example.com"\n[submission]\naccounts = "accounts"\n'
        '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n' + "\n".join(listener) + "\n"
    )
    assert [each.passed for each in load(config).listeners] == [name]


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "ExecStart=/usr/bin/postroad serve",
        "ExecReload=/usr/bin/postroad reload",
        "WatchdogSec=30s",
        "RestartPreventExitStatus=78 64",
        "StateDirectoryMode=0711",
    ],
)
def test_the_unit_says(line: str) -> None:
    assert line in UNIT.read_text().splitlines()


@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda path: path.stem)
@pytest.mark.parametrize(("setting", "verb"), [("ExecStart", "serve"), ("ExecReload", "reload")])
def test_what_the_unit_runs_is_a_command_of_the_program(unit: Path, setting: str, verb: str) -> None:
    (line,) = [text for text in unit.read_text().splitlines() if text.startswith(f"{setting}=")]
    program, *words = line.partition("=")[2].split()
    assert program == "/usr/bin/postroad"
    assert parser().parse_args(words).verb == verb


def test_nothing_before_the_daemon_can_fail_again_and_again() -> None:
    """RestartPreventExitStatus looks at the main process alone."""
    assert "ExecStartPre=" not in UNIT.read_text()


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
