"""A message that may not be sent as it came is made fit before anything of it is promised or signed.

The work is `mail.mending`; here it is done off the loop, a large body read from its file
and written to a new one, a window in memory at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from postroad.mail.canonical import RelaxedBodyHasher
from postroad.mail.data import LONG_LINE
from postroad.mail.frozen import dataclass
from postroad.mail.mending import Edit, Mended, edited, mend
from postroad.mail.message import Content, StagedBody
from postroad.mail.mime import MAX_DEPTH, Octets, may_nest, surely_flat, too_deep
from postroad.mail.reply import Reply
from postroad.ports.spool import Spool

_T = TypeVar("_T")
TOO_LONG = Reply(550, (f"A line of more than {LONG_LINE} octets",), "5.6.0")


@dataclass(frozen=True, slots=True)
class Fitness:
    """What is done about content that not every host may be sent.

    `long_lines`: encode | refuse | pass; `downgrade`: octets above 127 are encoded. `depth`: how far
    parts may be nested.
    """

    long_lines: str = "encode"
    downgrade: bool = False
    depth: int = MAX_DEPTH


class Mender:
    """Makes contents fit as `fitness` asks for; `concerns` says at the cost of a look whether it has to."""

    def __init__(self, spool: Spool, fitness: Fitness) -> None:
        self._spool = spool
        self.fitness = fitness

    def concerns(self, content: Content) -> bool:
        """Whether `mend` has anything to look at: parts, or what not every host may be sent."""
        return self._unfit(content) or may_nest(content.head)

    def _unfit(self, content: Content) -> bool:
        fitness = self.fitness
        return (content.long_lines and fitness.long_lines != "pass") or (
            content.eight_bit and fitness.downgrade
        )

    async def _nesting(self, content: Content) -> Reply | None:
        """The refusal of a message whose parts lie too deep in one another."""
        body, depth = content.body, self.fitness.depth
        if isinstance(body, bytes) and surely_flat(body, depth):
            return None
        wrong = await self._read(body, lambda octets: too_deep(content.head, octets, depth))
        return None if wrong is None else Reply(550, (f"A message with {wrong}",), "5.6.0")

    async def mend(self, content: Content, id: str) -> Content | Reply:
        """The content to be sent, or the reply that refuses it. Raises StorageFull, OSError.

        A body staged anew is in a file named for `id`; the old one is removed.
        """
        if may_nest(content.head):
            refusal = await self._nesting(content)
            if refusal is not None:
                return refusal
        if not self._unfit(content):
            return content
        fitness = self.fitness
        long = content.long_lines and fitness.long_lines != "pass"
        if long and fitness.long_lines == "refuse":
            return TOO_LONG
        body = content.body

        def plan(octets: Octets) -> Mended | Reply:
            return mend(
                content.head, octets, long_lines=long, downgrade=fitness.downgrade, depth=fitness.depth
            )

        mended = await self._read(body, plan)
        if isinstance(mended, Reply):
            return mended
        made = body if not mended.edits else await self._rewritten(body, mended.edits, id)
        return Content(mended.head, made, content.dotted, mended.eight_bit)

    async def _rewritten(
        self, body: bytes | StagedBody, edits: tuple[Edit, ...], id: str
    ) -> bytes | StagedBody:
        if isinstance(body, bytes):
            return await self._read(body, lambda octets: b"".join(edited(octets, edits)))
        file = self._spool.stage(id)
        hasher = RelaxedBodyHasher()
        try:
            with self._spool.staged(body) as octets:
                source = edited(octets, edits)
                while (piece := await asyncio.to_thread(_next, source, hasher)) is not None:
                    await file.write(piece)
            staged = file.finish(hasher.digest())
        except BaseException:
            file.discard()
            raise
        self._spool.discard(body)
        return staged

    async def _read(self, body: bytes | StagedBody, work: Callable[[Octets], _T]) -> _T:
        opened: AbstractContextManager[Octets] = (
            nullcontext(body) if isinstance(body, bytes) else self._spool.staged(body)
        )

        def run() -> _T:
            with opened as octets:
                return work(octets)

        return await asyncio.to_thread(run)


def _next(source: Iterator[bytes], hasher: RelaxedBodyHasher) -> bytes | None:
    """The next piece, hashed; None at the end."""
    for piece in source:
        if piece:
            hasher.update(piece)
            return piece
    return None
