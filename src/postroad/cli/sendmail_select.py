"""Which mail `-qI`, `-qR`, `-qS` and `-qQ` mean: by a part of the id, of an address, of why it is held."""

from __future__ import annotations

from collections.abc import Sequence

from postroad.mail.lifecycle import State
from postroad.mail.message import Message, Recipient

Selector = tuple[str, str, bool]


def matches(message: Message, recipients: Sequence[Recipient], selectors: Sequence[Selector]) -> bool:
    """Whether all of them hold; case makes no difference."""
    return all(
        _found(letter, text.casefold(), message, recipients) != negated for letter, text, negated in selectors
    )


def _found(letter: str, text: str, message: Message, recipients: Sequence[Recipient]) -> bool:
    match letter:
        case "I":
            return text in message.id.casefold()
        case "S":
            return text in str(message.sender or "").casefold()
        case "R":
            return any(text in str(each.address).casefold() for each in recipients)
        case _:
            held = [each for each in recipients if each.state is State.HELD]
            return any(text in (each.reason or "").casefold() for each in held)
