"""Who may import whom, and how large a file may get: the shape of the code, read from its syntax.

What is true about mail is pure; the engine knows the world through ports alone;
each library has one adapter; one place knows everything.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "postroad"
LONGEST_FILE = 350  # lines that are not empty
LONGEST_FUNCTION = 60

# What a layer may import of the project; itself is always allowed but for adapters.
ALLOWED = {
    "mail": set[str](),
    "ports": {"mail"},
    "engine": {"mail", "ports"},
    "config": {"mail"},
    "adapters": {"mail", "ports", "config.model"},
    # Of the ports the values alone: what the reader of the index is asked with and answers.
    "cli": {"mail", "ports", "config", "adapters", "daemon", "demo", "office", "planning"},
    "demo": {"adapters.accounts_file", "adapters.key_pairs"},
    "parts": {"mail", "ports", "engine", "config", "adapters"},
    "daemon": {"mail", "ports", "engine", "config", "adapters", "parts"},
    # The daemon's parts for one command, while there is no daemon.
    "office": {"mail", "ports", "engine", "config", "adapters", "parts"},
    # And for a question: what would deliver is asked where it would.
    "planning": {"mail", "ports", "engine", "config", "parts"},
    "__main__": {"cli"},
    "__init__": set[str](),
}
IMPURE = {"asyncio", "socket", "ssl", "sqlite3", "os", "time", "random", "secrets", "logging", "threading"}
# Third-party libraries by layer; adapters have theirs, one family each.
LIBRARIES = {
    "mail": {"idna"},
    "ports": set[str](),
    "engine": set[str](),
    "config": {"msgspec", "idna"},
    "demo": {"aiosmtpd", "dkim"},
    "parts": set[str](),
    "daemon": {"uvloop"},
    "office": set[str](),
    "planning": set[str](),
}
# An adapter may be several files: those whose names begin so, the longest match first.
FAMILIES = {
    "smtpd": "smtpd",
    "smtp": "smtp",
    "sqlite": "sqlite",
    "journal": "journal",
    "local": "local",
    # The local door of a daemon that was down.
    "maildrop": "local",
    "segment": "spool",
    "dkim": "dkim",
    "dns": "dns",
    "accounts": "accounts",
    "oauth": "oauth",
    "rspamd": "rspamd",
    "hooks": "hooks",
    "privileges": "privileges",
    "systemd": "systemd",
    "system": "system",
}
# What two families share: mechanisms that know no library.
SHARED = {"adapters.group_commit", "adapters.http_client", "adapters.unix_socket"}
# Tools of the language more than libraries of the world: JSON, and keys and certificates as values.
COMMON = {"msgspec", "cryptography"}


@dataclass(frozen=True)
class Module:
    """A source file by its dotted name below the package, with what it imports."""

    name: str
    path: Path
    imports: frozenset[str]

    @property
    def layer(self) -> str:
        return self.name.partition(".")[0]

    @property
    def own(self) -> set[str]:
        """Modules of the project it imports, below the package."""
        return {name.removeprefix("postroad.") for name in self.imports if name.startswith("postroad.")}

    @property
    def roots(self) -> set[str]:
        return {name.partition(".")[0] for name in self.imports} - {"postroad", "__future__"}

    @property
    def libraries(self) -> set[str]:
        return self.roots - sys.stdlib_module_names

    @property
    def family(self) -> str:
        name = self.name.rpartition(".")[2]
        return next((family for start, family in FAMILIES.items() if name.startswith(start)), name)


@cache
def modules() -> tuple[Module, ...]:
    return tuple(_read(path) for path in sorted(SOURCE.rglob("*.py")))


def _read(path: Path) -> Module:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {_imported(node.module or "", alias.name) for alias in node.names}
    return Module(".".join(path.relative_to(SOURCE).with_suffix("").parts), path, frozenset(names))


def _imported(module: str, name: str) -> str:
    """`from postroad.mail import mx` imports a module, `from postroad.mail.mx import arrange` a name."""
    inside = SOURCE.joinpath(*module.split(".")[1:])
    is_module = module.partition(".")[0] == "postroad" and (
        (inside / f"{name}.py").exists() or (inside / name).is_dir()
    )
    return f"{module}.{name}" if is_module else module


ADAPTERS = {module.name for module in modules() if module.layer == "adapters"}


def in_layer(name: str) -> list[Module]:
    return [module for module in modules() if module.layer == name]


def test_every_file_belongs_to_a_layer() -> None:
    assert {module.layer for module in modules()} <= set(ALLOWED)


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_layer_imports_only_what_lies_below_it(layer: str) -> None:
    wrong = {
        f"{module.name} imports {name}"
        for module in in_layer(layer)
        for name in module.own
        if name.partition(".")[0] != layer
        and not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[layer])
    }
    assert wrong == set()


def test_mail_knows_neither_the_clock_nor_chance_nor_the_world() -> None:
    assert {f"{m.name} imports {name}" for m in in_layer("mail") for name in m.roots & IMPURE} == set()


@pytest.mark.parametrize("layer", LIBRARIES)
def test_a_layer_uses_only_its_libraries(layer: str) -> None:
    assert {f"{m.name}: {name}" for m in in_layer(layer) for name in m.libraries - LIBRARIES[layer]} == set()


def test_the_command_line_uses_no_library_of_its_own() -> None:
    assert {f"{m.name}: {name}" for m in in_layer("cli") for name in m.libraries - COMMON} == set()


def test_how_clients_log_in_is_no_matter_of_the_engine() -> None:
    assert {module.name for module in in_layer("engine") if "ports.logins" in module.own} == set()


def test_adapters_of_different_families_do_not_import_each_other() -> None:
    by_name = {module.name: module for module in in_layer("adapters")}
    wrong = {
        f"{module.name} imports {name}"
        for module in by_name.values()
        for name in module.own
        if name in by_name and by_name[name].family != module.family and name not in SHARED
    }
    assert wrong == set()


def test_what_adapters_share_knows_no_library_and_no_adapter() -> None:
    shared = [module for module in in_layer("adapters") if module.name in SHARED]
    assert {module.name for module in shared} == SHARED
    assert {f"{m.name}: {name}" for m in shared for name in m.libraries | (m.own & ADAPTERS)} == set()


def test_each_library_has_one_family_of_adapters() -> None:
    users: dict[str, set[str]] = defaultdict(set)
    for module in in_layer("adapters"):
        for library in module.libraries - COMMON:
            users[library].add(module.family)
    assert {library: families for library, families in users.items() if len(families) > 1} == {}


def test_only_the_operator_command_knows_the_demonstration() -> None:
    assert {m.name for m in modules() if m.layer != "demo" and any(n.startswith("demo") for n in m.own)} <= {
        "cli.main"
    }


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_a_file_can_be_read_in_one_sitting(module: Module) -> None:
    text = module.path.read_text()
    assert len([line for line in text.splitlines() if line]) <= LONGEST_FILE
    functions = [
        n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}
