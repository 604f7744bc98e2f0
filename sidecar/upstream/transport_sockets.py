"""Transport sockets of a cluster: which one a host gets, and hands shaken through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sidecar.core.address import is_ip
from sidecar.core.dataclass import dataclass
from sidecar.net.peer_options import ClientEnds, PeerOptions, TlsRefused
from sidecar.upstream.pool import connect_failure

if TYPE_CHECKING:
    from sidecar.core.address import Address
    from sidecar.core.headers import RequestHeaders
    from sidecar.net.reactor import Transport
    from sidecar.net.tls_client import TlsClient
    from sidecar.observability.stats import Counter, Scope
    from sidecar.upstream.host import Host

__all__ = ["SOCKET_MATCH", "Layer", "RequestNames", "SocketMatch", "TransportSockets"]

#: Where an endpoint's metadata says which socket it wants.
SOCKET_MATCH = "envoy.transport_socket_match"


class Layer(Protocol):
    """A transport socket that wraps another, or TLS."""

    #: Whether it tells whose connection it carries, so that clients do not share connections.
    wants_client: bool

    def set_scope(self, scope: Scope) -> None:
        """Count in ``cluster.<name>.``."""
        ...

    def address_of(self, host: Host) -> Address | None:
        """Where a connection to ``host`` goes in its place; None for the host itself."""
        ...

    async def prepare(
        self, transport: Transport, host: Host, options: PeerOptions, sent: Counter | None
    ) -> None:
        """Do with a connected transport what comes first; ``sent`` counts bytes.  Raises: UpstreamError."""
        ...


@dataclass(frozen=True, slots=True)
class SocketMatch:
    """``Cluster.TransportSocketMatch``: for endpoints whose metadata has all of ``criteria``."""

    name: str
    criteria: Mapping[str, Any]
    #: None for bytes as they are.
    client: TlsClient | None
    #: What comes in front of it.
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestNames:
    """``UpstreamHttpProtocolOptions``: what a request's host means for the handshake of its connection."""

    auto_sni: bool = False
    auto_san_validation: bool = False
    #: The header to be taken in place of the host; empty for the host.
    header: bytes = b""

    def options(self, headers: RequestHeaders, defaults: PeerOptions) -> PeerOptions:
        """What a connection for the request asks for."""
        value = (headers.get(self.header) if self.header else None) or headers.authority or b""
        name = value.decode("latin-1").lower()
        host, _, port = name.rpartition(":")
        if host and port.isdigit() and not name.endswith("]"):
            name = host
        bare = name.removeprefix("[").removesuffix("]")
        if not bare:
            return defaults
        return PeerOptions(
            defaults.alpn,
            sni=name if self.auto_sni and not is_ip(bare) else "",
            names=(bare,) if self.auto_san_validation else (),
        )


class TransportSockets:
    """Of one cluster: the first match that fits a host, else ``default`` (None: bytes as they are)."""

    def __init__(
        self,
        default: TlsClient | None,
        matches: Sequence[SocketMatch] = (),
        layers: Sequence[Layer] = (),
    ) -> None:
        """``layers`` are those in front of ``default``."""
        self.default = default
        self.matches = tuple(matches)
        self.layers = tuple(layers)
        #: Whether any host's connections carry more than bytes or TLS.
        self.has_layers = bool(self.layers) or any(match.layers for match in self.matches)
        self._counters: dict[str, Counter] = {}

    @property
    def clients(self) -> list[TlsClient]:
        """Every TLS socket."""
        found = [self.default, *(match.client for match in self.matches)]
        return [client for client in found if client is not None]

    def set_scope(self, scope: Scope) -> None:
        """Count in ``cluster.<name>.``."""
        for client in self.clients:
            client.set_scope(scope)
        for layer in (*self.layers, *(layer for match in self.matches for layer in match.layers)):
            layer.set_scope(scope)
        self._counters = {
            match.name: scope.counter(f"{match.name}.total_match_count") for match in self.matches
        }

    def match_of(self, metadata: Mapping[str, Mapping[str, Any]]) -> SocketMatch | None:
        """The match of an endpoint's metadata; None for the cluster's own socket."""
        wanted = metadata.get(SOCKET_MATCH, {})
        for match in self.matches:
            if all(wanted.get(key) == value for key, value in match.criteria.items()):
                return match
        return None

    def client_of(self, host: Host) -> TlsClient | None:
        """The socket of ``host``."""
        match = self.match_of(host.metadata) if self.matches else None
        return self.default if match is None else match.client

    def layers_of(self, host: Host) -> tuple[Layer, ...]:
        """What comes in front of :meth:`client_of`."""
        match = self.match_of(host.metadata) if self.matches else None
        return self.layers if match is None else match.layers

    def address_of(self, host: Host) -> Address | None:
        """Where a connection to ``host`` goes in its place; None for the host itself."""
        found = (layer.address_of(host) for layer in self.layers_of(host))
        return next((address for address in found if address is not None), None)

    def client_ends(self, host: Host, connection: Any) -> ClientEnds | None:
        """Whose connection one to ``host`` carries, where that is told; None for the proxy's own, too."""
        if not connection.remote_address or not any(each.wants_client for each in self.layers_of(host)):
            return None
        return ClientEnds(
            connection.remote_address, connection.local_address, connection.proxy_protocol_tlvs or ()
        )

    def count_match(self, metadata: Mapping[str, Mapping[str, Any]]) -> bool:
        """Count an endpoint for its match; False where it has none."""
        match = self.match_of(metadata)
        if match is None:
            return False
        self._counters[match.name].value += 1
        return True

    async def shake_hands(
        self, transport: Transport, host: Host, options: PeerOptions, sent: Counter | None = None
    ) -> Transport:
        """The transport that is used for ``host`` over ``transport``.  Raises: UpstreamError.

        What layers send is counted in ``sent``.
        """
        if self.has_layers:
            for layer in self.layers_of(host):
                await layer.prepare(transport, host, options, sent)
        client = self.client_of(host)
        if client is None:
            return transport
        try:
            return await client.shake_hands(transport, host.hostname, options)
        except TlsRefused as refused:
            raise connect_failure(refused.reason) from refused
