"""`sendmail -bv`: whether addresses are addresses, and where their mail would go by name."""

from __future__ import annotations

from postroad.cli.sendmail_message import BadMessage, addresses
from postroad.mail.address import AddressError, parse_address

EX_NOUSER = 67


def verify(arguments: list[str], origin: str) -> int:
    """One line an address; 0 when mail can be tried for all of them, else 67 (EX_NOUSER)."""
    lines = [_verdict(argument, origin) for argument in arguments]
    for _, line in lines:
        print(line)
    return 0 if all(fine for fine, _ in lines) else EX_NOUSER


def _verdict(argument: str, origin: str) -> tuple[bool, str]:
    try:
        found = addresses(argument)
        parsed = [parse_address(one, smtputf8=True, default_domain=origin) for one in found]
    except (AddressError, BadMessage) as error:
        shown = "".join(c if c.isprintable() else "?" for c in argument)
        return False, f"{shown}... undeliverable: {error}"
    return True, "\n".join(f"{one}... deliverable: mailer smtp, host {one.domain}" for one in parsed)
