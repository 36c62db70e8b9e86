"""What the sendmail command takes of the configuration, and that the daemon reads it the same."""

from __future__ import annotations

import os
import socket
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.cli.sendmail_settings import (
    DEFAULT_MAX_SIZE,
    DEFAULT_STATE,
    octets,
    read_settings,
    settings_in,
    tables_in,
)
from postroad.config import load, model

SOME = """
hostname = "mail.example.com"
origin = "example.com"
state_directory = "state"
[submission]
max_message_size = "25MiB"
"""


def test_it_reads_as_the_daemon_does(tmp_path: Path) -> None:
    path = tmp_path / "postroad.toml"
    path.write_text(SOME)
    ours, theirs = read_settings(str(path)), load(path)
    assert Path(ours.state_directory) == theirs.state_directory
    assert (ours.hostname, ours.origin) == (theirs.hostname, theirs.origin)
    assert ours.max_message_size == theirs.submission.max_message_size


def test_it_reads_the_files_of_conf_d_as_the_daemon_does(tmp_path: Path) -> None:
    path = tmp_path / "postroad.toml"
    path.write_text(SOME)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/20.toml").write_text('origin = "example.net"\n[submission]\nmax_recipients = 3\n')
    (tmp_path / "conf.d/10.toml").write_text('[submission]\nmax_message_size = "1MiB"\n')
    (tmp_path / "conf.d/.30.toml").write_text('origin = "hidden.example"\n')
    (tmp_path / "conf.d/40.toml.orig").write_text('origin = "old.example"\n')
    ours, theirs = read_settings(str(path)), load(path)
    assert ours.origin == theirs.origin == "example.net"
    assert ours.hostname == theirs.hostname == "mail.example.com"
    assert Path(ours.state_directory) == theirs.state_directory == tmp_path / "state"
    assert ours.max_message_size == theirs.submission.max_message_size == 1 << 20


def test_the_defaults_are_the_daemons() -> None:
    assert Path(DEFAULT_STATE) == model.STATE_DIRECTORY
    assert model.SubmissionConfig().max_message_size == DEFAULT_MAX_SIZE


def test_values_of_the_wrong_kind_are_as_good_as_absent() -> None:
    odd = settings_in({"hostname": 3, "state_directory": [], "submission": "x"}, "/etc/postroad")
    assert (odd.hostname, odd.state_directory) == (socket.gethostname(), DEFAULT_STATE)
    assert odd.max_message_size == DEFAULT_MAX_SIZE


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("25MiB", 25 << 20),
        ("50MB", 50_000_000),
        ("512B", 512),
        ("10", None),
        ("MiB", None),
        (True, None),
        (7, 7),
    ],
)
def test_sizes_are_written_with_units(value: object, size: int | None) -> None:
    assert octets(value) == size


def test_a_file_that_was_named_must_be_there_and_toml(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_settings(str(tmp_path / "none"))
    (tmp_path / "bad").write_text("hostname =")
    with pytest.raises(ValueError):
        read_settings(str(tmp_path / "bad"))


WANTED = ("hostname", "origin", "state_directory")
LINES = st.sampled_from(
    [
        *('hostname = "a.example"', 'origin="b.example" # ours', "state_directory = 'q'", "hostname = 3"),
        *("[submission]", "[[route]]", "[ dns ]", '["submission"]', "[submission.x]", "# a comment", ""),
        *('max_message_size = "5MiB"', 'submission.max_message_size = "1MiB"', '"hostname" = "c.example"'),
        *('match = ["x", "y"]', "match = [", "]", '"hostname",', 'hostname = """', '"""', "flag = true # so"),
        *('hostname = "a\\u0041"', "hostname =", "submission = { max_message_size = 7 }", "n = 3", "n = 1_0"),
    ]
)


@given(st.lists(LINES, max_size=8).map("\n".join))
@settings(max_examples=400, deadline=None)
def test_what_is_read_without_tomllib_is_what_tomllib_reads(text: str) -> None:
    try:
        theirs = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    ours = tables_in(text)
    assert {key: ours.get(key) for key in WANTED if isinstance(theirs.get(key), str)} == {
        key: theirs[key] for key in WANTED if isinstance(theirs.get(key), str)
    }
    mine, its = ours.get("submission"), theirs.get("submission")
    limit = "max_message_size"
    assert (mine.get(limit) if isinstance(mine, dict) else None) == (
        its.get(limit) if isinstance(its, dict) else None
    )


def test_a_named_file_belongs_to_root_or_to_who_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "postroad.toml"
    path.write_text(SOME)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        os.chown(path, 65534, -1)
    with pytest.raises(PermissionError, match="must belong"):
        read_settings(str(path))
