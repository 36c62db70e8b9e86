"""kill -9 at random points under load: what had its 250 is delivered or waits, octet for octet.

POSTROAD_KILLS says how many (30); POSTROAD_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter

import pytest

from postroad.demo.process import DaemonFailed
from postroad.demo.world import Site, World
from postroad.mail.throttle import Limits
from tests.crash.load import Load, again, altered, arrived
from tests.support.daemon import Daemon

KILLS = int(os.environ.get("POSTROAD_KILLS", "30"))
SEED = int(os.environ.get("POSTROAD_SEED", "1"))


# What a receiver has taken and whose 250 we have not read yet comes twice, and nobody can help it:
# of each connection one message. (Of a quick receiver three in all, see tests/adapters/test_smtp_dots.py;
# whether this one is quick depends on the machine.)
MOST_AT_A_KILL = Limits().connections


async def kill_under_load(daemon: Daemon, name: str, chance: random.Random) -> list[str]:
    load = Load(daemon.port, name, clients=chance.choice([1, 4, 20]))
    await load.until(chance.randint(1, 40))
    await asyncio.sleep(chance.random() / 20)
    os.kill(daemon.process.pid, signal.SIGKILL)
    await daemon.process.wait()
    return await load.end()


async def deliver_all(daemon: Daemon, site: Site, taken: set[str]) -> None:
    """However often the daemon died in an attempt, nobody has to ask for the next one."""
    try:
        await daemon.until(lambda: taken <= set(arrived(site)), what="all that was taken")
    except DaemonFailed as failed:
        waiting = await daemon.queue()
        missing = len(taken - set(arrived(site)))
        raise AssertionError(f"{missing} have not arrived, {len(waiting)} wait: {waiting[:3]}") from failed


def ambiguous(daemon: Daemon) -> Counter[tuple[str, str]]:
    """How often each (queue id, recipient) was named after a start as one that may come twice."""
    return Counter((line["id"], to) for line in daemon.events("ambiguous") for to in line["to"])


def named_at_starts(daemon: Daemon) -> list[set[str]]:
    """Which messages were named at each start, before it told what it had recovered."""
    found: list[set[str]] = [set()]
    for line in daemon.lines:
        if line.get("event") == "recovered":
            found.append(set())
        elif line.get("event") == "ambiguous":
            found[-1].add(line["id"])
    return found


@pytest.mark.timeout(600 + 30 * KILLS)
async def test_nothing_that_had_its_250_is_lost_and_only_the_ambiguous_may_come_twice() -> None:
    chance = random.Random(SEED)
    taken: set[str] = set()
    async with World([Site("harbour.example")]) as world:
        site = world["harbour.example"]
        async with Daemon({"harbour.example": site.port}) as daemon:
            for number in range(KILLS):
                taken.update(await kill_under_load(daemon, f"k{number}", chance))
                await daemon.restart()
            await deliver_all(daemon, site, taken)
            assert await daemon.process.stop() == 0
            status, out, _ = await daemon.process.command("spool", "check", "--json")
            assert (await daemon.queue(), status) == ([], 0), out
        counted, doubled, named = arrived(site), again(site), ambiguous(daemon)
        heard = sum(line["heard"] for line in daemon.events("recovered"))
        print(
            f"{KILLS} kills: {len(taken)} taken, {len(counted)} arrived, {len(taken - set(counted))} lost, "
            f"{doubled.total()} came again, {named.total()} were reported as ambiguous, {heard} as heard"
        )
        assert taken <= set(counted)
        assert altered(site) == []
        assert doubled <= named
        assert named.total() == sum(line["ambiguous"] for line in daemon.events("recovered"))
        assert max(map(len, named_at_starts(daemon))) <= MOST_AT_A_KILL
