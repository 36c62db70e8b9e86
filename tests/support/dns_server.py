"""A DNS server on loopback, UDP and TCP on one port, that answers from a dictionary.

    zone = {"example.com": {"MX": ["10 mx.example.com."]}, "mx.example.com": {"A": ["192.0.2.1"]}}
    async with DnsServer(zone, servfail={"broken.example"}, drop={"silent.example"}) as server:
        DnsResolver([("127.0.0.1", server.port)])

"broken.example/AAAA" fails for that type alone. A name that is absent is NXDOMAIN, one
with other types NODATA; a CNAME is followed inside the zone, as a recursive server does.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from postroad.demo.process import free_port

Zone = Mapping[str, Mapping[str, Sequence[str]]]


class DnsServer:
    """`asked` counts the questions by (name, type); zone, servfail and drop may change while it runs."""

    def __init__(
        self,
        zone: Zone,
        *,
        servfail: Collection[str] = (),
        drop: Collection[str] = (),
        truncate: Collection[str] = (),
        ttl: int = 300,
    ) -> None:
        self.zone = {name: dict(types) for name, types in zone.items()}
        self.servfail = set(servfail)
        self.drop = set(drop)
        self.truncate = set(truncate)
        self.ttl = ttl
        self.port = 0
        self.asked: Counter[tuple[str, str]] = Counter()
        self.over_tcp = 0

    async def __aenter__(self) -> DnsServer:
        loop = asyncio.get_running_loop()
        # One number for both: what UDP gets by itself may be taken for TCP.
        self.port = free_port()
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Udp(self), local_addr=("127.0.0.1", self.port)
        )
        listening = socket.create_server(("127.0.0.1", self.port))
        self._tcp = await asyncio.start_server(self._serve_tcp, sock=listening)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._udp.close()
        self._tcp.close()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            length = int.from_bytes(await reader.readexactly(2), "big")
            self.over_tcp += 1
            wire = self.answer(await reader.readexactly(length), tcp=True)
            if wire is not None:
                writer.write(len(wire).to_bytes(2, "big") + wire)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        """The response to a query, None for none."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        type = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, type] += 1
        if name in self.drop:
            return None
        response = dns.message.make_response(query, recursion_available=True)
        if name in self.servfail or f"{name}/{type}" in self.servfail:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name in self.truncate and not tcp:
            response.flags |= dns.flags.TC
        else:
            self._fill(response, name, type)
        return response.to_wire()

    def _fill(self, response: dns.message.Message, name: str, type: str) -> None:
        for _ in range(8):
            types = self.zone.get(name)
            if types is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                return
            for kind in ("CNAME", type):
                if types.get(kind):
                    owner = dns.name.from_text(name)
                    response.answer.append(dns.rrset.from_text_list(owner, self.ttl, "IN", kind, types[kind]))
            if not types.get("CNAME"):
                return
            name = types["CNAME"][0].rstrip(".")


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        wire = self._server.answer(data, tcp=False)
        if wire is not None:
            self._transport.sendto(wire, addr)
