"""What every Resolver promises, fake and real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from postroad.adapters.dns import DnsResolver
from postroad.demo.process import HANGS_AFTER
from postroad.ports.resolver import AddressAnswer, MxRecord, NoData, NoSuchName, Resolver, TryLater
from tests.support.dns_server import DnsServer
from tests.support.scripted_network import ScriptedResolver

FAILING = {"broken.example"}


@pytest.fixture(params=["scripted", "dnspython"])
async def resolver(request: pytest.FixtureRequest) -> AsyncIterator[Resolver]:
    if request.param == "scripted":
        zone: dict[str, dict[str, list[Any]]] = {
            "example.com": {"MX": [(20, "mx2.example.com"), (10, "mx1.example.com")]},
            "mx1.example.com": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
            "mx2.example.com": {"A": ["192.0.2.2", "192.0.2.3"]},
            "null.example": {"MX": [(0, ".")]},
            "empty.example": {"TXT": ["hello"]},
        }
        yield ScriptedResolver(zone, failing=FAILING)
        return
    published = {
        "example.com": {"MX": ["20 mx2.example.com.", "10 MX1.example.com."]},
        "mx1.example.com": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
        "mx2.example.com": {"A": ["192.0.2.2", "192.0.2.3"]},
        "null.example": {"MX": ["0 ."]},
        "empty.example": {"TXT": ["hello"]},
    }
    async with DnsServer(published, servfail=FAILING) as server:
        yield DnsResolver([("127.0.0.1", server.port)], timeout=HANGS_AFTER)


async def test_mx_records_come_as_published(resolver: Resolver) -> None:
    answer = await resolver.mx("example.com")
    assert set(getattr(answer, "records", ())) == {
        MxRecord(10, "mx1.example.com"),
        MxRecord(20, "mx2.example.com"),
    }
    assert getattr(answer, "ttl", 0) == pytest.approx(300, abs=5)


async def test_the_null_mx_is_a_record_whose_host_is_a_dot(resolver: Resolver) -> None:
    assert getattr(await resolver.mx("null.example"), "records", ()) == (MxRecord(0, "."),)


async def test_addresses_of_both_families_come_together(resolver: Resolver) -> None:
    answer = await resolver.addresses("mx1.example.com")
    assert isinstance(answer, AddressAnswer)
    assert (answer.v4, answer.v6) == (("192.0.2.1",), ("2001:db8::1",))


async def test_one_family_alone_is_an_answer(resolver: Resolver) -> None:
    answer = await resolver.addresses("mx2.example.com")
    assert isinstance(answer, AddressAnswer)
    assert (set(answer.v4), answer.v6) == ({"192.0.2.2", "192.0.2.3"}, ())


async def test_a_name_without_such_records_is_told_from_a_name_that_does_not_exist(
    resolver: Resolver,
) -> None:
    assert await resolver.mx("empty.example") == NoData()
    assert await resolver.addresses("empty.example") == NoData()
    assert await resolver.mx("absent.example") == NoSuchName()
    assert await resolver.addresses("absent.example") == NoSuchName()


async def test_a_server_failure_is_try_later_and_says_why(resolver: Resolver) -> None:
    assert await resolver.mx("broken.example") == TryLater("MX broken.example: SERVFAIL")
    assert await resolver.addresses("broken.example") == TryLater("A broken.example: SERVFAIL")


@pytest.mark.parametrize(
    ("host", "v4", "v6"),
    [
        ("192.0.2.9", ("192.0.2.9",), ()),
        ("[192.0.2.9]", ("192.0.2.9",), ()),
        ("[IPv6:2001:db8::9]", (), ("2001:db8::9",)),
    ],
)
async def test_an_address_is_its_own_answer_and_has_no_mx(
    resolver: Resolver, host: str, v4: tuple[str, ...], v6: tuple[str, ...]
) -> None:
    answer = await resolver.addresses(host)
    assert isinstance(answer, AddressAnswer)
    assert (answer.v4, answer.v6) == (v4, v6)
    assert await resolver.mx(host) == NoData()
