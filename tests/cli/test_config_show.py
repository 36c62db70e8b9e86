"""`postroad config show` and `config schema`: what holds, what is changed, where it comes from, no secret."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from postroad.cli.main import main
from postroad.config import load, model

Captured = pytest.CaptureFixture[str]

TEXT = """\
hostname = "mail.example.com"
state_directory = "queue"
[submission]
max_recipients = 1000
max_connections = 7
[[route]]
relay = "a.example"
username = "u"
password = "hunter2"
[[route]]
name = "b"
relay = "b.example"
username = "u"
password = "env:POSTROAD_TEST_SECRET"
[account."net:10.0.0.0/8"]
lane = "bulk"
[[policy]]
rspamd = "http://127.0.0.1:1"
password = "correct horse"
actions = { "reject" = "hold" }
[oauth]
client_secret = "battery staple"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSTROAD_TEST_SECRET", "of the environment")
    file = tmp_path / "postroad.toml"
    file.write_text(TEXT)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/a.toml").write_text("[submission]\n\nmax_connections = 9\n")
    return file


def shown(config: Path, capsys: Captured, *options: str) -> str:
    assert main(["--config", str(config), "config", "show", *options]) == 0
    return capsys.readouterr().out


def lines(config: Path, capsys: Captured, *options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown(config, capsys, "--json", *options).splitlines()]


def test_what_is_shown_is_a_configuration_again(config: Path, capsys: Captured, tmp_path: Path) -> None:
    text = shown(config, capsys)
    again = tmp_path / "again" / "postroad.toml"
    again.parent.mkdir()
    again.write_text(text.replace('"(secret)"', '"x"').replace('client_secret = "x"\n', ""))
    first, second = load_of(config), load_of(again)
    assert first["submission"] == second["submission"]
    assert first["delivery"] == second["delivery"]
    assert first["retry"] == second["retry"]
    assert [route.relay for route in first["routes"]] == [route.relay for route in second["routes"]]


def load_of(path: Path) -> dict[str, Any]:
    from postroad.config import load_sound

    found = load_sound(path)
    return {name: getattr(found, name) for name in ("submission", "delivery", "retry", "routes")}


@pytest.mark.parametrize("options", [(), ("--changed",), ("--origin",), ("--json",)])
def test_no_secret_is_ever_shown_but_where_one_lies_is(
    config: Path, capsys: Captured, options: tuple[str, ...]
) -> None:
    text = shown(config, capsys, *options)
    for secret in ("hunter2", "correct horse", "battery staple", "of the environment"):
        assert secret not in text
    assert "env:POSTROAD_TEST_SECRET" in text
    assert text.count("(secret)") == 3


def test_only_what_is_not_as_by_default_is_changed(config: Path, capsys: Captured) -> None:
    changed = tomllib.loads(shown(config, capsys, "--changed"))
    assert changed["submission"] == {"max_connections": 9}
    assert changed["state_directory"] == "queue"
    # What the machine would have said is no default of a key that is set.
    assert changed["hostname"] == tomllib.loads(config.read_text())["hostname"]
    assert changed["account"] == {"net:10.0.0.0/8": {"lane": "bulk"}}
    assert "delivery" not in changed


def test_each_key_says_which_line_set_it_and_which_it_overrides(config: Path, capsys: Captured) -> None:
    found = {(line["table"], line["entry"], line["key"]): line for line in lines(config, capsys)}
    connections = found["submission", None, "max_connections"]
    assert connections["origin"] == f"{config.parent}/conf.d/a.toml:3"
    assert connections["overrides"] == f"{config}:5"
    assert (connections["value"], connections["changed"]) == (9, True)
    assert found["submission", None, "max_recipients"]["origin"] == f"{config}:4"
    assert not found["submission", None, "max_recipients"]["changed"]
    assert found["delivery", None, "port"]["origin"] is None
    assert found["route", 1, "name"]["origin"] == f"{config}:11"
    text = shown(config, capsys, "--origin")
    assert f"max_connections = 9  # {config.parent}/conf.d/a.toml:3, in place of {config}:5\n" in text
    assert "port = 25  # default\n" in text


def test_the_defaults_are_those_of_the_program_whatever_the_files_say(config: Path, capsys: Captured) -> None:
    defaults = tomllib.loads(shown(config, capsys, "--defaults"))
    assert defaults["submission"]["max_connections"] == model.SubmissionConfig().max_connections
    assert "hostname" not in defaults
    assert "route" not in defaults


def test_what_is_wrong_is_left_out_and_the_rest_is_shown(tmp_path: Path, capsys: Captured) -> None:
    config = tmp_path / "postroad.toml"
    config.write_text('hostname = "mail.example.com"\npasword = "hunter2"\n[dns]\ntimeout = 3\n[route]\n')
    text = shown(config, capsys)
    assert "hunter2" not in text
    assert tomllib.loads(text)["hostname"] == "mail.example.com"
    config.write_text("x = ")
    assert main(["--config", str(config), "config", "show"]) == 78


def test_the_schema_is_json(capsys: Captured) -> None:
    assert main(["config", "schema"]) == 0
    assert "submission" in json.loads(capsys.readouterr().out)["properties"]


def test_a_quiet_check_says_nothing_where_all_is_well(tmp_path: Path, capsys: Captured) -> None:
    config = tmp_path / "postroad.toml"
    config.write_text('hostname = "mail.example.com"\nstate_directory = "queue"\n')
    assert main(["config", "check", "--quiet", str(config)]) == 0
    assert capsys.readouterr().out == ""
    assert load(config).hostname == "mail.example.com"
