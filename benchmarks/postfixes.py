"""A Postfix of our own in a temporary directory, set up for throughput as its documentation advises."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from children import Failed, end, free_port, listens, spawn, tail, until
from opendkims import OpenDkim
from rivals import LOGIN, Wishes

POSTFIX = "/usr/sbin/postfix"
POSTMAP = "/usr/sbin/postmap"
SASLPASSWD = "/usr/sbin/saslpasswd2"
DAEMONS = "/usr/lib/postfix/sbin"

# Every setting that is not Postfix's default, with its reason. What is durable stays as it is:
# cleanup(8) syncs each queue file before smtpd(8) says 250.
MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {top}/queue
data_directory = {top}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
maillog_file_prefixes = {top}
maillog_file = {log}
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.postfix.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
message_size_limit = {size}
# Nothing is local: no alias, no mailbox, no biff.
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:nothing is local
biff = no
# The clients are ours. No name lookups for them, and none of the limits and delays
# that protect against strangers (which would also ask anvil(8) at each connection).
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_relay_restrictions = {trust}, reject
smtpd_recipient_restrictions =
# The next hop is an address: nothing to ask of DNS or of the host file.
smtp_dns_support_level = disabled
smtp_host_lookup = native
# TUNING_README, "incoming mail exceeds what is delivered": the artificial pause is for disks of
# the nineties; without it Postfix takes mail as fast as it can.
in_flow_delay = 0
{more}
"""

# STARTTLS and AUTH from clients, STARTTLS to the relay. Connections with TLS are kept too, by
# tlsproxy(8), which is not the default but what TUNING_README advises for one busy destination.
TLS_CF = """\
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {certificates}/cert.pem
smtpd_tls_key_file = {certificates}/key.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {top}/etc/sasl
smtp_tls_security_level = encrypt
smtp_tls_connection_reuse = yes
smtp_tls_session_cache_database = btree:$data_directory/smtp_scache
"""
SASL_CONF = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {database}
mech_list: PLAIN LOGIN
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
tlsproxy unix - - n - 0 tlsproxy
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
QUEUES = ("maildrop", "incoming", "active", "deferred")


class Postfix:
    """The system's Postfix programs with directories and a port of their own; needs root, as Postfix does."""

    name = "Postfix"

    def __init__(self, wishes: Wishes, extra: tuple[str, ...] = ()) -> None:
        if os.geteuid() != 0:
            raise Failed("Postfix needs root: run the benchmark as root")
        self.port = free_port()
        self.top = Path(tempfile.mkdtemp(prefix="postfix-bench-"))
        self.log = self.top / "log"
        self._words = self.top / "words"
        self._process: subprocess.Popen[bytes] | None = None
        self._milter: OpenDkim | None = None
        self._furnish(wishes, extra)

    def _furnish(self, wishes: Wishes, extra: tuple[str, ...]) -> None:
        self.top.chmod(0o755)
        for name in ("etc", "queue", "data"):
            (self.top / name).mkdir()
        shutil.chown(self.top / "data", "postfix")
        (self.top / "etc" / "main.cf").touch()
        main = MAIN_CF.format(
            top=self.top,
            daemons=DAEMONS,
            log=self.log,
            trust="permit_sasl_authenticated" if wishes.tls else "permit_mynetworks",
            size=wishes.max_message_size,
            more="\n".join([*self._more(wishes), *extra]),
        )
        (self.top / "etc" / "main.cf").write_text(main)
        (self.top / "etc" / "master.cf").write_text(MASTER_CF.format(port=self.port))

    def _more(self, wishes: Wishes) -> Iterator[str]:
        if wishes.sites:
            lines = (f"{domain} smtp:[{site.replace(':', ']:')}\n" for domain, site in wishes.sites.items())
            table = self.top / "etc" / "transport"
            table.write_text("".join(lines))
            subprocess.run([POSTMAP, "-c", str(self.top / "etc"), f"hash:{table}"], check=True)
            yield f"transport_maps = hash:{table}"
        else:
            yield f"relayhost = [127.0.0.1]:{wishes.relay}"
        if wishes.tls:
            yield TLS_CF.format(top=self.top, certificates=wishes.certificates)
            self._accounts()
        if wishes.dkim_key:
            self._milter = OpenDkim(self.top, wishes.dkim_key)
            yield f"smtpd_milters = unix:{self._milter.socket}"
            yield "milter_default_action = tempfail"

    def _accounts(self) -> None:
        """Cyrus SASL with its own database: smtpd(8) asks a library, no further process.

        Debian looks beside main.cf whatever cyrus_sasl_config_path says.
        """
        (self.top / "etc" / "sasl").mkdir()
        database = self.top / "etc" / "sasl" / "sasldb2"
        (self.top / "etc" / "sasl" / "smtpd.conf").write_text(SASL_CONF.format(database=database))
        command = [SASLPASSWD, "-c", "-p", "-f", str(database), "-u", "mail.postfix.example", LOGIN[0]]
        subprocess.run(command, input=LOGIN[1].encode(), check=True)
        shutil.chown(database, "postfix")

    def start(self) -> None:
        if self._milter:
            self._milter.start()
        process = self._process = spawn([POSTFIX, "-c", str(self.top / "etc"), "start-fg"], self._words)
        until(lambda: listens(self.port) or process.poll() is not None, 30, "Postfix listens", 0.05)
        if process.poll() is not None:
            raise Failed(f"Postfix ended: {tail(self._words)}\n{self.last_words()}")

    def stop(self) -> None:
        if self._process is not None:
            self._end_master()
            end(self._process)
        if self._milter:
            self._milter.stop()
        shutil.rmtree(self.top, ignore_errors=True)

    def _end_master(self) -> None:
        """start-fg is a script before it is the master, which ends its own children."""
        try:
            master = int((self.top / "queue" / "pid" / "master.pid").read_text())
            os.kill(master, signal.SIGTERM)
        except (OSError, ValueError):
            return
        until(lambda: not Path(f"/proc/{master}").exists(), 15, "Postfix ends", 0.05)

    def pids(self) -> list[int]:
        own = [self._process.pid] if self._process else []
        return own + (self._milter.pids() if self._milter else [])

    def waiting(self) -> int:
        return sum(len(names) for queue in QUEUES for _, _, names in os.walk(self.top / "queue" / queue))

    def last_words(self) -> str:
        """What was not delivered at once, and the end of the log."""
        try:
            lines = self.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return ""
        amiss = [line for line in lines if "status=" in line and "status=sent" not in line]
        return "\n".join([*amiss[:10], *lines[-8:]])
