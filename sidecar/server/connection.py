"""A downstream connection, as filters and formatters see it."""

from __future__ import annotations

import _socket
import itertools
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.api.message import RequestMessage
from sidecar.api.stream import Stream
from sidecar.core.address import Address
from sidecar.core.headers import RequestHeaders

if TYPE_CHECKING:
    from sidecar.net.tls_facts import TlsFacts
    from sidecar.server.filter_chain import FilterChain
    from sidecar.server.listener import Listener
    from sidecar.upstream.source import UpstreamSource

__all__ = ["Connection"]

#: ``sock.family``, without the enumeration around it.
_family_of = _socket.socket.family.__get__

_next_connection_id = itertools.count(1).__next__


class Connection:
    """It is a :class:`sidecar.api.stream.ConnectionInfo`, and what a filter chain is chosen by.

    What listener filters find out has its defaults on the class: most connections change none of it.
    """

    #: The chain that was chosen, and its name.
    filter_chain: FilterChain | None = None
    filter_chain_name = ""
    filter_chain_metadata: dict[str, dict[str, Any]] | None = None
    #: SNI, in lower case.
    requested_server_name = ""
    #: ``tls`` or ``raw_buffer``.
    transport_protocol = "raw_buffer"
    #: What the client offered (ALPN), or was seen to speak.
    application_protocols: tuple[str, ...] = ()
    #: What is known of its TLS; None without TLS.
    tls: TlsFacts | None = None
    #: Why its transport socket failed.
    transport_failure_reason = ""
    #: How it ended, as far as it has, and why we ended it.
    detected_close_type = "Normal"
    local_close_reason = ""
    #: Of its first request (:mod:`sidecar.http.user_agents`); False until there was one.
    agent: Any = False
    ja3_hash = ""
    ja4_hash = ""
    #: namespace → {key: value}, and name → value; None until a listener filter sets something.
    dynamic_metadata: dict[str, dict[str, Any]] | None = None
    #: The messages among it, as plain data.
    typed_metadata: dict[str, dict[str, Any]] | None = None
    filter_state: dict[str, Any] | None = None
    #: The PROXY protocol's TLVs that are handed on; None without its head.
    proxy_protocol_tlvs: tuple[tuple[int, bytes], ...] | None = None
    #: From where upstreams are connected to: a :class:`sidecar.upstream.source.UpstreamSource`, None for us.
    upstream_source: UpstreamSource | None = None
    #: Whether ``local_address`` is another than the socket's.
    is_local_address_restored = False
    _stream: Stream | None = None
    #: What a connection manager speaks on it (``HTTP/2``).
    protocol = ""
    #: What the network filters of its chain share; None without any.
    network_session: Any = None
    #: What is called once the connection is over, behind its listener's log.
    at_end: Sequence[Callable[[], None]] = ()

    def __init__(self, listener: Listener, sock: socket.socket, peer: Any) -> None:
        self.connection_id = _next_connection_id()
        family = _family_of(sock)
        if family == socket.AF_UNIX:
            self.remote_address = listener.address.text
            self.local_address = listener.address.text
        else:
            self.remote_address = Address.text_of(family, peer)
            own = sock.getsockname()
            if own != listener.last_local[0]:
                listener.last_local = (own, Address.text_of(family, own))
            self.local_address = listener.last_local[1]
        self.direct_remote_address = self.remote_address
        self.direct_local_address = self.local_address
        self.listener = listener
        self.listener_name = listener.name
        self.traffic_direction = listener.traffic_direction
        self.listener_metadata = listener.metadata
        self.start_ns = time.monotonic_ns()

    def move_to(self, listener: Listener) -> None:
        """Another listener goes on with the connection; only its addresses and what it said are kept."""
        self.listener = listener
        self.listener_name = listener.name
        self.traffic_direction = listener.traffic_direction
        self.listener_metadata = listener.metadata
        self._stream = None

    def restore_local_address(self, address: str) -> None:
        """The client meant ``address``, whatever socket it came to."""
        self.local_address = address
        self.is_local_address_restored = True

    @property
    def stream(self) -> Stream:
        """The connection as access logs see it: a stream without a request, which all of them share."""
        stream = self._stream
        if stream is None:
            stream = self._stream = Stream(self, None, RequestMessage(RequestHeaders()), "")
            stream.start_ns = self.start_ns
            stream.start_time = time.time() - (time.monotonic_ns() - self.start_ns) / 1e9
            stream.dynamic_metadata = self.dynamic_metadata
            stream.resolve_route = False
            stream.access_log_type = "NotSet"
        return stream
