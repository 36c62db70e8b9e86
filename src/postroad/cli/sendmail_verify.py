"""`sendmail -bv`: whether addresses are some, and where their mail would go: aliases and routes followed."""

from __future__ import annotations

from postroad.cli.sendmail_message import BadMessage, addresses
from postroad.config.alias_files import read as read_aliases
from postroad.config.model import Config
from postroad.config.problems import ConfigError
from postroad.mail.address import Address, AddressError, parse_address
from postroad.mail.local_names import LocalNames, expand, waiting
from postroad.mail.message import EnvelopeRecipient
from postroad.mail.printable import printable
from postroad.mail.routing import Routes

EX_NOUSER, EX_TEMPFAIL = 67, 75


def verify(arguments: list[str], origin: str, config: str) -> int:
    """Lines for each address; 0: mail can be tried for all, 67: one is none, 75: it would wait."""
    names, routes = _names_and_routes(config, origin)
    exits = [_verdict(argument, origin, names, routes) for argument in arguments]
    return max(exits, key=(0, EX_TEMPFAIL, EX_NOUSER).index)


def _names_and_routes(config: str, origin: str) -> tuple[LocalNames, Routes]:
    """Of the configuration, as far as this user may read it."""
    from postroad.config import load_sound

    try:
        found: Config = load_sound(config)
    except ConfigError:
        return LocalNames(origin=origin), Routes()
    return read_aliases(found).names, Routes(found.routes)


def _verdict(argument: str, origin: str, names: LocalNames, routes: Routes) -> int:
    try:
        found = [
            parse_address(
                one, smtputf8=True, default_domain=origin if "@" in one else names.domain_for(one, origin)
            )
            for one in addresses(argument)
        ]
    except (AddressError, BadMessage) as error:
        print(printable(f"{argument}... undeliverable: {error}"))
        return EX_NOUSER
    return max((_way(each, names, routes) for each in found), default=0)


def _way(address: Address, names: LocalNames, routes: Routes) -> int:
    expansion = expand((EnvelopeRecipient(address),), names)
    for name, to in expansion.renamed:
        print(f"{name}... aliased to {', '.join(to)}")
    exit = 0
    for one in expansion.recipients:
        if one.address.domain in names.domains:
            print(printable(f"{one.address}... waits: {waiting(one.address.local.lower(), names).text}"))
            exit = EX_TEMPFAIL
        else:
            print(f"{one.address}... deliverable: mailer smtp, host {routes.hop_for(one.address).name}")
    return exit
