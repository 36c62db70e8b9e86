"""Files and secrets that a configuration names, looked at when it is read."""

from __future__ import annotations

import os
from pathlib import Path

from postroad.config.problems import BadValue
from postroad.config.values import Reader, text

MAX_SECRET = 64 * 1024


def path_in(base: Path) -> Reader:
    """A path, relative to the folder of the configuration file; it need not exist."""

    def read(value: object) -> Path:
        return base / text(value)

    return read


def file_in(base: Path) -> Reader:
    """A readable file; also "file:PATH", or "credential:NAME" for one of systemd's."""

    def read(value: object) -> Path:
        return _file(base, text(value))

    return read


def _file(base: Path, word: str) -> Path:
    if word.startswith("env:"):
        raise BadValue("this is read from a file; an environment variable cannot stand for it")
    if word.startswith("credential:"):
        file = _credential(word.removeprefix("credential:"))
    else:
        file = base / word.removeprefix("file:")
    if not file.exists():
        raise BadValue(f"{file}: no such file")
    if not file.is_file():
        raise BadValue(f"{file}: not a file")
    if not os.access(file, os.R_OK):
        raise BadValue(f"{file}: cannot be read by this user")
    return file


def _credential(name: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise BadValue(
            f'"credential:{name}" needs $CREDENTIALS_DIRECTORY, which systemd sets for LoadCredential='
        )
    if not name or "/" in name or name in {".", ".."}:
        raise BadValue(f'"credential:{name}" must name one credential')
    return Path(folder) / name


def secret_in(base: Path) -> Reader:
    """A secret: as it stands, or "file:PATH", "env:NAME", "credential:NAME".

    Of a file the first line counts, without its line end.
    """

    def read(value: object) -> str:
        word = text(value)
        if word.startswith("env:"):
            found = os.environ.get(word.removeprefix("env:"))
            if found is None:
                raise BadValue(f"${word.removeprefix('env:')} is not set")
        elif word.startswith(("file:", "credential:")):
            found = _first_line(_file(base, word))
        else:
            found = word
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
