"""The verbs that need no configuration: they make one, install the program, or explain it."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

VERBS = ("quickstart", "install", "uninstall", "manual", "completion")


def run(args: Namespace) -> int:
    match args.verb:
        case "quickstart":
            from postroad.cli import quickstart

            return quickstart.run(args)
        case "manual":
            from postroad.cli import manual

            return manual.show(args.page)
        case "completion":
            from postroad.cli import completion

            sys.stdout.write(completion.script(args.shell))
            return os.EX_OK
        case _:
            from postroad.cli import install

            return install.install(args) if args.verb == "install" else install.uninstall(args)
