"""A `Witness` that keeps what it is told."""

from __future__ import annotations

from collections.abc import Collection, Sequence


class Told:
    """`words` in order: "leaves", ("taken", places refused)."""

    def __init__(self) -> None:
        self.words: list[object] = []

    def about(self, message: str, numbers: Sequence[int]) -> None:
        self.words.append((message, *numbers))

    def leaves(self) -> None:
        self.words.append("leaves")

    def taken(self, refused: Collection[int] = ()) -> None:
        self.words.append(("taken", *refused))

    def close(self) -> None:
        self.words.append("close")
