"""Files of a configuration that others than they should can read or write, each with the cure."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from postroad.config.model import Config


def exposed(config: Config) -> tuple[str, ...]:
    """Warnings, none of which stops the daemon. What cannot be looked at is passed over."""
    found = []
    for named in config.files:
        mode = _mode(named.path)
        if named.private and mode & stat.S_IROTH:
            found.append(f"{named.path}: everybody may read it: chmod o= {named.path}")
        elif mode & stat.S_IWOTH:
            found.append(f"{named.path}: everybody may write it: chmod o-w {named.path}")
    sources = {place.file for place in config.places.known.values()}
    for source in sorted(sources):
        mode = _mode(Path(source))
        if source in config.secret_sources and mode & stat.S_IROTH:
            cure = f'chmod o= {source}, or name a file in its place ("file:PATH")'
            found.append(f"{source}: everybody may read it, and a secret stands in it: {cure}")
        if mode & stat.S_IWOTH:
            found.append(f"{source}: everybody may write it, and so steer the daemon: chmod o-w {source}")
    return tuple(found)


def _mode(path: Path) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0
