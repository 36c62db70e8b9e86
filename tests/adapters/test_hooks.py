from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from postroad.adapters.hooks import HookError, PythonHook, load_hook
from postroad.mail.policy import Verdict, View, hold
from tests.support.policies import view


def seen_from(place: list[int]) -> None:
    place.append(threading.get_ident())


async def test_a_plain_function_runs_off_the_loop() -> None:
    place: list[int] = []

    def hook(shown: View) -> Verdict:
        seen_from(place)
        return hold(shown.account)

    assert await PythonHook(hook).consider(view()) == hold("user")
    assert place != [threading.get_ident()]


async def test_an_async_function_runs_on_the_loop() -> None:
    place: list[int] = []

    async def hook(shown: View) -> None:
        seen_from(place)

    assert await PythonHook(hook).consider(view()) is None
    assert place == [threading.get_ident()]


async def test_an_object_with_an_async_call_is_an_async_hook() -> None:
    class Hook:
        async def __call__(self, shown: View) -> Verdict:
            return hold("x")

    assert await PythonHook(Hook()).consider(view()) == hold("x")


@pytest.mark.parametrize("error", [ValueError, StopIteration, SystemExit, KeyboardInterrupt])
async def test_whatever_a_hook_raises_is_an_error_of_the_hook(error: type[BaseException]) -> None:
    def hook(shown: View) -> None:
        raise error("why")

    with pytest.raises(RuntimeError, match=error.__name__):
        await PythonHook(hook).consider(view())


async def test_no_more_threads_run_than_are_allowed_and_those_done_make_room() -> None:
    gate = threading.Event()
    running: list[int] = []

    def hook(shown: View) -> None:
        running.append(1)
        gate.wait(30)

    policy = PythonHook(hook, threads=2)
    calls = [asyncio.ensure_future(policy.consider(view())) for _ in range(5)]
    while len(running) < 2:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert len(running) == 2
    gate.set()
    await asyncio.gather(*calls)
    assert len(running) == 5


def test_a_hook_is_found_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a_local_policy.py").write_text(
        "class A:\n    @staticmethod\n    def check(view): return None\n"
    )
    assert callable(load_hook("a_local_policy:A.check", tmp_path))


@pytest.mark.parametrize(
    "dotted", ["no_such_module:x", "os.path:no_such_name", "os.path:sep", "a_broken_policy:x"]
)
def test_a_hook_that_cannot_be_had_is_named(dotted: str, tmp_path: Path) -> None:
    (tmp_path / "a_broken_policy.py").write_text('raise ValueError("boom\\x1b[0m")\n')
    with pytest.raises(HookError) as caught:
        load_hook(dotted, tmp_path)
    assert str(caught.value).startswith(dotted)
    assert str(caught.value).isprintable()
