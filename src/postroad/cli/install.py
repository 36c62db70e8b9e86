"""`postroad install` and `uninstall`: units, manual, completion and the sendmail links.

What is put in place is noted with its hash. A file that is somebody else's, or that was
changed since, is left alone and named; configuration, keys and queue are never touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from postroad.cli import completion, manual
from postroad.cli.text import CommandFailed, complain, say
from postroad.config.shipped import shipped

NOTES = "usr/local/share/postroad/installed.json"
LINKS = ("usr/sbin/sendmail", "usr/lib/sendmail", "usr/bin/mailq", "usr/bin/newaliases")
COMPLETION = {
    "bash": "usr/local/share/bash-completion/completions/postroad",
    "zsh": "usr/local/share/zsh/site-functions/_postroad",
    "fish": "usr/local/share/fish/vendor_completions.d/postroad.fish",
}
RELOAD = ["systemctl", "daemon-reload"]
# What other programs call, whatever their environment tells Python (PYTHONHOME, PYTHONPATH).
STARTER = "usr/local/lib/postroad/sendmail"
STARTED = "#!{python} -I\nfrom postroad.cli.sendmail import program\n\nprogram()\n"
# What Linux reads of a first line.
LONGEST_FIRST_LINE = 127
# What a unit with ProtectHome=yes cannot see.
HIDDEN = ("/home/", "/root/", "/run/user/")


@dataclass(frozen=True, slots=True)
class Item:
    """A file or, with `target`, a link; `name` is below the root. `mode` counts for a file."""

    name: str
    octets: bytes = b""
    target: str = ""
    mode: int = 0o644

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"link {self.target}".encode() if self.target else self.octets).hexdigest()


def items(program: Path, *, systemd: bool) -> Iterator[Item]:
    """All that an installation consists of, for the program at this path."""
    for page, section in manual.PAGES.items():
        text = manual.render(page).encode()
        yield Item(f"usr/local/share/man/man{section}/{page}.{section}", text)
    for alias in ("sendmail", "mailq", "newaliases"):
        yield Item(f"usr/local/share/man/man1/{alias}.1", b".so man1/postroad-sendmail.1\n")
    for shell, name in COMPLETION.items():
        yield Item(name, completion.script(shell).encode())
    yield Item("usr/local/share/postroad/postroad.toml", shipped("conf/postroad.toml").read_bytes())
    yield Item("usr/local/bin/postroad", target=str(program))
    yield from _sendmail(program)
    if systemd:
        yield from _units(program)


def _sendmail(program: Path) -> Iterator[Item]:
    target, python = str(program.with_name("postroad-sendmail")), _python(program)
    if _starts_alone(python):
        target = f"/{STARTER}"
        yield Item(STARTER, STARTED.format(python=python).encode(), mode=0o755)
    for link in LINKS:
        yield Item(link, target=target)


def _python(program: Path) -> Path:
    beside = program.with_name("python3")
    return beside if beside.exists() else Path(sys.executable)


def _starts_alone(python: Path) -> bool:
    """Whether it finds this package without its environment's help, and a first line can name it."""
    name = str(python)
    if len(f"#!{name} -I") > LONGEST_FIRST_LINE or any(map(str.isspace, name)):
        return False
    try:
        words = [name, "-I", "-c", "import postroad.cli.sendmail"]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0  # noqa: S603
    except OSError:
        return False


def _units(program: Path) -> Iterator[Item]:
    folder = shipped("systemd")
    for unit in sorted((*folder.glob("*.service"), *folder.glob("*.socket"))):
        text = unit.read_text("utf-8").replace("/usr/bin/postroad", str(program))
        yield Item(f"etc/systemd/system/{unit.name}", text.encode())
    for kind in ("sysusers.d", "tmpfiles.d"):
        yield Item(f"etc/{kind}/postroad.conf", (folder / kind / "postroad.conf").read_bytes())


def install(args: Namespace) -> int:
    root, program = Path(args.root or "/").absolute(), _program()
    hidden = _hidden(program) if args.systemd else ""
    if hidden and not (args.root or args.dry_run):
        raise CommandFailed(hidden, os.EX_USAGE)
    notes = _notes(root)
    try:
        try:
            for item in items(program, systemd=args.systemd):
                _put(root, item, notes, dry=args.dry_run)
        finally:
            # What was put before something went wrong is ours, too.
            if not args.dry_run and notes:
                _write(root / NOTES, json.dumps(notes, indent=1, sort_keys=True).encode())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _failed(error) from None
    if args.systemd:
        _follow(
            ["systemd-sysusers"], ["systemd-tmpfiles", "--create"], ["systemctl", "daemon-reload"], args=args
        )
        say("then: postroad quickstart you@example.com   # unless there is a configuration")
        say("      systemctl enable --now postroad")
    if hidden:
        # Another machine may have it elsewhere; only here nothing would start.
        complain(hidden)
    return os.EX_OK


def uninstall(args: Namespace) -> int:
    root = Path(args.root or "/").absolute()
    notes = _notes(root)
    if not notes:
        raise CommandFailed(f"{root / NOTES}: nothing was installed from here", os.EX_NOINPUT)
    units = sorted(
        Path(name).name for name in notes if name.startswith("etc/systemd/") and "@" not in Path(name).name
    )
    if units:
        _follow(["systemctl", "disable", "--now", *units], args=args)
    try:
        for name, digest in sorted(notes.items()):
            _take(root, name, digest, dry=args.dry_run)
        if not args.dry_run:
            (root / NOTES).unlink()
            with suppress(OSError):
                (root / NOTES).parent.rmdir()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _failed(error) from None
    if units:
        _follow(RELOAD, args=args)
    say("left: /etc/postroad (configuration and keys), /var/lib/postroad (the queue), the user postroad")
    return os.EX_OK


def _program() -> Path:
    """The command as it was called, in its environment."""
    beside = Path(sys.executable).with_name("postroad")
    return beside if beside.exists() else Path(sys.argv[0]).absolute()


def _hidden(program: Path) -> str:
    """Why the service cannot start this program, "" when it can.

    Its interpreter counts, too: a virtual environment in /opt may borrow one from a home folder.
    """
    for path in (program, _python(program).resolve()):
        if str(path).startswith(HIDDEN):
            return (
                f"{path}: the service may not look into home folders; "
                "install in /opt/postroad, say, made with the system's python3"
            )
    return ""


def _put(root: Path, item: Item, notes: dict[str, str], *, dry: bool) -> None:
    path = root / item.name
    there = _digest(path)
    if there == item.digest:
        say(f"unchanged  {path}")
        notes[item.name] = item.digest
        return
    if there is not None and there != notes.get(item.name):
        say(f"left alone {path}: not of this installation, or changed since")
        return
    what = f" -> {item.target}" if item.target else ""
    say(f"{'would put' if dry else 'put'}        {path}{what}")
    if dry:
        return
    notes[item.name] = item.digest
    if item.target:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(item.target)
    else:
        _write(path, item.octets, item.mode)


def _take(root: Path, name: str, digest: str, *, dry: bool) -> None:
    path = root / name
    there = _digest(path)
    if there is None:
        return
    if there != digest:
        say(f"left alone {path}: changed since")
        return
    say(f"{'would remove' if dry else 'removed'} {path}")
    if not dry:
        path.unlink()


def _digest(path: Path) -> str | None:
    """Of what is there, a link itself included; None: nothing."""
    try:
        if path.is_symlink():
            return Item("", target=os.readlink(path)).digest
        return Item("", path.read_bytes()).digest
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return "a folder"


def _write(path: Path, octets: bytes, mode: int = 0o644) -> None:
    """In one step, readable by all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(octets)
    beside.chmod(mode)
    os.replace(beside, path)


def _notes(root: Path) -> dict[str, str]:
    """What was put in place before, with its hash."""
    try:
        found = json.loads((root / NOTES).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{root / NOTES}: {error}", os.EX_DATAERR) from None
    return {str(name): str(digest) for name, digest in found.items() if not str(name).startswith(("/", ".."))}


def _follow(*commands: list[str], args: Namespace) -> None:
    """What makes the system take note. For another root, or without systemd, it is only said."""
    for command in commands:
        words = " ".join(command)
        program = shutil.which(command[0])
        if args.dry_run or args.root or program is None or not Path("/run/systemd/system").is_dir():
            say(f"to do      {words}")
            continue
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)  # noqa: S603
        say(f"{'done' if done.returncode == 0 else 'FAILED'}       {words} {done.stderr.strip()}".rstrip())


def _failed(error: OSError) -> CommandFailed:
    hint = "; be root, or name another place with --root" if isinstance(error, PermissionError) else ""
    return CommandFailed(f"{error.filename}: {error.strerror}{hint}", os.EX_CANTCREAT)
