"""A DNS server on loopback, UDP and TCP, that answers from a table."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import trio

__all__ = ["DnsPeer"]


async def _same_port() -> tuple[trio.SocketListener, trio.socket.SocketType]:
    """A TCP listener and a UDP socket on one port; another port where UDP's is taken."""
    for _ in range(50):
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        udp = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        try:
            await udp.bind(("127.0.0.1", listener.socket.getsockname()[1]))
        except OSError:
            udp.close()
            await listener.aclose()
        else:
            return listener, udp
    raise OSError("no port is free for both UDP and TCP")


class DnsPeer:
    """``records`` is ``{(name, type): addresses}``; a name without records does not exist."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        #: Names answered with this code in place of records.
        self.failures: dict[str, int] = {}
        self.ttl = 60
        #: Answer UDP with the truncated bit.
        self.truncate = False
        #: Hear, and say nothing.
        self.silent = False
        #: ``(transport, name, type)`` of every question.
        self.questions: list[tuple[str, str, str]] = []
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DnsPeer]:
        listener, udp = await _same_port()
        with udp:
            self.port = udp.getsockname()[1]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_udp, udp)
                nursery.start_soon(trio.serve_listeners, self._serve_tcp, [listener])
                yield self
                nursery.cancel_scope.cancel()

    async def _serve_udp(self, udp: trio.socket.SocketType) -> None:
        while True:
            data, address = await udp.recvfrom(4096)
            answer = self._answer(data, "udp")
            if self.truncate:
                answer.flags |= dns.flags.TC
                answer.answer = []
            if not self.silent:
                await udp.sendto(answer.to_wire(), address)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        data = await stream.receive_some(4096)
        wire = self._answer(data[2:], "tcp").to_wire()
        await stream.send_all(struct.pack("!H", len(wire)) + wire)

    def _answer(self, data: bytes, transport: str) -> dns.message.Message:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text().rstrip(".")
        kind = dns.rdatatype.to_text(question.rdtype)
        self.questions.append((transport, name, kind))
        answer = dns.message.make_response(query)
        if name in self.failures:
            answer.set_rcode(dns.rcode.Rcode(self.failures[name]))
            return answer
        found = self.records.get((name, kind), [])
        if found:
            rrset = dns.rrset.from_text_list(question.name, self.ttl, dns.rdataclass.IN, kind, found)
            answer.answer.append(rrset)
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer
