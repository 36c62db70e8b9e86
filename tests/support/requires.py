"""Real peers that tests need: present, or the test fails with the line that installs them.

Nothing is skipped: a suite that is green without its peers would prove less than it says.
"""

from __future__ import annotations

import os
import shutil

SBIN = ":/usr/sbin:/sbin"


def require(program: str, package: str | None = None) -> str:
    """The path of a program, or an AssertionError that says how to get it."""
    path = shutil.which(program, path=os.environ.get("PATH", os.defpath) + SBIN)
    assert path is not None, f"{program} is missing: apt-get install --yes {package or program}"
    return path


def as_root() -> list[str]:
    """What to put before a command that needs root: nothing, or sudo without a question."""
    return [] if os.geteuid() == 0 else [require("sudo"), "--non-interactive"]
