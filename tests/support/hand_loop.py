"""An event loop whose time is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast


class HandLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still until it is moved."""

    now = 0.0

    @classmethod
    def running(cls) -> HandLoop:
        return cast(HandLoop, asyncio.get_running_loop())

    def time(self) -> float:
        return self.now

    async def move(self, seconds: float) -> None:
        """Let the time pass and everything run that is due by then."""
        self.now += seconds
        for _ in range(5):
            await asyncio.sleep(0)


def run_by_hand(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    with asyncio.Runner(loop_factory=HandLoop) as runner:
        runner.run(main())
