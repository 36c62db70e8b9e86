"""`postroad install` and `uninstall`: what is put in place, what is left alone, what goes away again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postroad.cli import install as module
from postroad.cli.main import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> Path:
    path = Path("/opt/postroad/bin/postroad")
    monkeypatch.setattr(module, "_program", lambda: path)
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


def test_a_program_that_the_service_cannot_see_is_no_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(module, "_program", lambda: Path("/home/anna/.local/bin/postroad"))
    assert install(tmp_path) == os.EX_USAGE
    assert "install in /opt/postroad" in capsys.readouterr().err
    assert files(tmp_path) == set()
