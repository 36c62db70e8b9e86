from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.adapters import accounts as subject
from postroad.adapters.accounts import PasswdAccounts
from postroad.adapters.accounts_file import AccountsError, add_account, read_accounts
from postroad.adapters.accounts_schemes import Stored, hash_password

WANT = "want {SCHEME}hash, with one of the schemes ARGON2ID, BLF-CRYPT, SHA512-CRYPT, PBKDF2, SCRAM-SHA-256"
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
HASH = "{ARGON2ID}" + CHEAP.hash("secret")


class Monotonic:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "accounts"
    file.write_text(f"# people\n\nalice:{HASH}\nbob:{HASH}:1000:1000::/home/bob\n")
    return file


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def accounts(path: Path, monotonic: Monotonic) -> Iterator[PasswdAccounts]:
    found = PasswdAccounts(path, monotonic=monotonic)
    yield found
    found.close()


@pytest.fixture
def checks(accounts: PasswdAccounts, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that were really computed, in order."""
    seen: list[str] = []
    check = accounts._check

    def watched(stored: Stored, secret: bytes) -> bool:
        seen.append(stored.text)
        return check(stored, secret)

    monkeypatch.setattr(accounts, "_check", watched)
    return seen


@pytest.mark.parametrize(
    ("login", "secret", "account"),
    [
        ("alice", b"secret", "alice"),
        ("bob", b"secret", "bob"),
        ("alice", b"wrong", None),
        ("Alice", b"secret", None),
        ("nobody", b"secret", None),
        ("alice", b"", None),
        ("alice", b"secret\0", None),
        ("alice", b"x" * 1025, None),
    ],
)
async def test_a_name_with_its_password_is_an_account(
    accounts: PasswdAccounts, login: str, secret: bytes, account: str | None
) -> None:
    assert await accounts.verify(login, secret) == account


async def test_an_unknown_name_costs_a_hash_as_dear_as_a_known_one(
    accounts: PasswdAccounts, checks: list[str]
) -> None:
    await accounts.verify("nobody", b"secret")
    await accounts.verify("alice", b"wrong")
    unknown, known = checks
    assert unknown != known
    assert unknown.split("$")[:4] == known.split("$")[:4]
    assert list(map(len, unknown.split("$"))) == list(map(len, known.split("$")))


async def test_a_success_is_remembered_for_five_minutes(
    accounts: PasswdAccounts, checks: list[str], monotonic: Monotonic
) -> None:
    await accounts.verify("alice", b"secret")
    monotonic.now = 299.0
    assert await accounts.verify("alice", b"secret") == "alice"
    assert len(checks) == 1
    monotonic.now = 301.0
    assert await accounts.verify("alice", b"secret") == "alice"
    assert len(checks) == 2


async def test_a_success_is_remembered_for_this_name_and_password_alone(
    accounts: PasswdAccounts, checks: list[str]
) -> None:
    await accounts.verify("alice", b"secret")
    assert await accounts.verify("alice", b"Secret") is None
    assert await accounts.verify("bob", b"secret") == "bob"
    assert len(checks) == 3


async def test_the_memory_holds_no_password(accounts: PasswdAccounts) -> None:
    await accounts.verify("alice", b"secret")
    assert not any(b"secret" in mark or b"alice" in mark for mark in accounts._known)


async def test_the_memory_has_a_limit(accounts: PasswdAccounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "CACHE_SIZE", 1)
    await accounts.verify("alice", b"secret")
    await accounts.verify("bob", b"secret")
    assert len(accounts._known) == 1


async def test_reload_forgets_who_is_gone(accounts: PasswdAccounts, path: Path) -> None:
    await accounts.verify("alice", b"secret")
    path.write_text(f"carol:{HASH}\n")
    accounts.reload()
    assert await accounts.verify("alice", b"secret") is None
    assert await accounts.verify("carol", b"secret") == "carol"


async def test_reload_takes_a_damaged_file_not_at_all(accounts: PasswdAccounts, path: Path) -> None:
    path.write_text(f"carol:{HASH}\ndave\n")
    with pytest.raises(AccountsError, match="dave"):
        accounts.reload()
    assert await accounts.verify("alice", b"secret") == "alice"
    assert await accounts.verify("carol", b"secret") is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("dave", f"account dave: {WANT}"),
        ("dave:", f"account dave: {WANT}"),
        ("dave:{PLAIN}secret", f"account dave: {WANT}"),
        ("dave:{ARGON2ID}$argon2id$nonsense", "account dave: the hash is damaged"),
        ("da ve:x", "not an account name: 'da ve'"),
        ("dé\x1b:x", "not an account name: 'd\\xe9\\x1b'"),
        (f"alice:{HASH}", "account alice is there twice"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line(path: Path, line: str, problem: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(AccountsError) as caught:
        read_accounts(path)
    assert str(caught.value) == f"{path}:5: {problem}"


def test_every_bad_line_is_named(path: Path) -> None:
    path.write_text("one\ntwo\n")
    with pytest.raises(AccountsError) as caught:
        read_accounts(path)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [f"{path}:1", f"{path}:2"]


async def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "accounts").touch()
    accounts = PasswdAccounts(tmp_path / "accounts")
    assert await accounts.verify("alice", b"secret") is None
    accounts.close()


async def test_what_is_added_can_log_in(tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    add_account(path, "app@example.com", "pass word: é")
    accounts = PasswdAccounts(path)
    assert await accounts.verify("app@example.com", "pass word: é".encode()) == "app@example.com"
    accounts.close()


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    add_account(tmp_path / "accounts", "alice", "secret")
    assert (tmp_path / "accounts").stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["accounts"]


def test_adding_keeps_what_is_there(path: Path) -> None:
    path.chmod(0o640)
    before = path.read_text()
    add_account(path, "carol", "secret")
    assert path.read_text().startswith(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_an_account_is_replaced_only_when_asked(path: Path) -> None:
    with pytest.raises(ValueError, match="account alice exists already"):
        add_account(path, "alice", "other")
    bob = read_accounts(path)["bob"]
    add_account(path, "alice", "other", replace=True)
    assert read_accounts(path).keys() == {"alice", "bob"}
    assert read_accounts(path)["bob"] == bob
    assert str(read_accounts(path)["alice"]) != HASH


@pytest.mark.parametrize("name", ["", "a b", "a:b", "#a", "a\n", "a\x1b", "é", "x" * 256])
def test_names_that_the_file_cannot_hold_are_refused(path: Path, name: str) -> None:
    before = path.read_text()
    with pytest.raises(ValueError, match="not an account name"):
        add_account(path, name, "secret")
    assert path.read_text() == before


@pytest.mark.parametrize("password", ["", "a\0b", "a\nb", "x" * 1025])
def test_passwords_that_no_client_can_send_are_refused(password: str) -> None:
    with pytest.raises(ValueError, match="a password has"):
        hash_password(password)


LINES = st.lists(
    st.sampled_from([*"ab:${}#=, \n\x00", "{ARGON2ID}$argon2id$", "v=19$m=65536,t=3,p=4$"]), max_size=30
)


@settings(max_examples=200, deadline=None)
@given(text=LINES.map("".join))
def test_any_file_is_read_or_its_problems_are_printable(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-accounts"
    path.write_text(text)
    assert all(line.isprintable() for line in problems(path))


def problems(path: Path) -> list[str]:
    try:
        read_accounts(path)
    except AccountsError as error:
        return str(error).split("\n")
    return []
