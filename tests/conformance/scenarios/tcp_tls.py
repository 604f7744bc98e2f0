"""Network filters behind TLS: a TCP proxy that carries what was decrypted, and access by certificates."""

from __future__ import annotations

import hashlib

import trio

from ..configuration import bootstrap, cluster
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, connect_tls, downstream
from ..wire import Wire
from .network_filters import ANY, chain, rbac, rules
from .tcp_proxy import settled

DENY = rbac(
    "deny.",
    "rules: "
    + rules(
        "DENY",
        a=(ANY, "{not_id: {authenticated: {}}}"),
        b=("{requested_server_name: {exact: example.com}}", ANY),
    ),
)


def secured(name: str, *filters: str) -> dict[str, object]:
    out = chain(name, *filters)
    out["filter_chains"][0]["transport_socket"] = downstream()
    return out


SETUP = Setup(
    "tcp-tls",
    bootstrap([secured("app"), secured("deny", DENY)], [cluster("app", "app")]),
    {"app": "raw"},
    CERTIFICATES,
)


@scenario(SETUP)
async def tcp_behind_tls(s: Session) -> None:
    """What comes encrypted goes on in plain text, much of it too; the log counts what was decrypted."""
    size = 1024 * 1024
    sent = bytes(range(256)) * (size // 256)

    async def answer(wire: Wire) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.send, sent)
            s.see("upstream gets", hashlib.sha256(await wire.exactly(size)).hexdigest())
        await wire.rest()

    s.upstream().raw_script = answer
    async with (
        s.logging(1, "app"),
        s.counting("tcp.app.downstream_cx_rx_bytes_total", "tcp.app.downstream_cx_tx_bytes_total"),
    ):
        client = await connect_tls(s, "app", is_seen=False)
        assert client is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.wire.send, sent)
            s.see("client gets", hashlib.sha256(await client.wire.exactly(size)).hexdigest())
        client.close()
        await settled(s, "app")


@scenario(SETUP)
async def tcp_upstream_ends_first_behind_tls(s: Session) -> None:
    """The upstream ends its side: the client is told by close_notify."""

    async def answer(wire: Wire) -> None:
        await wire.exactly(5)
        await wire.send(b"world")
        wire.half_close()
        await wire.rest()

    s.upstream().raw_script = answer
    async with s.logging(1, "app"):
        client = await connect_tls(s, "app", is_seen=False)
        assert client is not None
        await client.send(b"hello")
        s.see("client gets", (await client.wire.rest())[0].decode())
        client.close()
        await settled(s, "app")


@scenario(SETUP)
async def tcp_rbac_behind_tls(s: Session) -> None:
    """A policy that asks for certificates is asked behind the handshake."""
    async with s.counting("deny.rbac.denied", "deny.rbac.allowed"), s.logging(1, "deny"):
        client = await connect_tls(s, "deny", is_seen=False)
        assert client is not None
        await client.send(b"hello")
        s.see("client gets", (await client.wire.some()).decode())
        client.close()
        await settled(s, "deny")
