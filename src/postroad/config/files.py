"""Files and secrets that a configuration names, looked at when it is read.

A daemon that gave root up may not read all of them again. `Folder.kept` has what was
read before (see `adapters.privileges`), which stands for a file that cannot be read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from postroad.config.model import NamedFile
from postroad.config.problems import BadValue, shown
from postroad.config.spelling import TEXT, matching, spelled
from postroad.config.values import Reader, text

MAX_SECRET = 64 * 1024
# The credentials of the running service, which root sees: for `postroad config check` outside of it.
RUNNING = "/run/credentials/postroad.service"


@dataclass(slots=True)
class Folder:
    """Where a configuration lies: relative paths start at `base`.

    Filled while it is read: `named` files, and `plain` secrets, which stand in it as they are.
    """

    base: Path
    kept: Mapping[Path, Path] = field(default_factory=dict)
    named: list[NamedFile] = field(default_factory=list)
    plain: set[str] = field(default_factory=set)

    def readable(self, path: Path, *, private: bool) -> Path:
        """The file itself, or what was kept of it. Raises BadValue."""
        self.named.append(NamedFile(path, private))
        if os.access(path, os.R_OK):
            if not path.is_file():
                raise BadValue(f"{path}: not a file")
            return path
        if path in self.kept:
            return self.kept[path]
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise BadValue(f"{path}: no such file") from None
        except OSError as error:
            raise BadValue(f"{path}: {error.strerror}") from None
        raise BadValue(f"{path}: cannot be read by this user")


def path_in(base: Path) -> Reader:
    """A path, relative to the folder of the configuration file; it need not exist."""

    @spelled(TEXT)
    def read(value: object) -> Path:
        return base / text(value)

    return read


@spelled(matching("/.*"))
def absolute_path(value: object) -> Path:
    """Of a socket, which need not be there yet."""
    word = text(value)
    if not word.startswith("/"):
        raise BadValue(f'expected a path such as "/run/dovecot/auth-client", got {shown(value)}')
    return Path(word)


def file_in(folder: Folder, *, private: bool = False) -> Reader:
    """A readable file; also "file:PATH", or "credential:NAME" for one of systemd's."""

    @spelled(TEXT)
    def read(value: object) -> Path:
        return _file(folder, text(value), private=private)

    return read


def _file(folder: Folder, word: str, *, private: bool) -> Path:
    if word.startswith("env:"):
        raise BadValue("this is read from a file; an environment variable cannot stand for it")
    if word.startswith("credential:"):
        return folder.readable(_credential(word.removeprefix("credential:")), private=False)
    return folder.readable(folder.base / word.removeprefix("file:"), private=private)


def _credential(name: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder and os.access(RUNNING, os.X_OK):
        folder = RUNNING
    if not folder:
        raise BadValue(
            f'"credential:{name}" needs $CREDENTIALS_DIRECTORY, which systemd sets for LoadCredential='
        )
    if not name or "/" in name or name in {".", ".."}:
        raise BadValue(f'"credential:{name}" must name one credential')
    return Path(folder) / name


def secret_in(folder: Folder) -> Reader:
    """A secret: as it stands, or "file:PATH", "env:NAME", "credential:NAME".

    Of a file the first line counts, without its line end.
    """

    @spelled(TEXT, secret=True)
    def read(value: object) -> str:
        word = text(value)
        if word.startswith("env:"):
            found = os.environ.get(word.removeprefix("env:"))
            if found is None:
                raise BadValue(f"${word.removeprefix('env:')} is not set")
        elif word.startswith(("file:", "credential:")):
            found = _first_line(_file(folder, word, private=True))
        else:
            found = word
            folder.plain.add(word)
        if not found or any(char in found for char in "\0\r\n"):
            raise BadValue("the secret is empty or has a NUL or a line end in it")
        return found

    return read


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as lines:
            return lines.readline(MAX_SECRET).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(f"{file}: {_why(error)}") from None


def _why(error: Exception) -> str:
    return error.strerror or "cannot be read" if isinstance(error, OSError) else "not a UTF-8 text"
