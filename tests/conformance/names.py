"""A name server for scenarios: answers over UDP on the port of an upstream of kind `dead`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import trio

from .lab import Session


class Names:
    """Every name has the `addresses`; without any it does not exist."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    def answer(self, question: bytes) -> bytes:
        query = dns.message.from_wire(question)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        asked = query.question[0]
        if not self.addresses:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif asked.rdtype == 1:
            reply.answer.append(dns.rrset.from_text(asked.name, 1, "IN", "A", *self.addresses))
        return reply.to_wire()


@asynccontextmanager
async def serving_names(s: Session, upstream: str, *addresses: str) -> AsyncIterator[Names]:
    """Serve names on the port of `upstream` inside the block."""
    names = Names(*addresses)
    port = s.proxy.listening[upstream].getsockname()[1]
    sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    with sock:
        await sock.bind(("127.0.0.1", port))

        async def serve() -> None:
            while True:
                data, peer = await sock.recvfrom(4096)
                await sock.sendto(names.answer(data), peer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield names
            nursery.cancel_scope.cancel()
