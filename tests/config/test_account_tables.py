"""[account_defaults] and [account."NAME"]: how they are spelled and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import ConfigError, load
from postroad.config.accounts import account_pattern, sender_pattern
from postroad.config.measures import rate
from postroad.config.problems import BadValue
from postroad.mail.account import AccountPolicies, AccountPolicy, Rate
from postroad.mail.message import Lane

HOST = 'hostname = "mail.example.com"\n'


def accounts(directory: Path, text: str) -> AccountPolicies:
    file = directory / "postroad.toml"
    file.write_text(HOST + text)
    return load(file).accounts


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        accounts(directory, text)
    told = [str(problem).partition(".toml:")[2] for problem in caught.value.problems]
    return [line.replace(f"{directory}/", "") for line in told]


def test_an_account_has_what_its_table_says_and_else_the_defaults(tmp_path: Path) -> None:
    found = accounts(
        tmp_path,
        """
        [account_defaults]
        allowed_senders = ["Example.COM"]
        max_messages_per_hour = 100
        max_rate = "60/1m"
        [account.anna]
        lane = "bulk"
        max_messages_per_hour = 5
        idempotency = []
        [account."net:10.0.0.0/8"]
        enabled = false
        """,
    )
    defaults = AccountPolicy(
        allowed_senders=("example.com",), max_messages_per_hour=100, max_rate=Rate(60, 60.0)
    )
    assert found.defaults == defaults
    assert found.tables["anna"] == AccountPolicy(
        allowed_senders=("example.com",),
        max_messages_per_hour=5,
        max_rate=Rate(60, 60.0),
        lane=Lane.BULK,
        idempotency=(),
    )
    assert found.of("net:10.1.2.3")[0] == "net:10.0.0.0/8"
    assert found.of("net:10.1.2.3")[1].enabled is False
    assert found.of("berta") == (None, defaults)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[account.anna]\nmax_mesages_per_hour = 1\n",
            ['3: account.anna.max_mesages_per_hour: unknown key; did you mean "max_messages_per_hour"?'],
        ),
        (
            "[account]\nenabled = true\n",
            [
                '3: account.enabled: expected a table written [account."enabled"], got true; '
                '[account_defaults] is for all, [account."NAME"] for one'
            ],
        ),
        (
            "[[account]]\nlane = 'bulk'\n",
            ['2: account: expected tables written [account."NAME"], got a list'],
        ),
        (
            '[account."net:10.0.0.1/8"]\n',
            [
                '2: account.net:10.0.0.1/8: after "net:": expected a network such as "10.0.0.0/8" or '
                '"fd00::/8", got "10.0.0.1/8" (host bits are set)'
            ],
        ),
        (
            '[account."uid:root"]\n',
            ['2: account.uid:root: expected "uid:" and a number, or "uid:*", got "uid:root"'],
        ),
        (
            '[account."net:FE80::1"]\n[account."net:fe80::0001"]\n',
            ["3: account.net:fe80::0001: is there twice, in another spelling: postroad.toml:2"],
        ),
        (
            '[account_defaults]\nmax_rate = "fast"\n',
            ['3: account_defaults.max_rate: expected a rate such as "60/1m" or "10/1s", got "fast"'],
        ),
        (
            '[account_defaults]\nlane = "buk"\n',
            [
                '3: account_defaults.lane: expected one of "transactional", "normal", "bulk", got "buk"; '
                'did you mean "bulk"?'
            ],
        ),
        (
            '[account_defaults]\nidempotency = ["heder"]\n',
            [
                '3: account_defaults.idempotency: expected one of "header", "envid", "unique-envid", '
                '"message-id", got "heder"; did you mean "header"?'
            ],
        ),
        (
            "[account.anna]\nmax_recipients = 2000\n",
            ["3: account.anna.max_recipients: is more than submission.max_recipients"],
        ),
        (
            '[account_defaults]\nmax_message_size = "1GiB"\n[account.anna]\n',
            ["3: account_defaults.max_message_size: is more than submission.max_message_size"],
        ),
        (
            '[account.anna]\nallowed_senders = ["anna at example.com"]\n',
            [
                '3: account.anna.allowed_senders: expected "anna@example.com", "example.com", '
                '"*.example.com", "*@example.com", "{account}@example.com" or "*", got "anna at example.com"'
            ],
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_its_cure(tmp_path: Path, text: str, told: list[str]) -> None:
    assert problems(tmp_path, text) == told


@pytest.mark.parametrize(
    ("spelled", "means"),
    [
        ("*", "*"),
        ("{account}", "{account}"),
        ("{account}@Example.COM", "{account}@example.com"),
        ("example.com", "example.com"),
        ("*.b\u00fccher.example", "*.xn--bcher-kva.example"),
        ("News-*@*.example.com", "News-*@*.example.com"),
    ],
)
def test_a_pattern_of_senders_is_kept_with_its_domain_normalised(spelled: str, means: str) -> None:
    assert sender_pattern(spelled) == means


@pytest.mark.parametrize(
    "spelled", ["", "@example.com", "a@", "a b@example.com", "exa*mple.com", "a@@", 5, "a@*", "\n@x.example"]
)
def test_what_is_no_pattern_of_senders_is_told(spelled: object) -> None:
    with pytest.raises(BadValue):
        sender_pattern(spelled)


@pytest.mark.parametrize(
    ("spelled", "means"),
    [("60/1m", Rate(60, 60.0)), ("10/s", Rate(10, 1.0)), ("5/1h30m", Rate(5, 5400.0))],
)
def test_a_rate_is_a_number_for_a_time(spelled: str, means: Rate) -> None:
    assert rate(spelled) == means


@pytest.mark.parametrize("spelled", ["", "5", "0/1m", "-1/1m", "1/0s", "1/", "1/5", 5, "1/1m/1m"])
def test_what_is_no_rate_is_told(spelled: object) -> None:
    with pytest.raises(BadValue):
        rate(spelled)


@pytest.mark.parametrize(
    ("spelled", "means"),
    [
        ("anna", "anna"),
        ("*@example.com", "*@example.com"),
        ("net:*", "net:*"),
        ("net:2001:DB8::/32", "net:2001:db8::/32"),
        ("net:192.0.2.7", "net:192.0.2.7"),
        ("uid:0", "uid:0"),
        ("uid:*", "uid:*"),
    ],
)
def test_the_name_of_a_table_is_that_of_accounts(spelled: str, means: str) -> None:
    assert account_pattern(spelled) == means
