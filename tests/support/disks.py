"""Disks of our own: small ones, ones that lose power, and calls that fail when told to."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.requires import as_root, require

ROOT = Path(__file__).parent.parent.parent


def run(*command: str | Path) -> None:
    """To its end; AssertionError with what it said when it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"


@functools.cache
def preload_library(source: str) -> Path:
    """The library of a file like tests/faults/faulty.c, built once."""
    path = Path(tempfile.mkdtemp(prefix="postroad-preload-")) / "preload.so"
    run(require("gcc"), "-shared", "-fPIC", "-O1", "-o", path, ROOT / source, "-ldl", "-lpthread")
    return path


def preloaded(**settings: str) -> dict[str, str]:
    """The environment of a process with the library in it."""
    return {"LD_PRELOAD": str(preload_library("tests/faults/faulty.c")), **settings}


@contextmanager
def mounted(what: str | Path, at: Path, *options: str) -> Iterator[Path]:
    """Mounted for the length of the block; needs root, or sudo without a question."""
    at.mkdir(exist_ok=True)
    run(*as_root(), require("mount"), *options, what, at)
    run(*as_root(), "chmod", "1777", at)
    try:
        yield at
    finally:
        run(*as_root(), require("umount"), at)


def small_disk(at: Path, size: str) -> object:
    """A file system in memory that is full after `size`."""
    return mounted("none", at, "-t", "tmpfs", "-o", f"size={size}")


def make_image(path: Path, megabytes: int) -> None:
    """An ext4 file system in a file."""
    with path.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    run(require("mkfs.ext4", "e2fsprogs"), "-q", "-F", "-O", "^metadata_csum", path)


def image_disk(image: Path, at: Path) -> object:
    """The image as a disk that writes back nothing by itself for five minutes, unless it is asked to."""
    return mounted(image, at, "-o", "loop,commit=300,data=ordered")


def copy_image(image: Path, to: Path) -> None:
    """What the disk has received so far. What lies in the file system's cache only is not in it."""
    run("cp", "--sparse=always", image, to)


def fill_up(directory: Path, leave: int = 0) -> Path:
    """A file that takes all room but `leave` octets."""
    path = directory / "ballast"
    with path.open("wb", buffering=0) as file:
        step = 1024 * 1024
        while step >= 512:
            found = os.statvfs(directory)
            if found.f_bavail * found.f_frsize - step < leave:
                step //= 2
                continue
            try:
                file.write(b"x" * step)
            except OSError:
                step //= 2
    return path
