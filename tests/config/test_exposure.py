"""Which files others should not be able to read or write, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import load
from postroad.config.exposure import exposed
from tests.support.certificates import write_pair

STEERED = "postroad.toml: everybody may write it, and so steer the daemon: chmod o-w "


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_pair(tmp_path)
    (tmp_path / "relay.password").write_text("x\n")
    for name in ("key.pem", "relay.password"):
        (tmp_path / name).chmod(0o640)
    file = tmp_path / "postroad.toml"
    file.write_text(
        'hostname = "mail.example.com"\n[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
        '[[route]]\nrelay = "127.0.0.1"\nusername = "u"\npassword = "file:relay.password"\n'
    )
    return file


@pytest.mark.parametrize(
    ("name", "mode", "told"),
    [
        ("key.pem", 0o640, ""),
        ("key.pem", 0o644, "key.pem: everybody may read it: chmod o= "),
        ("relay.password", 0o604, "relay.password: everybody may read it: chmod o= "),
        ("cert.pem", 0o644, ""),
        ("cert.pem", 0o646, "cert.pem: everybody may write it: chmod o-w "),
        (
            "postroad.toml",
            0o646,
            "postroad.toml: everybody may write it, and so steer the daemon: chmod o-w ",
        ),
    ],
)
def test_what_others_can_do_with_a_file_is_told_with_the_cure(
    config: Path, name: str, mode: int, told: str
) -> None:
    path = config.parent / name
    path.chmod(mode)
    expected = (f"{config.parent}/{told}{path}",) if told else ()
    assert exposed(load(config)) == expected


@pytest.mark.parametrize(("mode", "password", "told"), [(0o644, "hunter2", 1), (0o640, "hunter2", 0)])
def test_a_secret_in_a_file_of_the_configuration_is_nobody_elses(
    config: Path, mode: int, password: str, told: int
) -> None:
    drop_in = config.parent / "conf.d" / "relay.toml"
    drop_in.parent.mkdir()
    drop_in.write_text(
        '[[route]]\nname = "x"\nmatch = ["*"]\nrelay = "127.0.0.1"\nusername = "u"\n'
        f'password = "{password}"\n'
    )
    drop_in.chmod(mode)
    config.chmod(0o644)
    found = exposed(load(config))
    assert [text.partition(": ")[0] for text in found] == [str(drop_in)] * told
    assert not any(password in text for text in found)


def test_what_was_kept_stands_for_a_file_that_cannot_be_read(config: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (tmp_path / "key.pem").rename(kept)
    found = load(config, {tmp_path / "key.pem": kept})
    assert found.tls.key == kept
    assert [named.path.name for named in found.files if named.private] == ["key.pem", "relay.password"]
