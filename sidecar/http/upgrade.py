"""Requests that turn their stream into a tunnel: HTTP/1.1 upgrades, RFC 8441 and CONNECT.

Filters see what Envoy shows them on every protocol: a request with ``connection`` and ``upgrade``, or the
method CONNECT, and a body of tunnelled bytes.  An :class:`UpgradeManager` is the connection manager of such
a stream: it decides whether the type is allowed (``upgrade_configs`` of the connection manager and of the
route) and has the filters that belong to it.  The bytes themselves are carried as two bodies; how they meet
an upstream is :mod:`sidecar.router.tunnel`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sidecar.api.message import Body, LocalReply
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import Disconnected
from sidecar.core.state import copy_state, state_names
from sidecar.http.connection_manager import ConnectionManager
from sidecar.http.log_moments import log_now
from sidecar.http.varying_chain import FilterHooks, VaryingChain

if TYPE_CHECKING:
    from sidecar.api.filters import HttpFilter
    from sidecar.api.stream import Stream
    from sidecar.codec.h1 import RequestParser
    from sidecar.core.headers import Field, HeaderMap, RequestHeaders
    from sidecar.http.connection_manager import Responder
    from sidecar.net.h1_stream import H1Reader
    from sidecar.router.exchange import Router

__all__ = [
    "CONNECT",
    "TunnelBody",
    "UpgradeConfig",
    "UpgradeManager",
    "begin_upgrade",
    "extended_to_upgrade",
    "has_upgrade",
    "upgrade_of",
    "with_hop_fields",
]

CONNECT = b"CONNECT"
_REFUSED = LocalReply(403, details="upgrade_failed", close=True)
_SMALL = 65536
_LARGE = 1 << 20


@dataclass(frozen=True, slots=True)
class UpgradeConfig:
    """One of the connection manager's ``upgrade_configs``."""

    enabled: bool = True
    #: Filters in place of the connection manager's; None leaves those.
    filters: tuple[HttpFilter, ...] | None = None
    #: The router at the end of those.
    router: Router | None = None


class _UpgradeChain(VaryingChain):
    """The filters of an upgrade that has its own; one that is not allowed has those of other requests."""

    def __init__(
        self, own: FilterHooks, others: FilterHooks, set_local_reply: Callable[[Stream, LocalReply], None]
    ) -> None:
        super().__init__((), lambda _stream: None, set_local_reply)
        self._own = own
        self._others = others

    def _of(self, stream: Stream) -> FilterHooks:
        return self._others if stream.is_upgraded is False else self._own


class UpgradeManager(ConnectionManager):
    """A connection manager for the upgrades of one type; what is not its own is its base's."""

    def __init__(self, base: ConnectionManager, upgrade_type: bytes) -> None:
        super().__init__(base.reactor, base.stats, base.router)
        self._names = state_names(self)
        self._base = base
        #: In lower case.
        self._type = upgrade_type
        self.follow()
        config = base.upgrades.get(upgrade_type)
        self._is_enabled = config is not None and config.enabled
        if config is not None and config.filters is not None:
            self.set_filters(config.filters)
            self.router = config.router
            own = FilterHooks(self._decode_hooks, self._encode_hooks, self._complete_hooks)
            others = FilterHooks(base._decode_hooks, base._encode_hooks, base._complete_hooks)
            hooks = _UpgradeChain(own, others, self.set_local_reply).hooks()
            self._encode_hooks = hooks.encode
            self._complete_hooks = hooks.complete
            decode = hooks.decode
        else:
            decode = base._decode_hooks
        self._decode_hooks = ((self._admit, False), *decode)
        own_names = ("_decode_hooks", "_encode_hooks", "_complete_hooks", "filters", "router", "slot_count")
        self._names = tuple(name for name in self._names if name not in own_names)

    def follow(self) -> None:
        """Have the base's attributes as they are now."""
        copy_state(self._base, self, self._names)

    def _admit(self, stream: Stream) -> LocalReply | None:
        """The first hook: whether this upgrade is allowed (``createUpgradeFilterChain``)."""
        route = stream.find_route()
        allowed: bool | None = None
        if route is not None and route.upgrades is not None:
            allowed = route.upgrades.get(self._type)
        if allowed is None:
            allowed = self._is_enabled
        stream.is_upgraded = allowed
        if not allowed:
            if route is None:
                return None  # that it has none is what the router says
            self.stats.downstream_rq_ws_on_non_ws_route.value += 1
            return _REFUSED
        self.stats.downstream_cx_upgrades_total.value += 1
        self.stats.downstream_cx_upgrades_active.inc()
        return None

    def _finish_headers(self, stream: Stream, responder: Responder) -> None:
        super()._finish_headers(stream, responder)
        self._finish_upgrade(stream)
        if stream.is_tunnel and self._base.logs_tunnels:
            log_now(stream, "DownstreamTunnelSuccessfullyEstablished")

    def _finish_upgrade(self, stream: Stream) -> None:
        response = stream.response
        assert response is not None
        headers = response.headers
        if stream.upgrade == CONNECT:
            status = headers.status
            stream.is_tunnel = 200 <= status < 300
            if stream.is_tunnel and status != 200:
                headers.set(b"connection", b"close")
            return
        if not has_upgrade(headers):
            headers.remove(b"connection")
            headers.remove(b"upgrade")
            return
        stream.is_tunnel = True
        status = headers.status
        if status >= 200 and b"content-length" not in headers.index():
            headers.add(b"content-length", b"0")
        if stream.protocol == "HTTP/2":
            # RFC 8441 §5: accepted is 200, and the headers of HTTP/1.1 go.
            headers.remove(b"connection")
            headers.remove(b"upgrade")
            if headers.get(b"content-length") == b"0":
                headers.remove(b"content-length")
            if status == 101:
                headers.status = 200

    def _complete(self, stream: Stream, *, is_timed: bool = True) -> None:
        if stream.is_upgraded:
            self.stats.downstream_cx_upgrades_active.dec()
        super()._complete(stream, is_timed=is_timed)

    def _on_disconnect(self, stream: Stream, responder: Responder, error: Disconnected) -> None:
        body = stream.request.body
        if stream.response_started and body is not None and not body.ended:
            self.stats.downstream_rq_response_before_rq_complete.value += 1
        super()._on_disconnect(stream, responder, error)


def begin_upgrade(stream: Stream, upgrade: bytes) -> None:
    """Give a stream that asks for ``upgrade`` the connection manager of its type."""
    stream.upgrade = upgrade
    base = stream.hcm
    kind = upgrade.lower()
    manager = base.upgrade_managers.get(kind)
    if manager is None:
        manager = UpgradeManager(base, kind)
        if kind in base.upgrades:
            base.upgrade_managers[kind] = manager
    else:
        manager.follow()
    stream.hcm = manager


def has_upgrade(headers: HeaderMap) -> bool:
    """Whether a head says that it upgrades: ``upgrade``, and its token in ``connection``."""
    index = headers.index()
    if b"upgrade" not in index:
        return False
    tokens = index.get(b"connection", b"").lower().split(b",")
    return any(token.strip() == b"upgrade" for token in tokens)


def upgrade_of(parser: RequestParser, ignored: Sequence[Callable[[bytes], bool]]) -> bytes | None:
    """What an HTTP/1.1 request wants to become; None for nothing, and for h2c, which Envoy does not hear.

    ``ignored``: which other types are not heard (``ignore_http_11_upgrade``).
    """
    upgrade = parser.upgrade
    if upgrade is None or b"upgrade" not in parser.connection_tokens or upgrade.lower() == b"h2c":
        return None
    return None if any(is_ignored(upgrade) for is_ignored in ignored) else upgrade


def with_hop_fields(fields: list[Field], hop_fields: list[tuple[int, Field]] | None) -> list[Field]:
    """``fields`` with ``connection`` and ``upgrade`` again, where they stood."""
    for at, field in reversed(hop_fields or ()):
        fields.insert(at, field)
    return fields


def extended_to_upgrade(headers: RequestHeaders) -> bytes:
    """Make an extended CONNECT (RFC 8441) the upgrade that it stands for; its type.

    Without a protocol, or with ``bytestream``, it is a CONNECT.
    """
    upgrade = headers.protocol
    if upgrade is None or upgrade == b"bytestream":
        headers.protocol = None
        return CONNECT
    headers.method = b"GET"
    headers.protocol = None
    headers.set(b"upgrade", upgrade)
    headers.set(b"connection", b"upgrade")
    return upgrade


class TunnelBody(Body):
    """What a client sends behind the head of an upgrade over HTTP/1.1: bytes, until it closes.

    The client's end of file ends the tunnel as a whole, as in Envoy, which does not let a downstream
    connection be half closed.
    """

    __slots__ = ("_reader", "_size")

    def __init__(self, reader: H1Reader) -> None:
        self.whole = None
        self.ended = False
        self.trailers = None
        self._reader = reader
        self._size = _SMALL

    @property
    def early_bytes(self) -> int:
        """What came with the head."""
        return len(self._reader.rest)

    async def receive(self) -> bytes:
        reader = self._reader
        data = reader.rest
        if data:
            reader.rest = b""
            return data
        size = self._size
        try:
            data = await reader.transport.receive(size)
        except OSError as error:
            raise Disconnected(str(error)) from error
        if not data:
            raise Disconnected("the client closed the tunnel")
        reader.rx_bytes += len(data)
        if len(data) == size and size < _LARGE:
            self._size = size * 4
        return data
