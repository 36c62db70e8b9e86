"""The command lines of real callers, and what they mean."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.cli.sendmail_options import Options, Usage, parse

USUAL = vars(Options())


def changed(line: str, name: str = "sendmail") -> dict[str, object]:
    """What a command line sets that is not so without it."""
    return {key: value for key, value in vars(parse(name, shlex.split(line))).items() if value != USUAL[key]}


@pytest.mark.parametrize(
    ("caller", "line", "meaning"),
    [
        (
            "cron",
            "-FCronDaemon -i -B8BITMIME -oem root",
            {
                "full_name": "CronDaemon",
                "lone_dot_ends": False,
                "body": "8BITMIME",
                "recipients": ["root"],
            },
        ),
        ("anacron", "-FAnacron -odi root", {"full_name": "Anacron", "recipients": ["root"]}),
        (
            "PHP",
            "-t -i -fa@b.example",
            {"from_header": True, "lone_dot_ends": False, "sender": "a@b.example"},
        ),
        (
            "PHPMailer",
            "-oi -fa@b.example -t",
            {"from_header": True, "lone_dot_ends": False, "sender": "a@b.example"},
        ),
        (
            "mutt",
            "-oem -oi -f a@b.example -- c@d.example e@f.example",
            {
                "lone_dot_ends": False,
                "sender": "a@b.example",
                "recipients": ["c@d.example", "e@f.example"],
            },
        ),
        (
            "s-nail",
            "-i -m -v -f a@b.example -F 'A B' -- c@d.example",
            {
                "lone_dot_ends": False,
                "verbose": 1,
                "sender": "a@b.example",
                "full_name": "A B",
                "recipients": ["c@d.example"],
            },
        ),
        (
            "nodemailer",
            "-i -f a@b.example c@d.example",
            {"lone_dot_ends": False, "sender": "a@b.example", "recipients": ["c@d.example"]},
        ),
        ("bsd-mailx", "-i -t", {"from_header": True, "lone_dot_ends": False}),
        ("Exim's habit", "-ti", {"from_header": True, "lone_dot_ends": False}),
        ("fail2ban", "-f a@b.example c@d.example", {"sender": "a@b.example", "recipients": ["c@d.example"]}),
        (
            "Sympa",
            "-oi -odi -oem -N success,delay,failure -R hdrs -V a-1 -f a@b.example c@d.example",
            {
                "lone_dot_ends": False,
                "notify": ["success", "delay", "failure"],
                "ret": "hdrs",
                "envid": "a-1",
                "sender": "a@b.example",
                "recipients": ["c@d.example"],
            },
        ),
        ("logwatch", "-t", {"from_header": True}),
        ("unattended-upgrades", "-oi -t", {"from_header": True, "lone_dot_ends": False}),
    ],
)
def test_callers_are_understood(caller: str, line: str, meaning: dict[str, object]) -> None:
    assert changed(line) == meaning


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("-f ''", {"sender": ""}),
        ("-f '<>'", {"sender": ""}),
        ("-f'<>'", {"sender": ""}),
        ("-r a@b.example", {"sender": "a@b.example"}),
        ("c@d.example -f a@b.example", {"sender": "a@b.example", "recipients": ["c@d.example"]}),
        ("-- -f", {"recipients": ["-f"]}),
        ("-bm", {}),
        ("-bs", {"mode": "smtp"}),
        ("-bp", {"mode": "queue"}),
        ("-bP", {"mode": "count"}),
        ("-bv a@b.example", {"mode": "verify", "recipients": ["a@b.example"]}),
        ("-bi", {"mode": "aliases"}),
        ("-I", {"mode": "aliases"}),
        ("-bV", {"mode": "version"}),
        ("-d0.1", {"mode": "version"}),
        ("-d21.4", {}),
        ("--help", {"mode": "help"}),
        ("-q", {"mode": "run"}),
        ("-qf", {"mode": "run"}),
        ("-q15m", {"interval": True}),
        ("-qp15m", {"interval": True}),
        ("-qI3A", {"mode": "run", "select": [("I", "3A", False)]}),
        (
            "-q!Ra@b -qSa@b.example",
            {"mode": "run", "select": [("R", "a@b", True), ("S", "a@b.example", False)]},
        ),
        ("-bp -qQ", {"mode": "queue", "select": [("Q", "", False)]}),
        ("-Qspam -qRx", {"mode": "hold", "select": [("R", "x", False)], "quarantine": "spam"}),
        ("-Q -q!Qx", {"mode": "release", "select": [("Q", "x", True)], "quarantine": ""}),
        ("-odq", {"later": True}),
        ("-odb -v -v", {"verbose": 2}),
        ("-N NEVER", {"notify": ["never"]}),
        ("-R FULL", {"ret": "full"}),
        ("-B 7bit", {"body": "7BIT"}),
        ("-O IgnoreDots=True", {"lone_dot_ends": False}),
        ("-O DeliveryMode=b -ODialDelay=3", {}),
        ("-G -U", {"gateway": True, "smtputf8": True}),
        ("-L cron", {"tag": "cron"}),
        ("-h 5 -n -m -om -x -s -T -c -J -Ac -Am -p proto -X /dev/null -Mx -ee -oQ/x", {}),
        ("-C /etc/x.toml", {"config": "/etc/x.toml"}),
    ],
)
def test_options_mean_what_sendmail_means_by_them(line: str, meaning: dict[str, object]) -> None:
    assert changed(line) == meaning


@pytest.mark.parametrize(
    "line",
    [
        "-f",
        "-t -F",
        "-bd",
        "-bD",
        "-bl",
        "-bt",
        "-bH",
        "-",
        "-W",
        "-N sometimes",
        "-N never,delay",
        "-R half",
        "-B BINARYMIME",
        "-V 'a\tb'",
        "-V " + "x" * 101,
        "-qX3",
        "-qI",
        "-q!Xx",
        "-q!",
        "-Qspam",
        "--no-such-option",
    ],
)
def test_what_makes_no_sense_is_a_usage_error(line: str) -> None:
    with pytest.raises(Usage):
        parse("sendmail", shlex.split(line))


@pytest.mark.parametrize(
    ("name", "mode"), [("mailq", "queue"), ("newaliases", "aliases"), ("sendmail", "deliver")]
)
def test_the_name_decides_what_the_command_is(name: str, mode: str) -> None:
    assert parse(name, []).mode == mode


@given(st.lists(st.text(min_size=1, max_size=8), max_size=6))
def test_after_two_hyphens_everything_is_a_recipient(words: list[str]) -> None:
    assert parse("sendmail", ["--", *words]).recipients == words


@given(st.lists(st.text(alphabet="-tifFbqNRVoO=<>ab1, ", max_size=6), max_size=6))
def test_any_command_line_is_understood_or_a_usage_error(words: list[str]) -> None:
    try:
        options = parse("sendmail", words)
    except Usage:
        return
    assert not any(one.startswith("-") for one in options.recipients if "--" not in words)


# What each option of sendmail(8), of Postfix's, Exim's, OpenSMTPD's, msmtp's and dma's sendmail does here.
ACTS = """
-t|-i|-oi|-ti|-f a@b|-fa@b|-r a@b|-ra@b|-f ''|-F name|-Fname|-bs|-bp|-bv a@b|-bi|-I|-bP|-q|-qf|-qIx
-qRx|-qSx|-q!Ix|-qQ|-Qx -qIx|-N never|-N failure,delay,success|-R full|-R hdrs|-V id|-B 7BIT|-B8BITMIME|-U
-G|-odq|-L tag|-v|-C /x|-d0.1|-- x|--version|--help|-bV|-O IgnoreDots=y
"""
PASSED_OVER = """
-bm|-oem|-oep|-oee|-oeq|-oew|-om|-odb|-odi|-odf|-oQ/x|-e m|-em|-eq|-h 3|-h3|-m|-n
-p esmtp|-X /x|-Ac|-Am|-A x|-d21.4|-D /x|-x|-T|-s|-M|-E|-J|-c|-S|-O DeliveryMode=b|-O x=y|-oA/x
"""
REFUSED = "-bd|-bl|-bD|-bh|-bH|-bt|-bC|-W|-f|-N x|-R x|-B x|-Qx"


def each_of(lines: str) -> list[str]:
    return [call for line in lines.strip().splitlines() for call in line.split("|")]


@pytest.mark.parametrize("line", each_of(ACTS))
def test_an_option_that_counts_changes_what_is_done(line: str) -> None:
    assert changed(line)


@pytest.mark.parametrize("line", each_of(PASSED_OVER))
def test_an_option_from_another_time_is_accepted_and_changes_nothing(line: str) -> None:
    assert changed(line) == {}
    assert changed(f"{line} a@b.example") == {"recipients": ["a@b.example"]}


@pytest.mark.parametrize("line", each_of(REFUSED))
def test_what_cannot_be_done_is_refused(line: str) -> None:
    with pytest.raises(Usage):
        parse("sendmail", shlex.split(line))
