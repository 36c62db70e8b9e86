"""The sendmail command as programs call it: each message arrives once and in the right envelope."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroad.demo.world import Site, World
from tests.support.daemon import Daemon
from tests.support.peers import run
from tests.support.requires import require

RUN = "import sys; sys.argv = sys.argv[1:]; from postroad.cli.sendmail import program; program()"
A, B, C = "ann@harbour.example", "bob@harbour.example", "cat@harbour.example"
ME = "app@sender.example"
ROOT = "root@mail.sender.example"
TEXT = "From: app <app@sender.example>\nSubject: {n}\n\nhello\n"
TO = "From: app <app@sender.example>\nTo: Ann <{a}>\nSubject: {n}\n\nhello\n"
# PHP ends the lines of the header and of the body differently.
PHP = "To: {a}\r\nSubject: {n}\r\nFrom: x@y.example\r\n\r\nbody\nmore\n"
COPIES = "To: {a}\nCc: {b}\nBcc: {c}\nSubject: {n}\n\nx\n"
RESENT = "To: {c}\nResent-To: {b}\nResent-Bcc: {a}\nSubject: {n}\n\nx\n"


@dataclass(frozen=True)
class Call:
    """What a program runs and writes; in `text`, {n} tells the calls apart. `to` empty: `A` alone."""

    who: str
    words: str
    text: str = TEXT
    sender: str = ME
    to: tuple[str, ...] = (A,)
    exit: int = 0
    lacks: str = "Bcc"


CALLS = [
    Call("cron", "-FCronDaemon -i -B8BITMIME -oem root", "Subject: {n}\n\nout\n.\nrest\n", ROOT),
    Call("systemd-cron", "-i -B8BITMIME root", "Subject: {n}\n\nout\n", ROOT),
    Call("anacron", "-FAnacron -odi root", "Subject: {n}\n\nout\n", ROOT),
    Call("at", "-i root", "Subject: {n}\nTo: root\n\nout\n", ROOT),
    Call("PHP mail()", f"-t -i -f{ME}", PHP),
    Call(
        "PHP mail() without -f", "-t -i", "To: {a}\r\nSubject: {n}\r\nFrom: x@y.example\r\n\r\nbody\n", ROOT
    ),
    Call("PHPMailer", f"-oi -f{ME} -t", TO),
    Call("PHPMailer qmail", f"-f{ME} {A}"),
    Call("PEAR Mail", f"-i -f{ME} -- {A} {B}", to=(A, B)),
    Call("nodemailer", f"-i -f {ME} {A} {B}", "From: x@y.example\nBcc: {b}\nSubject: {n}\n\nx\n", to=(A, B)),
    Call("git send-email", f"-f {ME} -i {A} {B} {C}", to=(A, B, C)),
    Call("mutt", f"-oem -oi -f {ME} -- {A}"),
    Call("s-nail", f"-i -m -v -f {ME} -F Name -- {A}"),
    Call("bsd-mailx", "-i -t", TO, ROOT),
    Call("mailutils", f"-oi -f {ME} -t", TO),
    Call("MIME::Lite", "-t -oi -oem", TO, ROOT),
    Call("Email::Sender", f"-i -f {ME} -- {A} {B}", to=(A, B)),
    Call("Ruby Mail", f"-i -f {ME} -- {A}"),
    Call("Ruby Mail exim", "-i -t", TO, ROOT),
    Call("logwatch", "-t", TO + ".\nthis is not sent\n", ROOT, lacks="this is not sent"),
    Call("mdadm", "-t", TO, ROOT),
    Call("sudo", "-t", TO, ROOT),
    Call("fail2ban", f"-f {ME} {A}", TEXT + "..\n"),
    Call("unattended-upgrades", "-oi -t", TO, ROOT),
    Call("smartd", "-i -t", TO, ROOT),
    Call("Sympa", f"-oi -f {ME} -N success,delay,failure -R hdrs -V envid {A}"),
    Call("Django backend", f"-oi -f {ME} -t", COPIES, to=(A, B, C)),
    Call("a list in one word", f"-f {ME} {A},{B}", to=(A, B)),
    Call("options behind", f"{A} -f {ME} -i"),
    Call("-t and arguments", f"-t -f {ME} {B}", TO, to=(B, A)),
    Call("-ti", f"-ti -r {ME}", TO),
    Call("the null sender", f"-f <> {A}", sender=""),
    Call("an mbox line", f"-f {ME} {A}", "From x Mon Nov 23 00:00:00 2026\n" + TEXT, lacks="From x"),
    Call(
        "a resent message",
        f"-t -f {ME}",
        RESENT,
        to=(B, A),
    ),
    Call("nobody", "-t", "Subject: {n}\n\nx\n", exit=os.EX_USAGE),
    Call("no address", f"-f {ME} a@@b", exit=os.EX_DATAERR),
    Call("an unknown option", f"-W {A}", exit=os.EX_USAGE),
    Call("to become a daemon", "-bd", exit=os.EX_USAGE),
]


async def make(call: Call, n: int, daemon: Daemon) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, "sendmail", *call.words.split()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"POSTROAD_CONFIG": str(daemon.config), "PATH": os.environ["PATH"], "NAME": "Some One"},
    )
    text = call.text.format(n=f"call-{n}-", a=A, b=B, c=C)
    _, err = await process.communicate(text.encode())
    assert process.returncode == call.exit, (call.who, err)
    assert err.startswith(b"sendmail: fatal: ") == bool(call.exit), (call.who, err)


def as_root_of(sender: str) -> bool:
    """Whether the envelope names the user who runs these tests, completed with the host's name."""
    return sender.endswith("@mail.sender.example")


def check(world: World, calls: Sequence[Call]) -> None:
    arrivals = world["harbour.example"].arrivals
    for n, call in enumerate(calls):
        found = [one for one in arrivals if f"Subject: call-{n}-".encode() in one.octets]
        assert len(found) == (not call.exit), (call.who, found)
        for arrival in found:
            assert sorted(arrival.recipients) == sorted(call.to), call.who
            if call.sender == ROOT:
                assert as_root_of(arrival.sender), call.who
            else:
                assert arrival.sender == call.sender, call.who
            assert call.lacks.encode() not in arrival.octets, call.who
            if call.text != RESENT:
                head = arrival.octets.partition(b"\r\n\r\n")[0]
                wanted = (b"\r\nFrom: ", b"\r\nDate: ", b"\r\nMessage-ID: ")
                assert [head.count(name) for name in wanted] == [1, 1, 1], (call.who, head)


@pytest.mark.parametrize("down", [False, True])
async def test_each_of_the_calls_arrives_once_with_the_daemon_up_or_started_later(down: bool) -> None:
    async with World([Site("harbour.example"), Site("sender.example")]) as world:
        routes = {name: world[name].port for name in ("harbour.example", "sender.example")}
        daemon = Daemon(routes, {"local": {"aliases": "aliases"}})
        (daemon.directory / "aliases").write_text(f"root: {A}\n")
        # One asks to be told of success.
        count = sum(not call.exit for call in CALLS) + 1
        async with daemon:
            if down:
                await daemon.process.stop()
            for n, call in enumerate(CALLS):
                await make(call, n, daemon)
            if down:
                await daemon.restart()
            await daemon.until(lambda: len(daemon.events("removed")) == count, what=f"{count} removed")
            assert await daemon.queue() == []
            assert list((daemon.directory / "state" / "maildrop").iterdir()) == []
        check(world, CALLS)
        assert [report.recipients for report in world["sender.example"].arrivals] == [(ME,)]


# --- the programs themselves --------------------------------------------------------------

PERL_LITE = """
$m = MIME::Lite->new(From => "app\\@sender.example", To => $ARGV[1], Subject => "MIME::Lite", Data => "x\\n");
$m->send("sendmail", "$ARGV[0] -t -oi -oem") or die
"""
PERL_SENDER = """
use Email::Sender::Simple qw(sendmail); use Email::Simple; use Email::Sender::Transport::Sendmail;
$from = "app\\@sender.example";
$m = Email::Simple->create(header => [From => $from, Subject => "Email::Sender"], body => "x\\n");
$by = Email::Sender::Transport::Sendmail->new({sendmail => $ARGV[0]});
sendmail($m, {from => $from, to => [$ARGV[1]], transport => $by})
"""
PATCH = "From 0 Mon Sep 17 00:00:00 2001\nFrom: app <app@sender.example>\nSubject: git\n\nx\n---\n x | 1 +\n"
PHP_MAIL = "exit(mail($argv[1], 'php', 'x', 'From: app@sender.example', '-fapp@sender.example') ? 0 : 1);"


def programs(sendmail: str, folder: Path) -> dict[str, list[str]]:
    """By the subject they send: how each is told to send one mail to `A` by this sendmail."""
    (folder / "patch").write_text(PATCH)
    (folder / "mailrc").write_text(f"set sendmail={sendmail}\n")
    mutt = f'set sendmail="{sendmail} -oem -oi"; set from={ME}; set use_envelope_from; set copy=no'
    git = (
        "--quiet",
        f"--from={ME}",
        f"--envelope-sender={ME}",
        f"--to={A}",
        "--confirm=never",
        "--suppress-cc=all",
        "--no-validate",
    )
    return {
        "mutt": [require("mutt"), "-n", "-F", "/dev/null", "-e", mutt, "-s", "mutt", "--", A],
        "s-nail": [require("s-nail"), "-n", "-S", f"mta={sendmail}", "-r", ME, "-s", "s-nail", A],
        "bsd-mailx": [require("bsd-mailx"), "-s", "bsd-mailx", "-r", ME, A],
        "php": [require("php", "php-cli"), "-d", f"sendmail_path={sendmail} -t -i", "-r", PHP_MAIL, "--", A],
        "MIME::Lite": [require("perl"), "-MMIME::Lite", "-e", PERL_LITE, sendmail, A],
        "Email::Sender": [require("perl"), "-e", PERL_SENDER, sendmail, A],
        "git": [require("git"), "send-email", f"--smtp-server={sendmail}", *git, str(folder / "patch")],
    }


async def test_the_programs_themselves_send_by_it() -> None:
    async with World([Site("harbour.example")]) as world:
        site = world["harbour.example"]
        async with Daemon({"harbour.example": site.port}, {"local": {"aliases": "none"}}) as daemon:
            folder = daemon.directory
            sendmail = folder / "sendmail"
            python = f'exec {shlex.quote(sys.executable)} -c {shlex.quote(RUN)} sendmail "$@"\n'
            sendmail.write_text(f"#!/bin/sh\nexport POSTROAD_CONFIG={daemon.config}\n{python}")
            sendmail.chmod(0o755)
            told = programs(str(sendmail), folder)
            git = {"GIT_AUTHOR_NAME": "app", "GIT_COMMITTER_NAME": "app", "EMAIL": ME}
            environ = {**os.environ, **git, "HOME": str(folder), "MAILRC": str(folder / "mailrc")}
            for command in told.values():
                await run(*command, stdin=b"hello\n", env=environ)
            await daemon.until(lambda: len(daemon.events("removed")) == len(told), what="all removed")
        for subject in told:
            found = [one for one in site.arrivals if f"Subject: {subject}\r\n".encode() in one.octets]
            assert [one.recipients for one in found] == [(A,)], subject
            by_root = subject in ("MIME::Lite",)
            assert (found[0].sender == ME) != by_root, (subject, found[0].sender)
