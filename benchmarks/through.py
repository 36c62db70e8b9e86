"""Through: mail in at one end, out at the other, Postroad and Postfix in turn on the same machine.

    python benchmarks/through.py [--case NAME ...] [--pairs 5] [--messages N] [--json FILE]
                                 [--postfix "SETTING = VALUE" ...]

Both get a temporary directory on the same disk, loopback ports and the same sink;
each case starts both, warms both up, and then measures them in turn, A B A B. Both
make each message durable before its 250 (Postfix: fsync by cleanup(8); Postroad:
fdatasync of its segment and of its index). Needs root, because Postfix does, and a
machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from cases import CASES
from children import Failed
from duels import Run, duel, row

HEAD = """\
| case | Postfix /s | Postroad /s | ratio (min to max) | goal | Postfix ms CPU | Postroad ms CPU \
| Postfix MiB RSS / PSS | Postroad MiB RSS / PSS |
|---|---|---|---|---|---|---|---|---|"""


def told(name: str, run: Run) -> None:
    load = os.getloadavg()[0]
    print(
        f"  {name:9} {run.rate:8.0f}/s  {run.cpu * 1000:6.2f} ms CPU a message  (load {load:.1f})",
        file=sys.stderr,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only these")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--messages", type=int, help="of each run, in place of the case's own number")
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--postfix", action="append", default=[], help="a further line of its main.cf")
    options = parser.parse_args()
    chosen = [case for case in CASES if not options.case or case.name in options.case]
    verdicts, failed = [], 0
    for case in chosen:
        print(f"{case.name}: {case.title}", file=sys.stderr)
        messages = options.messages or case.messages
        try:
            verdicts.append((case, duel(case, options.pairs, messages, told, tuple(options.postfix))))
        except Failed as error:
            failed += 1
            print(f"  failed: {error}", file=sys.stderr)
    print(f"\n{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs\n")
    print("\n".join([HEAD, *(row(case, verdict) for case, verdict in verdicts)]))
    if options.json:
        options.json.write_text(json.dumps([verdict.as_json() for _, verdict in verdicts], indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
