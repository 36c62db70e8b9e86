from __future__ import annotations

import json

from postroad.mail.outcome import Fault, Kind, Reason, Scope, Stage


def test_the_words_are_stable_and_unlike_each_other() -> None:
    for words in (Kind, Scope, Stage, Reason, Fault):
        values = [str(word) for word in words]
        assert len(set(values)) == len(values)
        assert all(value == value.lower() and value.isascii() for value in values)


def test_the_words_are_stored_and_read_back_as_text() -> None:
    assert Reason(json.loads(json.dumps(Reason.MAYBE_GREYLIST))) is Reason.MAYBE_GREYLIST
