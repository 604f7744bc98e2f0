"""The transport socket that tells a host whose connection it gets: the PROXY protocol.

Its head is the first that is sent, in front of any handshake.  A connection for no client (of health checks,
of mirrors) is told as the proxy's own.  ``envoy.transport_sockets.upstream_proxy_protocol``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.api.plain_connection import PlainConnection, make_stream
from sidecar.core.address import Address
from sidecar.upstream.pool import connect_failure
from sidecar.upstream.proxy_header import LOCAL_HEADER, Tlv, proxy_header, write_tlvs

if TYPE_CHECKING:
    from sidecar.net.peer_options import ClientEnds, PeerOptions
    from sidecar.net.reactor import Transport
    from sidecar.observability.stats import Counter, Scope
    from sidecar.upstream.host import Host

__all__ = ["AddedTlv", "ProxyProtocolSocket"]

#: A value, or what makes one of the connection to the host.
AddedTlv = tuple[int, "bytes | Callable[[Any], str]"]


class ProxyProtocolSocket:
    """One layer of a cluster's transport socket (:class:`sidecar.upstream.transport_sockets.Layer`)."""

    wants_client = True

    def __init__(
        self, version: int, *, passes: frozenset[int] | None = frozenset(), added: Sequence[AddedTlv] = ()
    ) -> None:
        """``passes``: types of the client's TLVs that go on; None for all."""
        self._version = version
        self._passes = passes
        self._added = tuple(added)
        self._too_long: Counter | None = None

    def set_scope(self, scope: Scope) -> None:
        """Count in ``cluster.<name>.``."""
        self._too_long = scope.counter("upstream.proxyprotocol.v2_tlvs_exceed_max_length")

    def address_of(self, host: Host) -> Address | None:
        """None: it goes to the host itself."""
        return None

    async def prepare(
        self, transport: Transport, host: Host, options: PeerOptions, sent: Counter | None
    ) -> None:
        """Send the head.  Raises: UpstreamError.  If cancelled: part of it may be gone."""
        head = self._head(transport, host, options.client)
        try:
            await transport.send_all(head)
        except OSError as error:
            raise connect_failure("") from error
        if sent is not None:
            sent.value += len(head)

    def _head(self, transport: Transport, host: Host, client: ClientEnds | None) -> bytes:
        if self._version == 1:
            if client is not None:
                return proxy_header(client.source, client.destination, 1)
            return proxy_header(_own_address(transport), host.address, 1)
        if client is None:
            return LOCAL_HEADER
        tlvs, is_whole = write_tlvs(self._tlvs(transport, host, client))
        if not is_whole and self._too_long is not None:
            self._too_long.value += 1
        return proxy_header(client.source, client.destination, 2, tlvs)

    def _tlvs(self, transport: Transport, host: Host, client: ClientEnds) -> Iterator[Tlv]:
        """Those of the host, of the configuration, of the client; a type is told by the first that has it."""
        yield from host.proxy_tlvs
        kinds = {kind for kind, _ in host.proxy_tlvs}
        own = [each for each in self._added if each[0] not in kinds]
        for kind, value in own:
            yield kind, value if isinstance(value, bytes) else _formatted(value, transport, host)
        kinds.update(kind for kind, _ in own)
        passes = self._passes
        for kind, value in client.tlvs:
            if kind not in kinds and (passes is None or kind in passes):
                yield kind, value


def _own_address(transport: Transport) -> str:
    return Address.from_sockaddr(transport.sock.family, transport.sock.getsockname()).text


def _formatted(line: Callable[[Any], str], transport: Transport, host: Host) -> bytes:
    """``format_string``: what it reads is the connection to the host."""
    stream = make_stream(PlainConnection(0, host.address, _own_address(transport)))
    stream.upstream_host = host
    return line(stream).encode("utf-8", "surrogateescape")
