"""Group commit: one thread that makes everything durable that waited while it was busy.

A sync costs the same for one change as for a hundred. So changes queue up while
the thread is in one, and form the next *burst*: committed together, answered
together by one wake-up of the loop. What one turn of the loop submits is handed over
together at its end, so that thread and loop contend for the interpreter once, not
once a change. A lone change waits for nobody.

Used by the spool and by the index, the two places where something becomes durable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from postroad.ports.storage import StorageBroken

Item = TypeVar("Item")
Result = TypeVar("Result")

# A bound on how long the first change of a burst waits for the last one's work: no hand-over
# is larger, and a burst takes no further one once it has this many.
MAX_BURST = 512

Waiting = tuple[Item, "asyncio.Future[Result]"]


class GroupCommit(Generic[Item, Result]):
    """A component: `submit` from the loop, `run` in a task group, `close` to finish.

    `commit(burst)` runs in the thread and answers one result, or the exception to
    raise, for each item of the burst. When it raises itself, nothing is known any
    more: all that waits and all that comes fails with StorageBroken, and so does
    `run`, which ends the process. `finish` runs in the thread after the last burst.
    """

    def __init__(
        self,
        name: str,
        commit: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        self._commit = commit
        self._finish = finish
        self._gathered: list[Waiting[Item, Result]] = []
        self._waiting: SimpleQueue[list[Waiting[Item, Result]] | None] = SimpleQueue()
        # A daemon thread, so that an interpreter which dies without `close` does
        # not wait for it: what was answered is durable, the rest was not promised.
        self._thread = Thread(target=self._serve, name=name, daemon=True)
        self._closed = False
        self._broken: StorageBroken | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._busy_since: float | None = None

    def busy_for(self) -> float:
        """Seconds that the thread has been at its present burst; 0 while it waits for one."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Hand over a change; it will be committed from here on, whoever is cancelled."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        if self._broken is not None:
            future.set_exception(self._broken)
        elif self._closed:
            # While another part's failure ends the process: that one is the reason.
            future.set_exception(StorageBroken(f"{self._thread.name} is closed"))
        else:
            if not self._gathered:
                loop.call_soon(self._hand_over)
            self._gathered.append((item, future))
        return future

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        for start in range(0, len(gathered), MAX_BURST):
            self._waiting.put(gathered[start : start + MAX_BURST])

    async def run(self) -> None:
        """Serve until `close`; raises StorageBroken when storage broke. Cancelled, it finishes first."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._thread.start()
        try:
            await self._ended
        finally:
            self.close()
            self._thread.join()
        if self._broken is not None:
            raise self._broken

    def close(self) -> None:
        """Take no more; what waits is still committed and answered. May be called twice."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._waiting.put(None)

    def fail(self, error: StorageBroken) -> None:
        """Storage broke elsewhere: from now on everything fails with `error`, and `run` raises it."""
        self._broken = self._broken or error
        self._end()

    # --- in the thread ---------------------------------------------------------

    def _serve(self) -> None:
        last = False
        while not last:
            burst, last = self._take()
            if burst:
                self._busy_since = time.monotonic()
                results = self._attempt([item for item, _ in burst])
                self._busy_since = None
                self._tell(self._answer, burst, results)
        self._guarded_finish()
        self._tell(self._end)

    def _take(self) -> tuple[list[Waiting[Item, Result]], bool]:
        """All that waits, at least one; and whether it was the last."""
        burst: list[Waiting[Item, Result]] = []
        entry = self._waiting.get()
        while entry is not None:
            burst += entry
            if len(burst) >= MAX_BURST:
                return burst, False
            try:
                entry = self._waiting.get_nowait()
            except Empty:
                return burst, False
        return burst, True

    def _attempt(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        if self._broken is None:
            try:
                return self._commit(items)
            except StorageBroken as error:
                self._broken = error
            except Exception as error:
                # A bug, or a failure nobody foresaw: what is durable is unknown.
                self._broken = StorageBroken(f"{self._thread.name}: {type(error).__name__}: {error}")
                self._broken.__cause__ = error
            self._tell(self._end)
        return [self._broken] * len(items)

    def _guarded_finish(self) -> None:
        try:
            self._finish()
        except Exception as error:
            self._broken = self._broken or StorageBroken(f"{self._thread.name}: {error}")

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop is closed: nobody is left who could hear an answer.
            if not self._loop.is_closed():
                raise

    # --- on the loop -------------------------------------------------------------

    def _answer(self, burst: Sequence[Waiting[Item, Result]], results: Sequence[Result | Exception]) -> None:
        for (_, future), result in zip(burst, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _end(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
