"""Content policies that are Python of the operator's: plain functions in threads, async ones on the loop."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from asyncio import Future
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from postroad.mail.policy import Verdict, View
from postroad.mail.printable import printable

THREADS = 16
Hook = Callable[[View], Any]


class HookError(ValueError):
    """A hook that cannot be had; the text names it and the cause."""


def load_hook(dotted: str, folder: Path | None = None) -> Hook:
    """The callable that "package.module:name" means; modules in `folder` are found too. Raises HookError.

    Python keeps a module once it is imported: code that changed needs a restart.
    """
    module_name, _, name = dotted.partition(":")
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        # Whatever a module does when it is imported.
        raise HookError(printable(f"{dotted}: {type(error).__name__}: {error}")) from None
    if not callable(found):
        raise HookError(f"{dotted}: is no callable")
    return found  # type: ignore[no-any-return]


class PythonHook:
    """`ports.policy.Policy`. At most `threads` calls of a plain function run at once; the others wait.

    One that never returns keeps its thread, but neither the loop nor the end of the process waits.
    """

    def __init__(self, call: Hook, *, threads: int = THREADS) -> None:
        self._call = call
        self._is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
            getattr(call, "__call__", None)  # noqa: B004
        )
        self._free = asyncio.Semaphore(threads)

    async def consider(self, view: View) -> Verdict | None:
        """Raises whatever the hook raises."""
        result: Verdict | None
        if self._is_async:
            result = await self._call(view)
            return result
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        future: Future[Any] = loop.create_future()
        Thread(target=self._work, args=(loop, future, view), name="policy-hook", daemon=True).start()
        result = await future
        return result

    def _work(self, loop: asyncio.AbstractEventLoop, future: Future[Any], view: View) -> None:
        result: Any = None
        error: Exception | None = None
        try:
            result = self._call(view)
        except BaseException as raised:
            # StopIteration and SystemExit cannot be set on a future, and mean nothing here.
            error = RuntimeError(f"{type(raised).__name__}: {raised}")
        # RuntimeError: the loop was closed, nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._finish, future, result, error)

    def _finish(self, future: Future[Any], result: Any, error: Exception | None) -> None:
        self._free.release()
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
