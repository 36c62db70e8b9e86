"""Messages that others collected: the test data of the `email` package of the Python that runs this."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

_BARE = re.compile(rb"\r\n|\r|\n")


def messages() -> Iterator[tuple[str, bytes]]:
    """File name and octets, with CRLF line ends, of every message in `test.test_email`, by name."""
    try:
        folder = files("test.test_email") / "data"
        found = sorted(entry.name for entry in folder.iterdir() if entry.name.startswith("msg_"))
    except (ModuleNotFoundError, FileNotFoundError):
        found = []
    if not found:
        raise RuntimeError(
            "this Python lacks its own test package (test.test_email): "
            "install it (Debian: libpython3.N-testsuite) or use a Python that has it"
        )
    for name in found:
        yield name, _BARE.sub(b"\r\n", (folder / name).read_bytes())
