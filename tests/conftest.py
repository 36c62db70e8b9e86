"""For the whole suite: how fast the machine is says nothing about the code."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Under nohup or in a script's background the programs that are tested would inherit that they are ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, so that who changes one thing is not stopped by another. POSTROAD_EXPLORE=1
# looks at others.
settings.register_profile(
    "untimed",
    deadline=None,
    derandomize=not os.environ.get("POSTROAD_EXPLORE"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("untimed")

# Here processes and threads meet in real time, and a machine that stands still can make one of them miss its
# moment. Such a test may try once more; the summary names it, so that it can be mended. Elsewhere all is in
# one loop, with the order that the loop gives it and a clock that tests move: what fails there is wrong.
IN_REAL_TIME = ("adapters", "cli", "contracts", "crash", "faults", "world")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in IN_REAL_TIME:
            item.add_marker(pytest.mark.flaky(reruns=1))
