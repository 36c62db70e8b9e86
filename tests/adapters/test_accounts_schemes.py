from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.adapters.accounts import PasswdAccounts, lasting_key
from postroad.adapters.accounts_file import add_account, change_password, read_accounts, remove_account
from postroad.adapters.accounts_schemes import SCHEMES, check, decoy, hash_password, read_stored
from postroad.cli import arguments

# What `doveadm pw -p pencil -s SCHEME` of Dovecot 2.3.19 says.
OF_DOVECOT = {
    "ARGON2ID": "$argon2id$v=19$m=65536,t=3,p=1$elQIVKF9vGj4OAZJAmzmLw$"
    "tMhny29eeVY8l2byyFu54GY6jT8nNCi3fX+wYes4tP8",
    "BLF-CRYPT": "$2y$05$xU3fb1JIZJ3zX4iWjhW9lubHy84QV8PxXZItI8q3dkp8SK7/0fUpe",
    "SHA512-CRYPT": "$6$qI0MRFVA6kXp3E6h$l2D1iy.yocR76L6uOBtuarVyaigyaCmVa1Zo54Jc"
    "rbaDS6GuPoxOy6A48tLlT6aIum3QmN.6Yt0RYEb6.FS0A1",
    "PBKDF2": "$1$/18zeDllFrK8b21W$5000$201e979993eb7b9393e7a6139feb0ecc5f5dd911",
    "SCRAM-SHA-256": "4096,pOIATE1Qm/aWtP5GWMqhWw==,M0lVKttDMZYpQwgnezGzNyNG8yKnOJj/bZAQESu+lBg=,"
    "8OVShMc7RTR7Fafy19yIayJFoLxzH7bvMyqloTGeZmE=",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_dovecot_wrote_is_checked(scheme: str) -> None:
    stored = read_stored(f"{{{scheme.lower()}}}{OF_DOVECOT[scheme]}")
    assert (check(stored, b"pencil"), check(stored, b"Pencil")) == (True, False)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_made_is_checked(scheme: str) -> None:
    stored = read_stored(hash_password("pass word: é", scheme))
    assert stored.scheme == scheme
    assert (check(stored, "pass word: é".encode()), check(stored, b"other")) == (True, False)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_decoy_costs_what_its_model_does_and_has_no_password(scheme: str) -> None:
    model = read_stored(f"{{{scheme}}}{OF_DOVECOT[scheme]}")
    other = decoy(model)
    assert other.text != model.text
    assert len(other.text) == len(model.text)
    assert not check(other, b"pencil")


@pytest.mark.parametrize(
    "word",
    [
        "{BLF-CRYPT}$2y$31$xU3fb1JIZJ3zX4iWjhW9lubHy84QV8PxXZItI8q3dkp8SK7/0fUpe",
        "{BLF-CRYPT}$2y$05$short",
        "{SHA512-CRYPT}$6$rounds=999999999$qI0MRFVA6kXp3E6h$" + "a" * 86,
        "{SHA512-CRYPT}$6$salt$short",
        "{PBKDF2}$1$salt$999999999$" + "a" * 40,
        "{PBKDF2}$1$salt$0$" + "a" * 40,
        "{SCRAM-SHA-256}1,YQ==,YQ==,YQ==",
        "{PLAIN}pencil",
        "pencil",
    ],
)
def test_what_is_damaged_or_endless_is_an_error_without_the_hash(word: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_stored(word)
    assert "pencil" not in str(caught.value)
    assert "aaaa" not in str(caught.value)


def test_bcrypt_does_not_take_what_it_would_cut_off() -> None:
    with pytest.raises(ValueError, match="72 octets"):
        hash_password("x" * 73, "BLF-CRYPT")


def test_the_command_line_knows_the_same_schemes() -> None:
    assert tuple(SCHEMES) == arguments.SCHEMES


@given(
    st.lists(
        st.sampled_from(["{", "}", "$", "6", "2y", "1", "05", "=", ",", "a", *SCHEMES]), max_size=12
    ).map("".join)
)
def test_any_word_is_read_or_its_problem_is_printable(word: str) -> None:
    assert problem(word).isprintable()


def problem(word: str) -> str:
    try:
        read_stored(word)
    except ValueError as error:
        return str(error)
    return ""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "accounts"
    file.write_text("".join(f"{name.lower()}:{{{name}}}{text}:1000::\n" for name, text in OF_DOVECOT.items()))
    return file


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_each_scheme_lets_its_account_in(path: Path, scheme: str) -> None:
    accounts = PasswdAccounts(path)
    assert await accounts.verify(scheme.lower(), b"pencil") == scheme.lower()
    assert await accounts.verify(scheme.lower(), b"Pencil") is None
    assert await accounts.verify("nobody", b"pencil") is None
    accounts.close()


async def test_scram_is_offered_where_an_account_can_use_it(path: Path) -> None:
    accounts = PasswdAccounts(path, key=b"k" * 32)
    assert accounts.offers_scram
    known = accounts.scram("scram-sha-256")
    for name in ("nobody", "argon2id"):
        other = accounts.scram(name)
        assert other == accounts.scram(name) != known
        assert (other.iterations, len(other.salt)) == (known.iterations, len(known.salt))
    again = PasswdAccounts(path, key=b"k" * 32)
    assert again.scram("nobody") == accounts.scram("nobody")
    remove_account(path, "scram-sha-256")
    accounts.reload()
    assert not accounts.offers_scram
    accounts.close()
    again.close()


def test_a_new_password_keeps_the_line_and_its_other_fields(path: Path) -> None:
    before = path.read_text().splitlines()
    change_password(path, "pbkdf2", "other", "SCRAM-SHA-256")
    after = path.read_text().splitlines()
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, True, False, True]
    assert after[3].startswith("pbkdf2:{SCRAM-SHA-256}")
    assert after[3].endswith(":1000::")


def test_who_is_removed_is_gone_and_nobody_else(path: Path) -> None:
    remove_account(path, "pbkdf2")
    assert list(read_accounts(path)) == ["argon2id", "blf-crypt", "sha512-crypt", "scram-sha-256"]
    with pytest.raises(ValueError, match="there is no account 'pbkdf2'"):
        remove_account(path, "pbkdf2")
    with pytest.raises(ValueError, match="there is no account 'pbkdf2'"):
        change_password(path, "pbkdf2", "x")


def test_an_account_is_added_with_the_scheme_asked_for(path: Path) -> None:
    add_account(path, "anna", "secret", scheme="SCRAM-SHA-256")
    assert read_accounts(path)["anna"].scram is not None


def test_the_lasting_key_lasts_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "login.key"
    made = lasting_key(path)
    assert (len(made), lasting_key(path), path.stat().st_mode & 0o777) == (32, made, 0o600)
