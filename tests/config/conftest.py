"""What the configurations of these tests name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.certificates import pair, write_pair


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder with every file that the configurations here name."""
    write_pair(tmp_path)
    (tmp_path / "other-key.pem").write_bytes(pair("other.example")[1])
    (tmp_path / "accounts").write_text("anna:{ARGON2ID}$argon2id$x\n")
    (tmp_path / "relay.password").write_text("hunter2\nsecond line\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "public.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    (tmp_path / "locked.pem").write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    (tmp_path / "dkim").mkdir()
    (tmp_path / "dkim" / "example.com.s1.pem").write_bytes(pair()[1])
    return tmp_path
