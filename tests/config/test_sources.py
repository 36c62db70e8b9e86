"""conf.d beside the main file: which value counts, where it comes from, what two files may not both say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.config import Config, ConfigError, Problem, accounts_file, load
from postroad.config.places import Place, Places

MAIN = """\
hostname = "mail.example.com"
[delivery]
port = 2525
connections_per_site = 3
[[route]]
name = "first"
relay = "a.example"
[account_defaults]
allowed_senders = ["a.example", "b.example"]
"""


def configuration(folder: Path, main: str = MAIN, **drop_ins: str) -> Config:
    (folder / "conf.d").mkdir(exist_ok=True)
    (folder / "postroad.toml").write_text(main)
    for name, text in drop_ins.items():
        (folder / "conf.d" / f"{name}.toml").write_text(text)
    return load(folder / "postroad.toml")


def problems(folder: Path, main: str = MAIN, **drop_ins: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configuration(folder, main, **drop_ins)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).split("\n")]


def place(config: Config, *path: str | int) -> str:
    """Where a key is set, without the folder; "" for a default."""
    found = config.places.of(*path)
    assert config.path is not None
    return str(found).replace(f"{config.path.parent}/", "") if found else ""


def test_a_file_of_conf_d_sets_keys_anew_and_leaves_the_others(tmp_path: Path) -> None:
    found = configuration(tmp_path, x="[delivery]\nport = 26\n[dns]\ntimeout = '1s'\n")
    assert (found.delivery.port, found.delivery.limits.connections) == (26, 3)
    assert found.dns.timeout == 1.0
    assert place(found, "delivery", "port") == "conf.d/x.toml:2"
    assert place(found, "delivery", "connections_per_site") == "postroad.toml:4"
    assert place(found, "delivery", "max_connections") == ""
    assert {path: at.line for path, at in found.places.overridden.items()} == {("delivery", "port"): 3}


def test_a_list_is_replaced_whole_and_its_old_places_are_forgotten(tmp_path: Path) -> None:
    found = configuration(tmp_path, x='[account_defaults]\nallowed_senders = [\n "c.example"]\n')
    assert found.accounts.defaults.allowed_senders == ("c.example",)
    assert place(found, "account_defaults", "allowed_senders", 0) == "conf.d/x.toml:3"
    assert place(found, "account_defaults", "allowed_senders", 1) == ""


def test_repeated_tables_add_up_in_the_order_of_the_names(tmp_path: Path) -> None:
    found = configuration(
        tmp_path,
        b='[[route]]\nname = "fourth"\nrelay = "d.example"\n',
        a='[[route]]\nname = "second"\nrelay = "b.example"\n[[route]]\nname = "third"\nrelay = "c.example"\n',
    )
    assert [route.name for route in found.routes] == ["first", "second", "third", "fourth"]
    places = [place(found, "route", n, "relay") for n in range(4)]
    assert places == ["postroad.toml:7", "conf.d/a.toml:3", "conf.d/a.toml:6", "conf.d/b.toml:3"]


def test_tables_of_accounts_come_together_key_by_key(tmp_path: Path) -> None:
    found = configuration(
        tmp_path,
        MAIN + '[account."anna"]\nmax_recipients = 5\nlint = "warn"\n',
        a='[account."anna"]\nmax_recipients = 7\n[account."bert"]\nenabled = false\n',
    )
    _, anna = found.accounts.of("anna")
    assert (anna.max_recipients, anna.lint) == (7, "warn")
    assert place(found, "account", "anna", "lint") == "postroad.toml:12"
    assert place(found, "account", "anna", "max_recipients") == "conf.d/a.toml:2"
    assert place(found, "account", "bert", "enabled") == "conf.d/a.toml:4"


def test_two_files_of_conf_d_may_not_set_one_key(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        a="origin = 'a.example'\n[delivery]\nport = 26\n[local]\n",
        b="\norigin = 'b.example'\n[delivery]\nport = 26\n[local]\n",
    )
    end = "; of two files in conf.d neither goes before the other"
    assert told == [
        f"conf.d/b.toml:2: origin: is set in {tmp_path}/conf.d/a.toml:1 too{end}".replace(f"{tmp_path}/", ""),
        f"conf.d/b.toml:4: delivery.port: is set in conf.d/a.toml:3 too{end}",
    ]


def test_one_thing_configured_in_two_files_is_told_with_both_places(tmp_path: Path) -> None:
    listener = '[[listener]]\naddress = "127.0.0.1:26"\ntls = "off"\nauth = "off"\n'
    told = problems(
        tmp_path, MAIN + listener, a=listener + '[[route]]\nname = "first"\nrelay = "z.example"\n'
    )
    other = "127.0.0.1:26 is the address of another listener"
    assert told == [
        f"conf.d/a.toml:2: listener.address: {other}: postroad.toml:11",
        'conf.d/a.toml:6: route.name: "first" is the name of another route too: postroad.toml:6',
    ]


def test_the_mistakes_of_all_files_are_told_at_once_each_with_its_file(tmp_path: Path) -> None:
    told = problems(
        tmp_path, MAIN + "zzz = 1\n", a="[dns]\ntimeout = 3\n", b="[[route]]\n[[route]]\nname = 'A'\n"
    )
    assert [line.split(": ")[0] for line in told] == [
        "conf.d/a.toml:2",
        "conf.d/b.toml:3",
        "postroad.toml:10",
    ]
    broken = problems(tmp_path, "x = \n", a="[", b="")
    assert [line.split(": ")[0] for line in broken] == ["conf.d/a.toml:1", "postroad.toml:1"]


def test_a_table_that_is_one_in_one_file_and_many_in_another_is_told(tmp_path: Path) -> None:
    told = problems(tmp_path, a="delivery = 3\n", b="[route]\n")
    assert [line.split(", got")[0] for line in told] == [
        "conf.d/a.toml:1: delivery: expected one table written [delivery]",
        "conf.d/b.toml:1: route: expected tables written [[route]]",
    ]


def test_paths_in_conf_d_start_where_the_main_file_is(tmp_path: Path) -> None:
    (tmp_path / "accounts").touch()
    found = configuration(tmp_path, a='state_directory = "queue"\n[submission]\naccounts = "accounts"\n')
    assert found.state_directory == tmp_path / "queue"
    assert accounts_file(tmp_path / "postroad.toml") == found.submission.accounts == tmp_path / "accounts"


def test_hidden_files_and_other_endings_do_not_count(tmp_path: Path) -> None:
    configuration(tmp_path)
    for name in (".a.toml", "a.toml~", "a.toml.dpkg-old", "README"):
        (tmp_path / "conf.d" / name).write_text("nonsense")
    assert load(tmp_path / "postroad.toml").delivery.port == 2525


def test_a_folder_or_a_pipe_for_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "conf.d/folder.toml").mkdir(parents=True)
    assert problems(tmp_path) == ["conf.d/folder.toml:1: (file): cannot be read: Is a directory"]
    os.rmdir(tmp_path / "conf.d/folder.toml")
    os.mkfifo(tmp_path / "conf.d/pipe.toml")
    assert problems(tmp_path) == ["conf.d/pipe.toml:1: (file): is no file"]


@given(st.binary(max_size=200), st.binary(max_size=200))
@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
def test_any_octets_in_two_files_load_or_are_told_each_with_its_place(
    tmp_path: Path, first: bytes, second: bytes
) -> None:
    (tmp_path / "conf.d").mkdir(exist_ok=True)
    (tmp_path / "postroad.toml").write_text(MAIN)
    (tmp_path / "conf.d/a.toml").write_bytes(b"[dns]\ntimeout = '1s'\n" + first)
    (tmp_path / "conf.d/b.toml").write_bytes(b"[delivery]\nport = 26\n" + second)
    found: list[Problem] = []
    try:
        load(tmp_path / "postroad.toml")
    except ConfigError as error:
        found = error.problems
    assert all(str(problem).isprintable() for problem in found)
    assert {Path(problem.file).name for problem in found} <= {"a.toml", "b.toml"}


def test_the_first_of_several_keys_that_is_set_has_the_place() -> None:
    places = Places({("delivery", "idle_timeout"): Place("f", 3)})
    wanted = (("route", 0, "idle_timeout"), ("delivery", "idle_timeout"))
    assert str(places.first_of(*wanted)) == "f:3"
    assert places.first_of(wanted[0]) is None
