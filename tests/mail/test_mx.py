from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.mx import (
    MOST_HOSTS,
    HostAddresses,
    Plan,
    SiteKey,
    arrange,
    deliverable,
    endpoints,
    group,
    literal_address,
)
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.routing import DIRECT, Endpoint, Hop
from postroad.mail.tls import Requirement, TlsLevel

OWN = frozenset({"out.example.com"})
PUBLIC4, PUBLIC6 = "192.0.2.1", "2001:db8::1"


def keep(hosts: list[tuple[int, str]]) -> None:
    """No shuffle: the order within a preference stays what it was."""


def hosts_of(domain: str, *mx: tuple[int, str], own: Collection[str] = OWN) -> list[tuple[int, str]]:
    arranged = arrange(domain, mx, keep, own)
    assert not isinstance(arranged, Trouble)
    return arranged


def fault(found: object) -> Fault:
    assert isinstance(found, Trouble)
    assert found.stage is Stage.DNS
    assert found.text.isprintable()
    return found.fault


def spots(*hosts: HostAddresses, own: Sequence[str] = (), private: bool = False, limit: int = 5) -> list[str]:
    found = endpoints(hosts, 25, own, private, limit)
    assert not isinstance(found, Trouble)
    return [spot.address for spot in found]


class TestArrange:
    def test_best_preference_first_names_as_they_are_compared(self) -> None:
        assert hosts_of("a.example", (20, "B.example."), (10, "A.Example")) == [
            (10, "a.example"),
            (20, "b.example"),
        ]

    def test_a_domain_without_mx_is_its_own_host(self) -> None:
        assert hosts_of("A.example.") == [(0, "a.example")]

    def test_null_mx_accepts_no_mail(self) -> None:
        assert fault(arrange("a.example", [(0, ".")], keep)) is Fault.NULL_MX
        assert fault(arrange("a.example", [(0, ""), (10, ".")], keep)) is Fault.NULL_MX

    def test_a_dot_among_other_hosts_is_ignored(self) -> None:
        assert hosts_of("a.example", (0, "."), (10, "mx.example")) == [(10, "mx.example")]

    def test_our_own_name_cuts_its_preference_and_worse(self) -> None:
        mx = [(10, "a.example"), (20, "Out.Example.com."), (20, "b.example"), (30, "c.example")]
        assert hosts_of("d.example", *mx) == [(10, "a.example")]

    @pytest.mark.parametrize("domain", ["d.example", "out.example.com"])
    def test_nobody_left_but_ourselves_is_a_loop(self, domain: str) -> None:
        mx = [] if domain in OWN else [(10, "out.example.com"), (20, "b.example")]
        assert fault(arrange(domain, mx, keep, OWN)) is Fault.LOOP

    def test_a_host_named_twice_is_tried_once_at_its_best(self) -> None:
        assert hosts_of("d.example", (20, "a.example"), (10, "A.example.")) == [(10, "a.example")]

    def test_a_flood_of_hosts_is_cut_the_same_way_each_time(self) -> None:
        mx = [(n // 3, f"{n:02}.example") for n in range(60)]
        for seed in range(5):
            arranged = arrange("d.example", mx, Random(seed).shuffle)
            assert isinstance(arranged, list)
            assert {host for _, host in arranged} == {f"{n:02}.example" for n in range(MOST_HOSTS)}

    def test_equal_preferences_come_in_uniformly_random_order(self) -> None:
        random = Random(20261123)
        mx = [(10, "a.example"), (10, "b.example"), (10, "c.example"), (20, "d.example")]
        orders: Counter[tuple[str, ...]] = Counter()
        for _ in range(1200):
            arranged = arrange("e.example", mx, random.shuffle)
            assert isinstance(arranged, list)
            orders[tuple(host for _, host in arranged)] += 1
        assert {order[3] for order in orders} == {"d.example"}
        chi_square = sum((count - 200) ** 2 / 200 for count in orders.values())
        assert len(orders) == 6
        assert chi_square < 20.5  # 5 degrees of freedom, one in a thousand

    @given(
        st.lists(
            st.tuples(st.integers(0, 3), st.sampled_from(["a.x", "b.x.", "C.x", ".", "out.example.com"]))
        ),
        st.randoms(use_true_random=False),
    )
    def test_what_is_tried_is_sorted_published_and_never_ourselves(
        self, mx: list[tuple[int, str]], random: Random
    ) -> None:
        arranged = arrange("d.example", mx, random.shuffle, OWN)
        if isinstance(arranged, Trouble):
            assert mx
            return
        assert [preference for preference, _ in arranged] == sorted(preference for preference, _ in arranged)
        own = [preference for preference, host in mx if host == "out.example.com"]
        published = {(preference, host.lower().removesuffix(".")) for preference, host in mx}
        for preference, host in arranged:
            assert (preference, host) in (published or {(0, "d.example")})
            assert all(preference < ours for ours in own)


class TestEndpoints:
    def test_families_take_turns_within_a_preference(self) -> None:
        a = (10, "a.example", ("192.0.2.1", "192.0.2.2", "2001:db8::1"))
        b = (10, "b.example", ("2001:db8::2",))
        c = (20, "c.example", ("192.0.2.3",))
        assert spots(a, b, c) == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]

    def test_an_endpoint_knows_host_port_and_preference(self) -> None:
        assert endpoints([(10, "mx.example", (PUBLIC4,))], 2525, (), False) == (
            Endpoint("mx.example", PUBLIC4, 2525, 10),
        )

    def test_at_most_five_are_tried(self) -> None:
        addresses = tuple(f"192.0.2.{n}" for n in range(1, 20))
        assert spots((10, "mx.example", addresses)) == list(addresses[:5])
        assert spots((10, "mx.example", addresses), limit=2) == list(addresses[:2])

    def test_the_addresses_of_one_host_are_shuffled(self) -> None:
        def backwards(addresses: list[str]) -> None:
            addresses.reverse()

        found = endpoints([(10, "mx.example", ("192.0.2.1", "192.0.2.2"))], 25, (), False, shuffle=backwards)
        assert isinstance(found, tuple)
        assert [spot.address for spot in found] == ["192.0.2.2", "192.0.2.1"]

    def test_our_own_address_cuts_its_preference_and_worse(self) -> None:
        mx = [
            (10, "a.example", ("192.0.2.1",)),
            (20, "b.example", ("192.0.2.2", "2001:DB8:0::9")),
            (30, "c.example", ("192.0.2.3",)),
        ]
        assert spots(*mx, own=["2001:db8::9"]) == ["192.0.2.1"]
        assert fault(endpoints(mx, 25, ["192.0.2.1"], False)) is Fault.LOOP

    def test_private_addresses_go_unless_allowed(self) -> None:
        mx = (10, "mx.example", ("127.0.0.1", "10.1.2.3", PUBLIC4))
        assert spots(mx) == [PUBLIC4]
        assert spots(mx, private=True) == ["127.0.0.1", "10.1.2.3", PUBLIC4]

    def test_only_forbidden_addresses_is_another_trouble_than_none(self) -> None:
        assert fault(endpoints([(0, "mx.example", ("127.0.0.1",))], 25, (), False)) is Fault.FORBIDDEN_ADDRESS
        assert fault(endpoints([(0, "mx.example", ())], 25, (), False)) is Fault.NO_ADDRESS
        assert fault(endpoints([], 25, (), False)) is Fault.NO_ADDRESS


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.31.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.1.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
    ],
)
def test_loopback_link_local_and_private_need_permission(address: str) -> None:
    assert not deliverable(address, allow_private=False)
    assert deliverable(address, allow_private=True)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1", "::ffff:0.0.0.0", "", "mx.example"],
)
def test_what_is_no_unicast_address_is_never_tried(address: str) -> None:
    assert not deliverable(address, allow_private=True)


@pytest.mark.parametrize("address", [PUBLIC4, "198.51.100.1", "172.32.0.1", "100.128.0.1", PUBLIC6])
def test_public_addresses_are_tried(address: str) -> None:
    assert deliverable(address, allow_private=False)


@pytest.mark.parametrize(
    ("domain", "address"),
    [
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:DB8::1]", "2001:db8::1"),
        ("[ipv6:::1]", "::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("192.0.2.1", None),
        ("[192.0.2]", None),
        ("[mx.example]", None),
        ("[]", None),
        ("mx.example", None),
    ],
)
def test_an_address_literal_goes_direct(domain: str, address: str | None) -> None:
    assert literal_address(domain) == address


def test_a_group_is_its_set_of_hosts_in_any_order_and_spelling() -> None:
    assert group(["B.example.", "a.example"]) == group(["a.example", "b.example", "a.example"])
    assert group(["b.example", "a.example"]) == "a.example,b.example"


def test_domains_with_the_same_hosts_share_a_site_unless_tls_differs() -> None:
    key = SiteKey(DIRECT, group(["b.x", "a.x"]), Requirement(TlsLevel.OPPORTUNISTIC))
    same = SiteKey(DIRECT, group(["a.x", "b.x"]), Requirement(TlsLevel.OPPORTUNISTIC))
    assert key == same
    assert key != SiteKey(DIRECT, same.group, Requirement(TlsLevel.VERIFIED))
    assert str(Plan(Hop(DIRECT, "d.example"), key, (), 0.0).site) == "a.x,b.x"
