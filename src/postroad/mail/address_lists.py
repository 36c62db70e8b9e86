"""Whether a header field such as To holds what it may hold: a list of addresses (RFC 5322 3.4, RFC 6854)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from postroad.mail.address import AddressError, parse_address

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<quoted>"(?:[^"\\]|\\.)*")
    |(?P<literal>\[[^\[\]\\]*\])
    |(?P<special>[()<>,:;@.])
    |(?P<atom>[^ \t\r\n"\[\]\\()<>,:;@.]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_COMMENT = re.compile(r"[^()\\]+|\\.|[()]", re.DOTALL)


class _Token(NamedTuple):
    kind: str
    text: str


class _Fault(Exception):
    pass


def list_fault(text: str, *, most: int | None = None) -> str | None:
    """What is wrong with a list of addresses, `most` of them at most; None: nothing."""
    try:
        count = _counted(_tokens(text))
    except _Fault as fault:
        return str(fault)
    return f"holds {count} addresses, where {most} may stand" if most is not None and count > most else None


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _Fault(f"has {text[position]!a} where none may stand")
        position = match.end()
        kind = str(match.lastgroup)
        if match[0] == "(":
            position = _comment_end(text, position)
        elif match[0] == ")":
            raise _Fault("has a ) without its (")
        elif kind != "space":
            found.append(_Token(kind, match[0]))
    return found


def _comment_end(text: str, position: int) -> int:
    depth = 1
    while depth:
        match = _IN_COMMENT.match(text, position)
        if match is None:
            raise _Fault("has a comment without an end")
        position = match.end()
        depth += (match[0] == "(") - (match[0] == ")")
    return position


def _counted(tokens: list[_Token]) -> int:
    """How many mailboxes there are; raises _Fault."""
    count = 0
    mailbox: list[_Token] = []
    grouped = ended = angle = False
    for token in tokens:
        if token.text == "<":
            angle = True
        elif token.text == ">":
            angle = False
        if token.kind != "special" or angle or token.text not in ",:;":
            if ended:
                raise _Fault("has no comma behind a group")
            mailbox.append(token)
        elif token.text == ":":
            if grouped or not _is_phrase(mailbox):
                raise _Fault("has a : that begins no group")
            grouped, mailbox = True, []
        elif token.text == ";":
            if not grouped:
                raise _Fault("has a ; that ends no group")
            count += _mailbox(mailbox) if mailbox else 0
            grouped, ended, mailbox = False, True, []
        else:
            count += 0 if ended and not mailbox else _mailbox(mailbox)
            ended, mailbox = False, []
    if grouped:
        raise _Fault("has a group without its ;")
    if not ended:
        count += _mailbox(mailbox)
    return count


def _mailbox(tokens: list[_Token]) -> int:
    if not tokens:
        raise _Fault("has an empty place in its list")
    texts = [token.text for token in tokens]
    if "<" in texts:
        start = texts.index("<")
        if texts[-1] != ">" or texts.count("<") > 1 or (start and not _is_phrase(tokens[:start])):
            raise _Fault(f"has no address in {_shown(texts)}")
        tokens = tokens[start + 1 : -1]
    for left, right in pairwise(tokens):
        if left.kind != "special" and right.kind != "special":
            raise _Fault(f"has no address in {_shown(texts)}")
    try:
        parse_address("".join(token.text for token in tokens), smtputf8=True)
    except AddressError:
        raise _Fault(f"has no address in {_shown(texts)}") from None
    return 1


def _is_phrase(tokens: list[_Token]) -> bool:
    """Words, and the dots that programs write between them (RFC 5322 4.1)."""
    return bool(tokens) and all(token.kind in ("atom", "quoted") or token.text == "." for token in tokens)


def _shown(texts: list[str]) -> str:
    return ascii(" ".join(texts))[:60]
