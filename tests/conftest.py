"""For the whole suite: how long generated examples take is a fact of the machine, not of the code."""

from __future__ import annotations

import os
import signal

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
