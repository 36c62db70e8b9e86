"""The resolver over dnspython, against a real server on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroad.adapters import dns as adapter
from postroad.adapters.dns import Cache, DnsResolver, Records, absolute
from postroad.demo.process import HANGS_AFTER
from postroad.ports.resolver import AddressAnswer, MxAnswer, NoData, NoSuchName, TryLater
from tests.support.dns_server import DnsServer

ZONE = {
    "example.com": {"MX": ["10 mx.example.com."]},
    "mx.example.com": {"A": ["192.0.2.1"]},
    "alias.example": {"CNAME": ["example.com."]},
    "xn--bcher-kva.example": {"MX": ["10 mx.example.com."]},
    "mail_host.example.com": {"A": ["192.0.2.7"]},
}


def ask(server: DnsServer, timeout: float = HANGS_AFTER) -> DnsResolver:
    return DnsResolver([("127.0.0.1", server.port)], timeout=timeout)


async def test_an_answer_is_asked_for_once_and_then_kept() -> None:
    async with DnsServer(ZONE) as server:
        resolver = ask(server)
        await resolver.mx("example.com")
        await resolver.mx("EXAMPLE.com.")
        assert server.asked == {("example.com", "MX"): 1}


async def test_failures_and_absence_are_kept_too() -> None:
    async with DnsServer(ZONE, servfail={"broken.example"}) as server:
        resolver = ask(server)
        for _ in range(3):
            assert isinstance(await resolver.mx("broken.example"), TryLater)
            assert await resolver.mx("absent.example") == NoSuchName()
            assert await resolver.mx("mx.example.com") == NoData()
        assert set(server.asked.values()) == {1}


async def test_questions_asked_together_are_one_query() -> None:
    async with DnsServer(ZONE) as server:
        resolver = ask(server)
        answers = await asyncio.gather(*(resolver.mx("example.com") for _ in range(20)))
        assert all(isinstance(answer, MxAnswer) for answer in answers)
        assert server.asked["example.com", "MX"] == 1


async def test_when_the_one_who_asks_is_cancelled_another_asks() -> None:
    async with DnsServer(ZONE, drop={"example.com"}) as server:
        resolver = ask(server)
        first = asyncio.create_task(resolver.mx("example.com"))
        second = asyncio.create_task(resolver.mx("example.com"))
        while not server.asked:
            await asyncio.sleep(0)
        server.drop.clear()
        first.cancel()
        assert isinstance(await second, MxAnswer)


async def test_a_silent_server_is_try_later() -> None:
    async with DnsServer(ZONE, drop={"example.com"}) as server:
        assert await ask(server, timeout=0.1).mx("example.com") == TryLater("MX example.com: timed out")


async def test_a_truncated_answer_is_asked_again_by_tcp() -> None:
    async with DnsServer(ZONE, truncate={"example.com"}) as server:
        assert isinstance(await ask(server).mx("example.com"), MxAnswer)
        assert server.over_tcp == 1


async def test_an_alias_is_followed() -> None:
    async with DnsServer(ZONE) as server:
        answer = await ask(server).mx("alias.example")
        assert isinstance(answer, MxAnswer)
        assert answer.records[0].host == "mx.example.com"


async def test_names_are_asked_for_as_a_labels_and_hosts_may_have_underscores() -> None:
    async with DnsServer(ZONE) as server:
        resolver = ask(server)
        assert isinstance(await resolver.mx("Bücher.example"), MxAnswer)
        assert isinstance(await resolver.addresses("mail_host.example.com"), AddressAnswer)


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "a" * 64 + ".example", "a\\.b", "a\r\nb", "ü" * 300, "x." * 200, "a\0b"]
)
async def test_what_cannot_be_a_name_does_not_exist_and_is_not_asked(name: str) -> None:
    async with DnsServer(ZONE) as server:
        assert await ask(server).mx(name) == NoSuchName()
        assert not server.asked


async def test_one_family_is_enough_when_the_other_cannot_be_asked() -> None:
    async with DnsServer(ZONE, servfail={"mx.example.com/AAAA"}) as server:
        answer = await ask(server).addresses("mx.example.com")
        assert isinstance(answer, AddressAnswer)
        assert answer.v4 == ("192.0.2.1",)


@pytest.mark.parametrize(("published", "kept"), [(5, 60.0), (300, 300.0), (604800, 3600.0)])
async def test_a_ttl_is_kept_between_a_minute_and_an_hour(published: int, kept: float) -> None:
    async with DnsServer(ZONE, ttl=published) as server:
        answer = await ask(server).mx("example.com")
        assert isinstance(answer, MxAnswer)
        assert answer.ttl == kept


async def test_the_cache_forgets_what_was_longest_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "MAX_CACHED", 2)
    cache = Cache()
    cache.put(("a.", "MX"), NoData())
    cache.put(("b.", "MX"), NoData())
    cache.get(("a.", "MX"))
    cache.put(("c.", "MX"), NoData())
    assert [cache.get((name, "MX")) is not None for name in ("a.", "b.", "c.")] == [True, False, True]


async def test_an_expired_answer_is_gone() -> None:
    cache = Cache()
    cache.put(("a.", "MX"), Records(((10, "mx.example.com"),), ttl=-1.0))
    assert cache.get(("a.", "MX")) is None


async def test_not_more_questions_than_allowed_are_under_way_at_once() -> None:
    names = [f"{number}.example" for number in range(10)]
    async with DnsServer(ZONE, drop=names) as server:
        resolver = DnsResolver([("127.0.0.1", server.port)], timeout=HANGS_AFTER, max_in_flight=3)
        tasks = [asyncio.create_task(resolver.mx(name)) for name in names]
        while len(server.asked) < 3:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(server.asked) == 3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("content", [None, "# nothing\n"])
def test_without_a_nameserver_the_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "resolv.conf"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"resolv\.conf: no nameserver"):
        DnsResolver(resolv_conf=str(path))


def test_nameservers_come_from_resolv_conf_unless_given(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.53\n")
    assert "192.0.2.53" in str(DnsResolver(resolv_conf=str(path))._resolver.nameservers[0])
    assert "192.0.2.54" in str(DnsResolver(["192.0.2.54"], resolv_conf=str(path))._resolver.nameservers[0])


def test_a_name_is_lower_case_with_its_final_dot() -> None:
    assert absolute("Example.COM") == "example.com."
