"""How accounts are spelled, as whom they may send, and by which certificate they are known."""

from __future__ import annotations

import re

from postroad.config.hosts import network
from postroad.config.names import domain
from postroad.config.problems import BadValue, shown
from postroad.config.spelling import TEXT, matching, spelled
from postroad.config.values import choice, text
from postroad.mail.account import NETWORK, USER, of_network
from postroad.mail.message import Lane
from postroad.mail.sasl import SaslError, login_name

_LOCAL = re.compile(r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]|[^\x00-\x7f]){1,64}")
_LANES = tuple(each.name.lower() for each in Lane)


@spelled(TEXT)
def login(value: object) -> str:
    """The name of an account that logs in."""
    try:
        return login_name(text(value).encode())
    except SaslError:
        raise BadValue(f"expected the name of an account, got {shown(value)}") from None


@spelled(TEXT)
def account_pattern(value: object) -> str:
    """The name of an account, "net:ADDRESS", "net:NETWORK", "uid:NUMBER", or a pattern with "*"."""
    word = text(value)
    if len(word) > 255 or " " in word:
        raise BadValue(f"expected the name of an account, got {shown(value)}")
    if word.startswith(NETWORK) and "*" not in word:
        try:
            found = network(word.removeprefix(NETWORK))
        except BadValue as bad:
            raise BadValue(f'after "{NETWORK}": {bad}') from None
        return of_network(str(found if "/" in word else found.network_address))
    if word.startswith(USER) and not re.fullmatch(r"[0-9]{1,10}|\*", word.removeprefix(USER)):
        raise BadValue(f'expected "{USER}" and a number, or "{USER}*", got {shown(value)}')
    return word


@spelled(TEXT)
def sender_pattern(value: object) -> str:
    """As whom an account may send (`mail.senders`): addresses, domains, wildcards, {account}."""
    word = text(value)
    if word in ("*", "{account}"):
        return word
    local, at, name = word.rpartition("@")
    prefix = "*." if name.startswith("*.") else ""
    try:
        if at and (not _LOCAL.fullmatch(local) or " " in local):
            raise BadValue("no local part")
        return f"{local}{at}{prefix}{domain(name.removeprefix(prefix))}"
    except BadValue:
        raise BadValue(
            'expected "anna@example.com", "example.com", "*.example.com", "*@example.com", '
            f'"{{account}}@example.com" or "*", got {shown(value)}'
        ) from None


@spelled({"enum": list(_LANES)})
def lane(value: object) -> Lane:
    return Lane[str(choice(*_LANES)(value)).upper()]


@spelled(matching("(:*[0-9A-Fa-f]){64}:*"))
def fingerprint(value: object) -> str:
    """SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it; answered in lower case."""
    word = text(value).replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", word):
        raise BadValue(f'expected 32 octets such as "AB:CD:...", got {shown(value)}')
    return word
