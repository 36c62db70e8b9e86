"""A receiving server of our own, where smtp-sink cannot serve: with STARTTLS, slow, at many addresses.

    python benchmarks/receiver.py --port N --counter FILE [--tls DIRECTORY] [--delay S] [--addresses N]
                                  [--times FILE]

Listens on 127.0.0.1, or on the first N addresses from 127.1.0.1 on. Takes and forgets
every message. With a delay each command, the greeting and the final dot are answered
that long after the one before, as by a host that needs this time for it. The number
of recipients of all messages taken stands in FILE, 8 octets, little-endian, always current.
With `--times` the moment of each MAIL whose sender is `load+NUMBER@...` goes to that
file at the end: number and seconds of time.time(), a line each.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import re
import signal
import ssl
import struct
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

import uvloop

NUMBER = re.compile(rb"MAIL FROM:<load\+(\d{1,9})@", re.IGNORECASE)
END = b"\r\n.\r\n"
OTHERS = (b"MAIL", b"RSET", b"NOOP", b"HELO")
MAX_LINE = 65536
COUNT = struct.Struct("<Q")
FIRST = IPv4Address("127.1.0.1")


def addresses(count: int) -> list[str]:
    """The loopback addresses that stand for `count` hosts."""
    return [str(FIRST + number) for number in range(count)]


class Receiver(asyncio.Protocol):
    """One connection: commands in order, content skipped to its end mark."""

    def __init__(
        self,
        counted: Callable[[int], None],
        tls: ssl.SSLContext | None,
        delay: float,
        seen: list[tuple[int, float]] | None,
    ) -> None:
        self._seen = seen
        self._counted = counted
        self._tls = tls
        self._delay = delay
        self._free = 0.0
        self._buffer = b""
        self._content = False
        self._recipients = 0
        self._quit = False
        self._secure = False
        self._loop = asyncio.get_running_loop()
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._say(b"220 receiver.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        replies = b""
        data = self._buffer + data
        while data:
            if self._content:
                at = data.find(END)
                if at < 0:
                    data = data[-len(END) + 1 :]
                    break
                data = data[at + len(END) :]
                self._content = False
                replies = self._add(replies, b"250 2.0.0 Ok: queued as 4XyZq7\r\n", self._recipients)
                self._recipients = 0
                continue
            line, found, rest = data.partition(b"\r\n")
            if not found:
                break
            data = rest
            replies = self._add(replies, self._answer(line[:4].upper(), line))
        self._buffer = data
        if len(data) > MAX_LINE:
            self._transport.abort()
        elif replies:
            self._transport.write(replies)
        if self._quit and not self._delay:
            self._transport.close()

    def _add(self, replies: bytes, reply: bytes, taken: int = 0) -> bytes:
        """Without a delay the replies to one group go out together."""
        if self._delay:
            self._say(reply, taken)
            return replies
        self._counted(taken)
        return replies + reply

    def _say(self, reply: bytes, taken: int = 0) -> None:
        if not self._delay:
            self._transport.write(reply)
            return
        self._free = max(self._free, self._loop.time()) + self._delay
        self._loop.call_at(self._free, self._late, reply, taken)

    def _late(self, reply: bytes, taken: int) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply)
            self._counted(taken)
            if reply.startswith(b"221"):
                self._transport.close()

    def _answer(self, verb: bytes, line: bytes) -> bytes:
        if self._seen is not None and (found := NUMBER.match(line)):
            self._seen.append((int(found[1]), time.time()))
        if verb == b"RCPT":
            self._recipients += 1
            return b"250 2.1.5 Ok\r\n"
        if verb == b"EHLO":
            tls = b"250-STARTTLS\r\n" if self._tls and not self._secure else b""
            return (
                b"250-receiver.example\r\n250-PIPELINING\r\n250-SIZE 0\r\n"
                + tls
                + b"250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n"
            )
        if verb == b"DATA":
            # What follows belongs to the content; its first line may be the dot.
            self._content = True
            return b"354 End data with <CR><LF>.<CR><LF>\r\n"
        if verb == b"STAR" and self._tls and not self._secure:
            self._secure = True
            self._handshake = self._loop.create_task(self._wrap(self._tls))
            return b"220 2.0.0 Ready to start TLS\r\n"
        if verb == b"QUIT":
            self._quit = True
            return b"221 2.0.0 Bye\r\n"
        # Content that was taken for commands must not pass for a delivery.
        return b"250 2.1.0 Ok\r\n" if verb in OTHERS else b"502 5.5.2 Unknown command\r\n"

    async def _wrap(self, context: ssl.SSLContext) -> None:
        try:
            transport = await self._loop.start_tls(self._transport, self, context, server_side=True)
        except (OSError, ssl.SSLError):
            self._transport.abort()
            return
        self._buffer = b""
        self._transport = cast(asyncio.Transport, transport)


async def serve(options: argparse.Namespace) -> None:
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.tls / "cert.pem", options.tls / "key.pem")
    hosts = addresses(options.addresses) if options.addresses else ["127.0.0.1"]
    with options.counter.open("r+b") as file, mmap.mmap(file.fileno(), COUNT.size) as counter:
        taken = 0

        def counted(count: int) -> None:
            nonlocal taken
            taken += count
            COUNT.pack_into(counter, 0, taken)

        seen: list[tuple[int, float]] | None = [] if options.times else None
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, over.set)
        await loop.create_server(
            lambda: Receiver(counted, context, options.delay, seen), hosts, options.port, backlog=1024
        )
        await over.wait()
        if seen is not None:
            options.times.write_text("".join(f"{number} {at}\n" for number, at in seen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--counter", type=Path, required=True, help="an existing file of 8 octets")
    parser.add_argument("--tls", type=Path, help="directory with cert.pem and key.pem")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--addresses", type=int, default=0)
    parser.add_argument("--times", type=Path)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
