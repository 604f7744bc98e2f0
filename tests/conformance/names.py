"""A name server for scenarios, over UDP.

On the port of an upstream of kind `dns` it gets the questions that were asked before it was there, too; on
one of kind `dead` those are refused.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio

from .lab import Session


class Names:
    """Every name has the `addresses`, or what `records` says; without any it does not exist."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        #: name → addresses of both families, for names that are not like the others.
        self.records: dict[str, list[str]] = {}
        self.ttl = 1
        #: What every question is answered with, in place of addresses.
        self.rcode: int | None = None
        #: Name and type of every question.
        self.asked: list[tuple[str, str]] = []

    def answer(self, question: bytes) -> bytes:
        query = dns.message.from_wire(question)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        asked = query.question[0]
        name, kind = asked.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(asked.rdtype)
        self.asked.append((name, kind))
        found = self.records.get(name, self.addresses)
        wanted = [each for each in found if (":" in each) is (kind == "AAAA")]
        if self.rcode is not None:
            reply.set_rcode(dns.rcode.Rcode(self.rcode))
        elif not found:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif wanted and kind in ("A", "AAAA"):
            reply.answer.append(dns.rrset.from_text(asked.name, self.ttl, "IN", kind, *wanted))
        return reply.to_wire(want_shuffle=False)


@asynccontextmanager
async def serving_names(s: Session, upstream: str, *addresses: str) -> AsyncIterator[Names]:
    """Serve names on the port of `upstream` inside the block."""
    names = Names(*addresses)
    bound = s.proxy.listening[upstream]
    if bound.type == socket.SOCK_DGRAM:
        sock = trio.socket.from_stdlib_socket(bound.dup())
    else:
        sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await sock.bind(("127.0.0.1", bound.getsockname()[1]))
    with sock:

        async def serve() -> None:
            while True:
                data, peer = await sock.recvfrom(4096)
                await sock.sendto(names.answer(data), peer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield names
            nursery.cancel_scope.cancel()
