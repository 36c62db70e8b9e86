"""The command `postroad`: finds the verb, loads only what it needs, ends with a code of sysexits.h."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from postroad.cli import setup
from postroad.cli.arguments import CHANGES, parser
from postroad.cli.text import CommandFailed, complain

DEFAULT_CONFIG = "/etc/postroad/postroad.toml"
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Expected trouble is told in a line on stderr, never as a traceback."""
    _open_streams()
    try:
        try:
            return _run(parser().parse_args(arguments))
        finally:
            sys.stdout.flush()
    except CommandFailed as failed:
        complain(str(failed))
        return failed.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        _close_output()
        return os.EX_OK
    except OSError as error:
        _close_output()
        where = "" if error.filename is None else f"{error.filename}: "
        complain(f"{where}{error.strerror or error}")
        return os.EX_IOERR
    except Exception as error:
        from postroad.config.problems import ConfigError

        if not isinstance(error, ConfigError):
            raise
        from postroad.cli.check import tell

        tell(error)
        return os.EX_CONFIG


def _open_streams() -> None:
    """None are those that the caller closed; a file that is opened later must not become one of them."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        null = os.open(os.devnull, os.O_RDWR)
        while null < 3:
            null = os.dup(null)
        os.close(null)
        sys.stdin, sys.stdout, sys.stderr = (
            stream or os.fdopen(fd, mode)
            for fd, mode, stream in ((0, "r", sys.stdin), (1, "w", sys.stdout), (2, "w", sys.stderr))
        )


def _close_output() -> None:
    """The interpreter's own flush at exit must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(args: Namespace) -> int:
    if args.verb in setup.VERBS:
        return setup.run(args)
    config = args.config or os.environ.get("POSTROAD_CONFIG") or DEFAULT_CONFIG
    match args.verb:
        case "serve":
            return _serve(config)
        case "demo":
            from postroad.demo import run as demo

            return demo.main()
        case "config":
            return _config(config, args)
        case "account":
            if args.action == "show":
                from postroad.cli import account_view

                return account_view.show(config, args.name, as_json=args.json)
            from postroad.cli import account

            return account.run(config, args)
        case "queue":
            return _queue(config, args)
        case "spool":
            from postroad.cli import spool

            verb = spool.check if args.action == "check" else spool.rebuild
            return verb(config, as_json=args.json)
        case _:
            return _running(config, args)


def _running(config: str, args: Namespace) -> int:
    """The verbs that have to do with what runs now."""
    match args.verb:
        case "reload":
            from postroad.cli import reload

            return reload.run(config, as_json=args.json)
        case "why":
            from postroad.cli import why

            return why.run(config, args)
        case "plan":
            from postroad.cli import plan

            return plan.run(config, args)
        case "status":
            from postroad.cli import status

            return status.run(config, as_json=args.json)
        case _:
            from postroad.cli import send

            return send.run(config, args)


def _serve(config: str) -> int:
    from postroad.config import load
    from postroad.daemon.main import main as serve

    return serve(load(config))


def _config(config: str, args: Namespace) -> int:
    if args.action == "check":
        from postroad.cli import check

        return check.run(args.file or config, quiet=args.quiet)
    from postroad.cli import config_show

    return config_show.show(config, args) if args.action == "show" else config_show.show_schema()


def _queue(config: str, args: Namespace) -> int:
    if args.action in CHANGES:
        from postroad.cli import queue_change

        return queue_change.run(config, args.action, args)
    from postroad.cli import queue

    match args.action:
        case "list":
            return queue.list_queue(config, args)
        case "show":
            return queue.show(config, args)
        case "shape":
            from postroad.cli import queue_shape

            return queue_shape.run(config, args)
        case _:
            return queue.cat(config, args.id)
