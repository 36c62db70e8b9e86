from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import ConfigError, load
from postroad.config.keys import RSPAMD_ACTIONS, RSPAMD_MEANINGS
from postroad.config.model import PolicyConfig


def written(folder: Path, text: str) -> Path:
    (folder / "a_configured_hook.py").write_text("def check(view): return None\nnothing = 1\n")
    path = folder / "postroad.toml"
    path.write_text(f'hostname = "mail.example.com"\nstate_directory = "state"\n{text}')
    return path


def test_policies_keep_their_order_and_have_a_name(tmp_path: Path) -> None:
    text = (
        '[[policy]]\nhook = "a_configured_hook:check"\npath = "."\ntimeout = "2s"\n'
        '[[policy]]\nrspamd = "http://127.0.0.1:11333"\non_error = "accept"\nactions = { reject = "hold" }\n'
    )
    assert load(written(tmp_path, text)).policies == (
        PolicyConfig("a_configured_hook:check", "a_configured_hook:check", tmp_path, timeout=2.0),
        PolicyConfig(
            "rspamd",
            rspamd="http://127.0.0.1:11333",
            on_error="accept",
            actions=(("reject", "hold"),),
        ),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ":3: policy.hook: either hook"),
        ('hook = "os:getcwd"\nrspamd = "http://x"', ":4: policy.hook: either hook"),
        ('hook = "no colon"', "expected a hook such as"),
        ('hook = "a_configured_hook:missing"\npath = "."', "cannot be imported: AttributeError"),
        ('hook = "a_configured_hook:nothing"\npath = "."', "is no callable"),
        ('hook = "os:getcwd"\npassword = "x"', "policy.password: is of use with rspamd alone"),
        ('rspamd = "http://x"\npath = "."', "policy.path: is of use with hook alone"),
        ('rspamd = "127.0.0.1:11333"', "expected an address such as"),
        ('rspamd = "http://x"\nactions = { rejct = "hold" }', 'did you mean "reject"'),
        ('rspamd = "http://x"\nactions = { reject = "hodl" }', 'did you mean "hold"'),
        ('rspamd = "http://x"\nactions = "hold"', "expected a table in braces"),
        ('rspamd = "http://x"\non_error = "ignore"', "policy.on_error: expected one of"),
        ('rspamd = "http://x"\n[[policy]]\nrspamd = "http://y"', "is the name of another policy too"),
    ],
)
def test_a_policy_that_cannot_be_is_told(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, f"[[policy]]\n{text}\n"))
    assert problem in str(caught.value)


def test_the_actions_are_those_of_the_adapter() -> None:
    from postroad.adapters.rspamd import ACTIONS, MEANINGS

    assert set(ACTIONS) == set(RSPAMD_ACTIONS)
    assert MEANINGS == RSPAMD_MEANINGS
