"""The virtual loop: time jumps to the next deadline when everybody waits, so days pass in milliseconds.

    @virtual
    async def test_something() -> None:
        await asyncio.sleep(86400)

Sleeps, timeouts and timers are those of asyncio; nothing knows. There is no real I/O.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from postroad.mail.message import Instant, Seconds
from tests.support.build import NOW

P = ParamSpec("P")


class Deadlock(RuntimeError):
    """Everybody waits and nothing is scheduled: nothing could ever happen again."""


class _Jumping(selectors.SelectSelector):
    """Instead of waiting it moves the time on."""

    now: Seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise Deadlock("every task waits and no timer is set")
        if not ready and timeout is not None:
            self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """At once and in this thread: work done elsewhere takes no time here."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class VirtualClock:
    """`Clock`: NOW when the loop started, and as much later as the loop is.

    `stepped` is what people set it forward by.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.stepped: Seconds = 0.0

    def now(self) -> Instant:
        return NOW + self._loop.time() + self.stepped


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """An `async def` as a plain function that runs on a loop of its own; for tests and under hypothesis."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
