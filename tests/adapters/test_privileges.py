"""Giving root up: what is kept before, and whose the queue must be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postroad.adapters.privileges import PrivilegeError, check_state, identity, keep, user_name


def test_what_is_kept_is_read_as_it_was_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(b"secret\n")
    kept = keep([file, file, tmp_path / "nothing"])
    file.unlink()
    assert set(kept) == {file}
    assert [kept[file].read_bytes() for _ in range(2)] == [b"secret\n"] * 2
    os.close(int(kept[file].name))


def test_a_user_there_is_not_is_told_with_the_cure() -> None:
    with pytest.raises(PrivilegeError, match="no such user; systemd-sysusers"):
        identity("nobody-of-that-name")
    assert identity("root").uid == 0
    assert user_name(4_000_000_000) == "uid 4000000000"


def test_a_state_directory_is_its_users_alone(tmp_path: Path) -> None:
    check_state(tmp_path / "none yet", os.geteuid())
    tmp_path.chmod(0o711)
    check_state(tmp_path, os.geteuid())
    with pytest.raises(PrivilegeError, match=f"belongs to {user_name(os.geteuid())}, and this runs as"):
        check_state(tmp_path, os.geteuid() + 1)
    tmp_path.chmod(0o777)
    with pytest.raises(PrivilegeError, match="others may replace what lies in it: chmod 711"):
        check_state(tmp_path, os.geteuid())
    tmp_path.chmod(0o711)
