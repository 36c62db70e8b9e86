"""`postroad install` and `uninstall`: what is put in place, what is left alone, what goes away again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from postroad.cli import install as module
from postroad.cli.main import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> Path:
    path = Path("/opt/postroad/bin/postroad")
    monkeypatch.setattr(module, "_program", lambda: path)
    monkeypatch.setattr(module, "_python", lambda program: program.with_name("python3"))
    return path


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or path.is_file()}


def install(root: Path, *options: str) -> int:
    return main(["install", "--systemd", "--root", str(root), *options])


def test_what_install_puts_in_place_uninstall_takes_away(tmp_path: Path, capsys: Captured) -> None:
    assert install(tmp_path) == 0
    there = files(tmp_path)
    assert {
        "etc/systemd/system/postroad.service",
        "etc/systemd/system/postroad@.service",
        "etc/systemd/system/postroad-local.socket",
        "etc/sysusers.d/postroad.conf",
        "etc/tmpfiles.d/postroad.conf",
        "usr/sbin/sendmail",
        "usr/bin/mailq",
        "usr/local/share/man/man8/postroad.8",
        "usr/local/share/man/man5/postroad.toml.5",
        "usr/local/share/bash-completion/completions/postroad",
    } <= there
    unit = (tmp_path / "etc/systemd/system/postroad.service").read_text()
    assert "ExecStart=/opt/postroad/bin/postroad serve" in unit
    assert "/usr/bin/postroad" not in unit
    assert os.readlink(tmp_path / "usr/sbin/sendmail") == "/opt/postroad/bin/postroad-sendmail"
    assert "to do      systemctl daemon-reload" in capsys.readouterr().out
    assert main(["uninstall", "--root", str(tmp_path)]) == 0
    assert files(tmp_path) == set()
    assert main(["uninstall", "--root", str(tmp_path)]) == os.EX_NOINPUT


def test_a_dry_run_changes_nothing(tmp_path: Path, capsys: Captured) -> None:
    assert install(tmp_path, "--dry-run") == 0
    assert files(tmp_path) == set()
    assert install(tmp_path) == 0
    there = files(tmp_path)
    capsys.readouterr()
    assert main(["uninstall", "--dry-run", "--root", str(tmp_path)]) == 0
    assert files(tmp_path) == there
    assert "would remove" in capsys.readouterr().out


def test_files_of_others_and_files_that_were_changed_are_left_alone(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/sendmail").write_text("of another mail server\n")
    assert install(tmp_path) == 0
    assert f"left alone {tmp_path}/usr/sbin/sendmail" in capsys.readouterr().out
    unit = tmp_path / "etc/systemd/system/postroad.service"
    unit.write_text("# mine\n")
    assert install(tmp_path) == 0
    assert unit.read_text() == "# mine\n"
    assert main(["uninstall", "--root", str(tmp_path)]) == 0
    assert files(tmp_path) == {"usr/sbin/sendmail", "etc/systemd/system/postroad.service"}


def test_what_another_version_put_in_place_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert install(tmp_path) == 0
    monkeypatch.setattr(module, "_program", lambda: Path("/opt/postroad2/bin/postroad"))
    assert install(tmp_path) == 0
    assert os.readlink(tmp_path / "usr/bin/mailq") == "/opt/postroad2/bin/postroad-sendmail"
    assert "/opt/postroad2/bin" in (tmp_path / "etc/systemd/system/postroad.service").read_text()


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("_program", Path("/home/anna/.local/bin/postroad")),
        ("_python", Path("/root/.pyenv/bin/python3")),
    ],
)
def test_what_the_service_cannot_see_is_no_service_here_and_may_be_one_elsewhere(
    place: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(module, place, lambda *program: path)
    assert install(tmp_path) == 0
    assert "etc/systemd/system/postroad.service" in files(tmp_path)
    assert f"postroad: {path}: the service may not look into home folders" in capsys.readouterr().err
    # Were it not refused, nothing should happen to this machine.
    monkeypatch.setattr(module, "items", lambda program, systemd: iter(()))
    monkeypatch.setattr(module, "_follow", lambda *commands, args: None)
    assert main(["install", "--systemd"]) == os.EX_USAGE
    assert f"{path}: " in capsys.readouterr().err


def test_what_programs_call_heeds_nothing_that_their_environment_tells_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_python", lambda program: Path(sys.executable))
    assert main(["install", "--root", str(tmp_path)]) == 0
    starter = tmp_path / module.STARTER
    for link in module.LINKS:
        assert os.readlink(tmp_path / link) == f"/{module.STARTER}"
    strange = {"PYTHONHOME": "/nonexistent", "PYTHONPATH": str(tmp_path)}
    (tmp_path / "postroad.py").write_text("raise SystemExit(3)\n")
    done = subprocess.run([starter, "-bV"], env=strange, capture_output=True, check=False)
    assert (done.returncode, done.stdout[:9]) == (0, b"Postroad ")
    assert main(["uninstall", "--root", str(tmp_path)]) == 0
    assert files(tmp_path) == {"postroad.py"}


def test_a_python_that_does_not_find_this_package_is_not_called(tmp_path: Path) -> None:
    # Of the fixture: it is not even there.
    assert install(tmp_path) == 0
    assert not (tmp_path / module.STARTER).exists()


def test_what_was_put_before_a_failure_is_taken_away_again(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/sbin").write_text("no folder")
    assert install(tmp_path) == os.EX_CANTCREAT
    assert "usr/local/bin/postroad" in files(tmp_path)
    assert main(["uninstall", "--root", str(tmp_path)]) == 0
    assert files(tmp_path) == {"usr/sbin"}


def test_uninstall_disables_the_sockets_with_the_service(tmp_path: Path, capsys: Captured) -> None:
    assert install(tmp_path) == 0
    capsys.readouterr()
    assert main(["uninstall", "--root", str(tmp_path)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("to do      systemctl disable --now postroad-local.socket")
    assert first.endswith("postroad.service")
