"""The command line of sendmail, as its callers write it: values glued or apart, options before and after.

What an option means is sendmail(8)'s, Postfix's where the two differ. Options that steer a
daemon, debugging or a configuration that we do not have are accepted and do nothing:
a caller from another time must get its mail out.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DELIVER, SMTP, QUEUE, VERIFY, ALIASES, RUN, HOLD, RELEASE, COUNT, VERSION, HELP = (
    "deliver",
    "smtp",
    "queue",
    "verify",
    "aliases",
    "run",
    "hold",
    "release",
    "count",
    "version",
    "help",
)

_WITH_VALUE = frozenset("ABCDFLNORVXbefhopr")
# Only glued: "-q" alone is complete.
_MAYBE_GLUED = frozenset("dqQEJMS")
_FLAGS = frozenset("GIUcimnstTvx")
_MODES = {
    "m": DELIVER,
    "s": SMTP,
    "p": QUEUE,
    "v": VERIFY,
    "i": ALIASES,
    "P": COUNT,
    "V": VERSION,
}
_NAMES = {"mailq": QUEUE, "newaliases": ALIASES}
_LONG = {"--version": VERSION, "--help": HELP}
_DSN = frozenset(("success", "failure", "delay"))


class Usage(Exception):
    """The command line is wrong; exit 64 (EX_USAGE)."""


class Options:
    """What was asked. No dataclass: `dataclasses` alone would double the time to start."""

    def __init__(self) -> None:
        self.mode = DELIVER
        self.recipients: list[str] = []
        self.from_header = False
        self.lone_dot_ends = True
        # None: the caller's own address; "": the null reverse-path.
        self.sender: str | None = None
        self.full_name: str | None = None
        self.notify: list[str] | None = None
        self.ret: str | None = None
        self.envid: str | None = None
        self.body: str | None = None
        # How often -v was said.
        self.verbose = 0
        self.gateway = False
        self.smtputf8 = False
        # -odq: no attempt before the next queue run.
        self.later = False
        self.tag: str | None = None
        self.config: str | None = None
        # Of -q15m and its like.
        self.interval = False
        # Of -q: what is looked at (I, R, S, Q), the text to be found there, and whether it must not be.
        self.select: list[tuple[str, str, bool]] = []
        # Of -Q: the reason to hold mail for, "": release it.
        self.quarantine: str | None = None


def parse(name: str, arguments: Sequence[str]) -> Options:
    """The options of a call under this program name; Usage where they make no sense."""
    options = Options()
    options.mode = _NAMES.get(name, DELIVER)
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            options.recipients += rest
            break
        if argument in _LONG:
            options.mode = _LONG[argument]
        elif argument.startswith("-"):
            _cluster(argument, rest, options)
        else:
            options.recipients.append(argument)
    if options.quarantine is not None:
        _quarantine(options)
    return options


def _quarantine(options: Options) -> None:
    """-Qreason holds, -Q alone releases; what they are about must be selected."""
    if not options.select:
        raise Usage("-Q is about mail that -qIid, -qRrecipient, -qSsender or -qQ selects")
    options.mode = HOLD if options.quarantine else RELEASE


def _cluster(argument: str, rest: list[str], options: Options) -> None:
    """One argument that starts with a hyphen: letters, of which the last may take the remainder."""
    if len(argument) == 1:
        raise Usage('"-" is no recipient')
    for at, letter in enumerate(argument[1:], 2):
        if letter in _FLAGS:
            _flag(letter, options)
            continue
        glued = argument[at:]
        if letter in _WITH_VALUE:
            if not glued and not rest:
                raise Usage(f"option -{letter} needs a value")
            _value(letter, glued or rest.pop(0), options)
        elif letter in _MAYBE_GLUED:
            _glued(letter, glued, options)
        else:
            raise Usage(f"no such option: {argument}")
        return


def _flag(letter: str, options: Options) -> None:
    if letter == "t":
        options.from_header = True
    elif letter == "i":
        options.lone_dot_ends = False
    elif letter == "v":
        options.verbose += 1
    elif letter == "G":
        options.gateway = True
    elif letter == "U":
        options.smtputf8 = True
    elif letter == "I":
        options.mode = ALIASES


def _value(letter: str, value: str, options: Options) -> None:
    if letter in "fr":
        options.sender = "" if value.strip() == "<>" else value.strip()
    elif letter == "b":
        options.mode = _mode(value)
    elif letter == "o":
        options.lone_dot_ends = options.lone_dot_ends and value != "i"
        options.later = options.later or value == "dq"
    elif letter == "O":
        _long_option(value, options)
    elif letter in _ATTRIBUTES:
        name, understood = _ATTRIBUTES[letter]
        setattr(options, name, understood(value))


def _mode(value: str) -> str:
    if value in ("d", "D", "l"):
        raise Usage(f"-b{value}: the daemon is started by `systemctl start postroad` or `postroad serve`")
    if value not in _MODES:
        raise Usage(f"-b{value} is not supported")
    return _MODES[value]


def _long_option(value: str, options: Options) -> None:
    name, _, setting = value.partition("=")
    if name.strip().lower() == "ignoredots":
        options.lone_dot_ends = setting.strip()[:1].lower() not in ("t", "y", "1", "")


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise Usage(f"{option} takes {' or '.join(known)}")
    return value


def notify_words(value: str) -> list[str]:
    """RFC 3461 4.1: never, or any of success, failure, delay."""
    words = [word.strip().lower() for word in value.split(",")]
    if words == ["never"] or (words and _DSN.issuperset(words)):
        return words
    raise Usage("-N takes never, or a list of success, failure, delay")


def _envid(value: str) -> str:
    """RFC 3461 4.4 allows 100 characters of xtext; the daemon encodes."""
    if not value.isascii() or not value.isprintable() or len(value) > 100:
        raise Usage("-V takes at most 100 printable ASCII characters")
    return value


def _body(value: str) -> str:
    return _one_of("-B", value.upper(), ("7BIT", "8BITMIME"))


def _ret(value: str) -> str:
    return _one_of("-R", value.lower(), ("full", "hdrs"))


def _tag(value: str) -> str:
    return "".join(c for c in value[:64] if c.isprintable())


_ATTRIBUTES: dict[str, tuple[str, Callable[[str], object]]] = {
    "F": ("full_name", str),
    "B": ("body", _body),
    "N": ("notify", notify_words),
    "R": ("ret", _ret),
    "V": ("envid", _envid),
    "L": ("tag", _tag),
    "C": ("config", str),
}


def _glued(letter: str, value: str, options: Options) -> None:
    if letter == "d":
        # -d0.1 asks what this is; other levels have nothing to show.
        if value.startswith("0"):
            options.mode = VERSION
    elif letter == "Q":
        options.quarantine = value
    elif letter == "q":
        _queue_run(value, options)


_SELECTORS = "IRSQ"


def _queue_run(value: str, options: Options) -> None:
    """-q, -qf: all; -q[!]Iid, Raddress, Ssender, Qreason: some; -q15m, -qp15m: an interval, for a daemon."""
    if value[:1].isdigit() or value[:1] == "p":
        options.interval = True
        return
    if options.mode != QUEUE:
        options.mode = RUN
    if value in ("", "f"):
        return
    negated = value[0] == "!"
    letter, wanted = value[negated : negated + 1], value[negated + 1 :]
    # -qQ alone is all that is held.
    if letter not in _SELECTORS or not letter or not (wanted or letter == "Q"):
        raise Usage(
            f"-q{value} is not supported; there are -q, -q[!]Iid, -q[!]Rrecipient, -q[!]Ssender, -q[!]Q"
        )
    options.select.append((letter, wanted, negated))
