"""Streams made by hand."""

from __future__ import annotations

from typing import Any, ClassVar

from sidecar.api.message import FixedBody, RequestMessage, ResponseMessage
from sidecar.api.stream import Stream
from sidecar.core.headers import Field, HeaderMap, RequestHeaders, ResponseHeaders


class Connection:
    connection_id = 7
    remote_address = "10.1.2.3:4567"
    direct_remote_address = "127.0.0.1:4567"
    direct_local_address = "[2001:db8::1]:8080"
    filter_state = dynamic_metadata = None
    local_address = "[2001:db8::1]:8080"
    listener_name = "main"
    filter_chain_name = ""
    detected_close_type = "Normal"
    agent: Any = False
    local_close_reason = ""
    requested_server_name = ""
    tls = None
    transport_failure_reason = ""
    start_ns = 1


class Host:
    address = "10.0.0.9:80"
    hostname = "up.example:80"
    metadata: ClassVar = {"ns": {"k": "host"}}


class Route:
    name = "rw"
    cluster_name = "up"
    virtual_host_name = "all"
    metadata: ClassVar[dict[str, dict[str, Any]]] = {"ns": {"r": {"a": [1, 2.5, None]}}}
    virtual_host_metadata: ClassVar[dict[str, dict[str, Any]]] = {"ns": {"v": "vhost"}}
    per_filter_config: ClassVar[dict[str, Any]] = {}


class Cluster:
    name = "up"

    class config:
        alt_stat_name = "alt"


START_NS = 1_000_000_000
START_TIME = 1795383443.595921


def make_stream(
    *,
    path: bytes = b"/d",
    fields: list[Field] | None = None,
    response: list[Field] | None = None,
    trailers: HeaderMap | None = None,
) -> Stream:
    """A stream at its end; without ``response`` none was begun."""
    headers = RequestHeaders(b"GET", path, b"h:1", b"http", list(fields or []))
    stream = Stream(Connection(), None, RequestMessage(headers), "HTTP/1.1")
    stream.start_ns = START_NS
    stream.start_time = START_TIME
    stream.remote_address = Connection.remote_address
    if response is not None:
        stream.response = ResponseMessage(ResponseHeaders(200, response))
        stream.response_code = 200
        stream.downstream_last_tx_ns = START_NS + 22_900_000
        if trailers is not None:
            stream.response.body = FixedBody(b"", trailers)
    return stream
