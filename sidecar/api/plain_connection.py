"""The two ends of something that is no connection of a listener's, as formatters and balancers see them.

A session of datagrams is one, and so is a connection towards a host.
"""

from __future__ import annotations

import time
from typing import Any

from sidecar.api.message import RequestMessage
from sidecar.api.stream import Stream
from sidecar.core.headers import RequestHeaders

__all__ = ["PlainConnection", "make_stream"]


class PlainConnection:
    """It is a :class:`sidecar.api.stream.ConnectionInfo`; what only connections have is unset."""

    filter_chain_name = ""
    detected_close_type = "Normal"
    local_close_reason = ""
    agent: Any = False
    listener_metadata: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - nobody changes it
    requested_server_name = ""
    transport_protocol = ""
    application_protocols: tuple[str, ...] = ()
    upstream_source = None
    tls: Any = None
    transport_failure_reason = ""
    dynamic_metadata: dict[str, dict[str, Any]] | None = None
    typed_metadata: dict[str, dict[str, Any]] | None = None
    filter_state: dict[str, Any] | None = None
    proxy_protocol_tlvs: tuple[tuple[int, bytes], ...] | None = None
    is_local_address_restored = False
    network_session: Any = None
    protocol = ""

    def __init__(
        self,
        number: int,
        remote: str,
        local: str,
        listener_name: str = "",
        direction: str = "UNSPECIFIED",
    ) -> None:
        self.connection_id = number
        self.remote_address = self.direct_remote_address = remote
        self.local_address = self.direct_local_address = local
        self.listener_name = listener_name
        self.traffic_direction = direction
        self.start_ns = time.monotonic_ns()


def make_stream(connection: PlainConnection) -> Stream:
    """A stream without a request."""
    stream = Stream(connection, None, RequestMessage(RequestHeaders()), "")
    stream.start_ns = connection.start_ns
    stream.start_time = time.time()
    stream.resolve_route = False
    import uuid  # what it imports is a fiftieth of a start

    stream.request_id = str(uuid.uuid4()).encode()
    return stream
