"""The transport socket that reaches hosts through a proxy of HTTP/1.1.

The connection goes to the proxy that the endpoint's metadata names, or to the configuration's.  Where TLS
follows, or where it was the endpoint that named the proxy, CONNECT asks for a tunnel first; else the proxy
gets the bytes as the host would.  Without a proxy the host is connected as ever.
``envoy.transport_sockets.http_11_proxy``.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from sidecar.core.address import split_address
from sidecar.upstream.pool import connect_failure

if TYPE_CHECKING:
    from sidecar.core.address import Address
    from sidecar.net.peer_options import PeerOptions
    from sidecar.net.reactor import Transport
    from sidecar.observability.stats import Counter, Scope
    from sidecar.upstream.host import Host

__all__ = ["Http11ProxySocket"]

#: The longest head of an answer to CONNECT.
_MOST_BYTES = 2000
_ACCEPTED = re.compile(rb"HTTP/1\.[01] 200[ \r]")


class Http11ProxySocket:
    """One layer of a cluster's transport socket (:class:`sidecar.upstream.transport_sockets.Layer`)."""

    wants_client = False

    def __init__(self, default_address: Address | None, *, is_secure: bool) -> None:
        """``is_secure``: TLS follows."""
        self._default_address = default_address
        self._is_secure = is_secure

    def set_scope(self, scope: Scope) -> None:
        """It counts nothing of its own."""

    def address_of(self, host: Host) -> Address | None:
        """Where a connection to ``host`` goes in its place; None for no proxy."""
        return host.http_proxy or self._default_address

    async def prepare(
        self, transport: Transport, host: Host, options: PeerOptions, sent: Counter | None
    ) -> None:
        """Ask the proxy for a tunnel, where one is needed.  Raises: UpstreamError."""
        if self.address_of(host) is None or not (self._is_secure or host.http_proxy is not None):
            return
        port = split_address(host.address)[1]
        name = f"{host.hostname}:{port}" if host.hostname else host.address
        head = f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
        try:
            await transport.send_all(head)
            if sent is not None:
                sent.value += len(head)
            await _read_answer(transport)
        except OSError as error:
            raise connect_failure("") from error


async def _read_answer(transport: Transport) -> None:
    """Read the head of the answer, and no more.  Raises: OSError; UpstreamError for any but 200.

    What is no answer at all is waited behind, as by Envoy, until it is too long or the time to connect is up.
    """
    seen = 0
    while True:
        await transport.readable()
        try:
            data = transport.sock.recv(_MOST_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            continue
        end = data.find(b"\r\n\r\n")
        if end >= 0 and data.startswith(b"HTTP/1."):
            transport.sock.recv(end + 4)
            transport.ready = True  # there may be more behind it
            if not _ACCEPTED.match(data):
                raise connect_failure("")
            return
        if len(data) == seen or len(data) == _MOST_BYTES:  # its end, or too long
            raise connect_failure("")
        seen = len(data)
