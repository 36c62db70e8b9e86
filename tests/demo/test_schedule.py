"""The demonstration is over in twenty seconds: of these it waits half by the clock, whatever the machine."""

from __future__ import annotations

from pathlib import Path

from postroad.config import load
from postroad.demo.house import furnish, self_signed
from postroad.demo.letters import CLOSED, DAWN, HARBOUR, NOBODY, PATIENCE, SENDER, letters
from postroad.demo.run import DAWN_AFTER, GREYLIST_WINDOW
from postroad.mail.routing import DIRECT
from postroad.parts.material import site_limits
from tests.support.engine import engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, down, greylist, refuse

LONGEST = 10.0


@virtual
async def test_what_it_waits_for_by_the_clock_is_half_of_its_time(tmp_path: Path) -> None:
    self_signed(tmp_path)
    config = load(furnish(tmp_path, 1, ()).config)
    for seed in range(20):
        hosts = {
            f"mx.{HARBOUR}": Host(),
            f"mx.{PATIENCE}": Host(greylist(GREYLIST_WINDOW)),
            f"mx.{CLOSED}": Host(refuse(NOBODY)),
            f"mx.{DAWN}": Host(down()),
        }
        async with engine(hosts, retry=config.retry, limits=site_limits(config)[DIRECT], seed=seed) as post:
            post.transport.hosts[f"mx.{DAWN}"] = Host(down(until=post.clock.now() + DAWN_AFTER))
            for letter in letters():
                await post.submit(*letter.recipients, sender=SENDER)
            await post.gone(within=LONGEST)
            assert len(post.arrived()) == 10
