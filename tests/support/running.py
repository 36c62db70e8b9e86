"""Run components for the length of a block, as their owner's task group would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol


class Component(Protocol):
    async def run(self) -> None: ...

    def close(self) -> None: ...


@asynccontextmanager
async def running(*components: Component) -> AsyncIterator[None]:
    """Started in order, closed at the end of the block; what a component raises comes out of it."""
    async with asyncio.TaskGroup() as group:
        for component in components:
            group.create_task(component.run())
        try:
            yield
        finally:
            for component in reversed(components):
                component.close()
