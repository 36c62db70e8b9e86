"""The command line: which file it reads, how it ends, what it prints when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from postroad import __version__
from postroad.adapters.accounts_file import read_accounts
from postroad.cli.main import DEFAULT_CONFIG, main
from tests.support.queued import state_directory

Captured = pytest.CaptureFixture[str]


def run(*arguments: str, config: Path | None = None) -> int:
    """The exit code; argparse's own ends included."""
    before = ["--config", str(config)] if config else []
    try:
        return main([*before, *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "postroad.toml"
    file.write_text(
        'hostname = "mail.example.com"\nstate_directory = "state"\n[submission]\naccounts = "accounts"\n'
    )
    return file


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["queue"],
        ["queue", "show"],
        ["queue", "list", "--state", "lost"],
        ["queue", "list", "--older", "5"],
        ["queue", "list", "--to", "a b"],
        ["queue", "delete"],
        ["queue", "delete", "--all"],
        ["queue", "delete", "--all", "--yes", "--domain", "example.org"],
        ["queue", "hold", "0123456789AB", "--all"],
        ["queue", "hold", "not-an-id"],
        ["send", "--from", "a@example.com"],
        ["send", "--from", "a@example.com", "--to", "b@example.org", "--timeout", "soon"],
        ["send", "--from", "a@example.com", "--to", "b@example.org", "--subject", "x\ny", "/dev/null"],
        ["send", "--from", "a\n@example.com", "--to", "b@example.org", "/dev/null"],
        ["account", "add"],
        ["--conf", "x", "status"],
    ],
)
def test_a_command_that_makes_no_sense_ends_with_64(
    config: Path, capsys: Captured, arguments: list[str]
) -> None:
    assert run(*arguments, config=config) == os.EX_USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("postroad")
    assert err.count("\n") == 1


def test_the_version_is_told(capsys: Captured) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"postroad {__version__}\n"


def test_the_file_is_the_one_named_then_the_environments_then_the_systems(
    config: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROAD_CONFIG", str(tmp_path / "other.toml"))
    assert run("status", config=config) == 0
    assert run("status") == os.EX_CONFIG
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'other.toml'}:1: (file): cannot be read")
    assert DEFAULT_CONFIG == "/etc/postroad/postroad.toml"


def test_a_good_configuration_is_called_good(config: Path, capsys: Captured) -> None:
    (config.parent / "accounts").touch(mode=0o600)
    assert run("config", "check", str(config)) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{config}: good\n")
    assert err == ""


@pytest.mark.parametrize("verb", [["config", "check"], ["serve"]])
def test_every_problem_of_a_configuration_is_told_with_78(
    config: Path, capsys: Captured, verb: list[str]
) -> None:
    config.write_text('hostname = "mail.example.com"\nzzz = 1\n[log]\nlevel = "loud"\n')
    assert run(*verb, config=config) == os.EX_CONFIG
    out, err = capsys.readouterr()
    assert out == ""
    first, second, total = err.splitlines()
    assert first == f"{config}:2: zzz: unknown key or table"
    assert second.startswith(f"{config}:4: log.level: expected one of ")
    assert total == "2 problems"


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "delete", "bounce"])
def test_a_queue_that_never_was_is_not_changed(config: Path, capsys: Captured, verb: str) -> None:
    assert run("queue", verb, "0123456789AB", config=config) == os.EX_NOINPUT
    err = capsys.readouterr().err
    assert err == f"postroad: {config.parent}/state/queue.sqlite: no queue; " + (
        "has the daemon ever run with this configuration?\n"
    )


def test_without_a_daemon_nothing_is_sent(config: Path) -> None:
    assert run("send", "--from", "a@example.com", "--to", "b@example.org", "/dev/null", config=config) == 69


def test_a_file_that_is_not_there_is_not_sent(config: Path, capsys: Captured) -> None:
    arguments = ("send", "--from", "a@example.com", "--to", "b@example.org", "/nowhere")
    assert run(*arguments, config=config) == os.EX_NOINPUT
    assert capsys.readouterr().err == "postroad: /nowhere: No such file or directory\n"


def test_without_a_queue_there_is_nothing_to_look_at(config: Path, capsys: Captured) -> None:
    assert run("queue", "list", config=config) == os.EX_NOINPUT
    assert "has the daemon ever run" in capsys.readouterr().err


def test_an_account_is_added_to_the_file_that_the_configuration_names(
    config: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "stdin"
    secret.write_text("correct horse\nignored\n")
    for arguments, code in (((), 0), ((), os.EX_DATAERR), (("--replace",), 0)):
        with secret.open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            assert run("account", "add", "anna", "--password-stdin", *arguments, config=config) == code
    assert list(read_accounts(tmp_path / "accounts")) == ["anna"]
    assert "exists already; --replace changes its password" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a:b", "", "a\nb"])
def test_a_name_that_no_file_can_hold_is_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured, name: str
) -> None:
    (tmp_path / "stdin").write_text("x\n")
    with (tmp_path / "stdin").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert run("account", "add", name, "--password-stdin", config=config) == os.EX_DATAERR
    assert not (tmp_path / "accounts").exists()
    assert capsys.readouterr().err.strip().isprintable()


@pytest.mark.parametrize("arguments", [["--password-stdin"], []])
def test_no_password_is_no_account(
    config: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    with open(os.devnull) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert run("account", "add", "anna", *arguments, config=config) in (os.EX_DATAERR, os.EX_USAGE)


def test_an_account_needs_a_file_to_be_named(config: Path, capsys: Captured) -> None:
    config.write_text('hostname = "mail.example.com"\n')
    assert run("account", "add", "anna", "--password-stdin", config=config) == os.EX_CONFIG
    assert "submission.accounts: missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("redirected", "exit", "said"),
    [
        (">/dev/full", 74, "postroad: No space left on device\n"),
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
    ],
)
def test_an_output_that_takes_nothing_is_told_in_a_line(
    config: Path, redirected: str, exit: int, said: str
) -> None:
    ended = subprocess.run(
        f"{sys.executable} -m postroad --config {config} status {redirected}",
        shell=True,
        capture_output=True,
        check=False,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (exit, said)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with state_directory() as directory:
        ended = subprocess.run(
            f"{sys.executable} -m postroad --config {directory}/postroad.toml status | true",
            shell=True,
            capture_output=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("verb", ["status", "queue retry 0123456789AB", "--version"])
def test_a_command_loads_no_library_it_does_not_need(verb: str, config: Path) -> None:
    heavy = ["asyncio", "msgspec", "argon2", "aiosmtpd", "aiosmtplib", "dns", "structlog", "uvloop", "ssl"]
    code = f"""
import sys
from postroad.cli.main import main
try:
    main(["--config", {str(config)!r}, *{verb.split()!r}])
except SystemExit:
    pass
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ended.stderr.splitlines()[-1] == "[]"
