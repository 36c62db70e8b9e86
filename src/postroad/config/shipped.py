"""Files that come with the program: the reference configuration, the units of systemd."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
# A checkout has them at its top, an installed package in a folder of its own.
_PLACES = (_PACKAGE.parent.parent, _PACKAGE / "share")


def shipped(name: str) -> Path:
    """Where "conf/postroad.toml" or "systemd/postroad.service" lies. Raises FileNotFoundError."""
    for place in _PLACES:
        if (place / name).exists():
            return place / name
    raise FileNotFoundError(2, "this installation has lost a file of its own", name)
