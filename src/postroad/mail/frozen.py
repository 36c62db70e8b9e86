"""Values that nobody changes: held to it by the type checker, at no cost when the program runs.

A frozen dataclass of the standard library sets each field by a call, so that making a
value of 16 fields takes 1.5 us in place of 0.35, and every message takes a few dozen of
them. To the type checker `dataclass` here is the standard library's, and assignment to a
field of a frozen one is an error; when the program runs, the class has the same equality
and hash, and plain fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    import dataclasses

    def dataclass(cls=None, /, *, frozen=False, **options):
        """As the standard library's, but that `frozen` gives the hash without the lock."""
        options.setdefault("unsafe_hash", frozen)
        return dataclasses.dataclass(cls, **options)
