"""Entries of ``envoy.data.accesslog.v3`` as a log service gets them, and the message that holds them.

An edge in the sense of docs/adr/0004 and 0005: messages are made and filled in here, and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format, struct_pb2, wrappers_pb2

from sidecar.api.stream import Flag
from sidecar.core.address import split_address
from sidecar.core.dataclass import dataclass
from sidecar.extensions.authz.check_messages import sanitized
from sidecar.observability.operators import make_operator
from sidecar.observability.span_tags import moments

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = [
    "LAST",
    "PROTOCOLS",
    "Encode",
    "EntrySettings",
    "LogBatch",
    "address_bytes",
    "details_of",
    "encode_tcp_entry",
    "enum_numbers",
    "rare_common",
    "request_headers_bytes",
    "response_headers_bytes",
    "varint",
]

#: The bytes of an entry: ``encode(stream, settings)``.
Encode = Callable[["Stream", "EntrySettings"], bytes]

#: By moments of a stream, the fields that say how long after its start they were.
_MOMENTS = {
    "last_downstream_rx_byte_received": "time_to_last_rx_byte",
    "first_upstream_tx_byte_sent": "time_to_first_upstream_tx_byte",
    "last_upstream_tx_byte_sent": "time_to_last_upstream_tx_byte",
    "first_upstream_rx_byte_received": "time_to_first_upstream_rx_byte",
    "last_upstream_rx_byte_received": "time_to_last_upstream_rx_byte",
    "first_downstream_tx_byte_sent": "time_to_first_downstream_tx_byte",
    "last_downstream_tx_byte_sent": "time_to_last_downstream_tx_byte",
}
#: Flags that a message has fields for; one that is raised for another reason as well stands twice.
_FLAGS = (
    (Flag.FAILED_LOCAL_HEALTH_CHECK, "failed_local_healthcheck"),
    (Flag.NO_HEALTHY_UPSTREAM, "no_healthy_upstream"),
    (Flag.UPSTREAM_REQUEST_TIMEOUT, "upstream_request_timeout"),
    (Flag.LOCAL_RESET, "local_reset"),
    (Flag.UPSTREAM_REMOTE_RESET, "upstream_remote_reset"),
    (Flag.UPSTREAM_CONNECTION_FAILURE | Flag.TUNNEL_GIVEN_UP, "upstream_connection_failure"),
    (Flag.UPSTREAM_CONNECTION_TERMINATION, "upstream_connection_termination"),
    (Flag.UPSTREAM_OVERFLOW, "upstream_overflow"),
    (Flag.NO_ROUTE_FOUND, "no_route_found"),
    (Flag.DELAY_INJECTED, "delay_injected"),
    (Flag.FAULT_INJECTED, "fault_injected"),
    (Flag.RATE_LIMITED, "rate_limited"),
    (Flag.RATE_LIMIT_SERVICE_ERROR, "rate_limit_service_error"),
    (Flag.DOWNSTREAM_CONNECTION_TERMINATION, "downstream_connection_termination"),
    (Flag.UPSTREAM_RETRY_LIMIT_EXCEEDED | Flag.CONNECT_ATTEMPTS_EXCEEDED, "upstream_retry_limit_exceeded"),
    (Flag.STREAM_IDLE_TIMEOUT, "stream_idle_timeout"),
    (Flag.INVALID_ENVOY_REQUEST_HEADERS, "invalid_envoy_request_headers"),
    (Flag.DOWNSTREAM_PROTOCOL_ERROR, "downstream_protocol_error"),
    (Flag.UPSTREAM_MAX_STREAM_DURATION_REACHED, "upstream_max_stream_duration_reached"),
    (Flag.RESPONSE_FROM_CACHE_FILTER, "response_from_cache_filter"),
    (Flag.NO_FILTER_CONFIG_FOUND, "no_filter_config_found"),
    (Flag.DURATION_TIMEOUT, "duration_timeout"),
    (Flag.UPSTREAM_PROTOCOL_ERROR, "upstream_protocol_error"),
    (Flag.NO_CLUSTER_FOUND, "no_cluster_found"),
    (Flag.OVERLOAD_MANAGER_TERMINATED, "overload_manager"),
    (Flag.DNS_RESOLUTION_FAILED, "dns_resolution_failure"),
    (Flag.DOWNSTREAM_REMOTE_RESET, "downstream_remote_reset"),
)
_EXTERNAL_SERVICE = 1
_BYTES = tuple(bytes((number,)) for number in range(128))
#: Lines of a stream that is over.
LAST = frozenset({"DownstreamEnd", "TcpConnectionEnd", "UdpSessionEnd", "UpstreamEnd", "NotSet"})
PROTOCOLS = {"HTTP/1.0": 1, "HTTP/1.1": 2, "HTTP/2": 3, "HTTP/3": 4}
_TLS_VERSIONS = {"TLSv1": 1, "TLSv1.1": 2, "TLSv1.2": 3, "TLSv1.3": 4}
_DETAILS = make_operator("RESPONSE_CODE_DETAILS", "", None, frozenset())


@dataclass(frozen=True, slots=True)
class EntrySettings:
    """What is told besides what is always told."""

    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    response_trailers: tuple[str, ...] = ()
    #: ``set(tags, stream)`` of each custom tag, where ``tags`` has a ``set_tag``.
    custom_tags: Sequence[Callable[[Any, Stream], None]] = ()
    filter_state: tuple[str, ...] = ()


@cache
def enum_numbers() -> tuple[dict[str, int], dict[str, int]]:
    """Numbers of ``RequestMethod`` and of ``AccessLogType`` by name."""
    import sidecar.config.messages  # noqa: F401, I001 - it completes the API's modules
    from envoy.config.core.v3 import base_pb2
    from envoy.data.accesslog.v3 import accesslog_pb2

    return dict(base_pb2.RequestMethod.items()), dict(accesslog_pb2.AccessLogType.items())


@cache
def _messages() -> Any:
    import sidecar.config.messages  # noqa: F401, I001 - it completes the API's modules
    from envoy.data.accesslog.v3 import accesslog_pb2

    return accesslog_pb2


def varint(number: int) -> bytes:
    """A number that is not negative."""
    if number < 128:
        return _BYTES[number]
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
    if number < 1 << 21:
        return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14 & 127 | 128)) + varint(
        number >> 21
    )


class LogBatch:
    """A ``StreamAccessLogsMessage`` that is being put together."""

    __slots__ = ("_entries", "_identifier", "_is_tcp", "size")

    def __init__(self, *, is_tcp: bool) -> None:
        self._is_tcp = is_tcp
        self._entries: list[bytes] = []
        self._identifier = b""
        #: Bytes of the entries.
        self.size = 0

    def add(self, stream: Stream, encode: Encode, settings: EntrySettings) -> None:
        """Add an entry about ``stream``."""
        entry = encode(stream, settings)
        self._entries.append(entry)
        self.size += len(entry)

    def identify(self, log_name: str, node: bytes) -> None:
        """Say who sends: the first message of a stream does."""
        import sidecar.config.messages  # noqa: F401, I001 - it completes the API's modules
        from envoy.service.accesslog.v3 import als_pb2

        message = als_pb2.StreamAccessLogsMessage()
        message.identifier.log_name = log_name
        message.identifier.node.MergeFromString(node)
        self._identifier = message.SerializeToString()

    def encode(self) -> bytes:
        """The bytes: ``identifier``, and ``http_logs`` (2) or ``tcp_logs`` (3) of ``log_entry`` (1)."""
        logs = b"".join([b"\x0a" + varint(len(each)) + each for each in self._entries])
        return self._identifier + (b"\x1a" if self._is_tcp else b"\x12") + varint(len(logs)) + logs


def encode_tcp_entry(stream: Stream, settings: EntrySettings) -> bytes:
    """A ``TCPAccessLogEntry``."""
    entry = _messages().TCPAccessLogEntry()
    _fill_common(entry.common_properties, stream, settings)
    connection = entry.connection_properties
    connection.SetInParent()
    connection.received_bytes = stream.bytes_received
    connection.sent_bytes = stream.bytes_sent
    if stream.bytes_received or stream.bytes_sent:
        common = entry.common_properties
        common.downstream_wire_bytes_received = common.upstream_wire_bytes_sent = stream.bytes_received
        common.downstream_wire_bytes_sent = common.upstream_wire_bytes_received = stream.bytes_sent
    data: bytes = entry.SerializeToString()
    return data


# -- parts of entries that few have, for :mod:`.entry_wire` ------------------------------------------------
def rare_common(stream: Stream, settings: EntrySettings) -> bytes:
    """What ``common_properties`` has besides."""
    connection: Any = stream.connection
    ja3: str = getattr(connection, "ja3_hash", "")
    if not (
        ja3
        or stream.flags
        or stream.dynamic_metadata
        or connection.tls is not None
        or connection.requested_server_name
        or settings.custom_tags
        or settings.filter_state
    ):
        return b""
    common = _messages().AccessLogCommon()
    _fill_rare(common, stream, settings)
    data: bytes = common.SerializeToString()
    return data


def request_headers_bytes(headers: HeaderMap, names: Sequence[str]) -> bytes:
    """``request_headers``."""
    message = _messages().HTTPRequestProperties()
    _copy(message.request_headers, headers, names)
    data: bytes = message.SerializeToString()
    return data


def response_headers_bytes(stream: Stream, settings: EntrySettings) -> bytes:
    """``response_headers`` and ``response_trailers``."""
    message = _messages().HTTPResponseProperties()
    if stream.response_headers is not None:
        _copy(message.response_headers, stream.response_headers, settings.response_headers)
    if stream.response_trailers is not None:
        _copy(message.response_trailers, stream.response_trailers, settings.response_trailers)
    data: bytes = message.SerializeToString()
    return data


def address_bytes(text: str) -> bytes:
    """An ``Address``."""
    import sidecar.config.messages  # noqa: F401, I001 - it completes the API's modules
    from envoy.config.core.v3 import address_pb2

    message = address_pb2.Address()
    _set_address(message, text)
    data: bytes = message.SerializeToString()
    return data


def details_of(stream: Stream) -> str:
    """The response code details as logs show them; empty for none."""
    return str(_DETAILS(stream) or "")


def _copy(target: Any, headers: HeaderMap, names: Sequence[str]) -> None:
    """The headers of these names, values of one name joined."""
    for name in names:
        if name.startswith(":"):
            found = getattr(headers, name[1:], None)
            value = b"%d" % found if isinstance(found, int) else found
        else:
            value = headers.get_joined(name.encode())
        if value is not None:
            target[name] = sanitized(value)


# -- what connections and requests have in common ---------------------------------------------------------
def _fill_common(common: Any, stream: Stream, settings: EntrySettings) -> None:
    connection = stream.connection
    _set_address(common.downstream_remote_address, stream.remote_address or connection.remote_address)
    _set_address(common.downstream_direct_remote_address, connection.direct_remote_address)
    _set_address(common.downstream_local_address, connection.local_address)
    _fill_times(common, stream)
    host: Any = stream.upstream_host
    if host is not None:
        _set_address(common.upstream_remote_address, host.address)
        if stream.cluster is not None:
            common.upstream_cluster = stream.cluster.name
    if stream.upstream_local_address:
        _set_address(common.upstream_local_address, stream.upstream_local_address)
    if stream.upstream_transport_failure:
        common.upstream_transport_failure_reason = stream.upstream_transport_failure
    if connection.transport_failure_reason:
        common.downstream_transport_failure_reason = connection.transport_failure_reason
    if stream.route is not None and stream.route.name:
        common.route_name = stream.route.name
    if stream.attempt_count:
        common.upstream_request_attempt_count = stream.attempt_count
    if stream.connection_termination_details:
        common.connection_termination_details = stream.connection_termination_details
    if stream.request_id is not None:
        common.stream_id = sanitized(stream.request_id)
    if stream.access_log_type != "NotSet":
        common.access_log_type = enum_numbers()[1][stream.access_log_type]
    _fill_rare(common, stream, settings)


def _fill_rare(common: Any, stream: Stream, settings: EntrySettings) -> None:
    _fill_tls(common, stream.connection)
    _fill_flags(common, stream.flags)
    if stream.dynamic_metadata:
        for namespace, fields in stream.dynamic_metadata.items():
            target = common.metadata.filter_metadata[namespace]
            json_format.ParseDict(fields, target)
    for name in settings.filter_state:
        _put_state(common, name, stream)
    if settings.custom_tags:
        tags = _Tags(common.custom_tags)
        for each in settings.custom_tags:
            each(tags, stream)


class _Tags:
    """Takes custom tags, as a span does."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def set_tag(self, name: str, value: str) -> None:
        """Keep a tag."""
        self._target[name] = value


def _fill_times(common: Any, stream: Stream) -> None:
    common.start_time.FromNanoseconds(int(stream.start_time * 1e9))
    start = stream.first_start_ns or stream.start_ns
    for name, when in moments(stream):
        if when >= start:
            getattr(common, _MOMENTS[name]).FromNanoseconds(when - start)
    if stream.access_log_type in LAST:
        end = stream.downstream_last_tx_ns or time.monotonic_ns()
        common.duration.FromNanoseconds(end - start)
    else:
        common.intermediate_log_entry = True


def _fill_tls(common: Any, connection: Any) -> None:
    if connection.requested_server_name:
        common.tls_properties.tls_sni_hostname = connection.requested_server_name
    ja3 = getattr(connection, "ja3_hash", "")
    if ja3:
        common.tls_properties.ja3_fingerprint = ja3
    tls = connection.tls
    if tls is None:
        return
    properties = common.tls_properties
    for side, certificate in (
        (properties.local_certificate_properties, tls.local),
        (properties.peer_certificate_properties, tls.peer),
    ):
        side.SetInParent()
        if certificate is None:
            continue
        for uri in certificate.sans("URI"):
            side.subject_alt_name.add(uri=uri)
        side.subject = certificate.subject
    properties.tls_session_id = tls.session_id or ""
    properties.tls_version = _TLS_VERSIONS.get(tls.version, 0)
    properties.tls_cipher_suite.value = int(tls.cipher_id, 16)


def _fill_flags(common: Any, flags: int) -> None:
    if not flags:
        return
    for flag, field in _FLAGS:
        if flags & flag:
            setattr(common.response_flags, field, True)
    if flags & Flag.UNAUTHORIZED_EXTERNAL_SERVICE:
        common.response_flags.unauthorized_details.reason = _EXTERNAL_SERVICE


def _put_state(common: Any, name: str, stream: Stream) -> None:
    state = stream.filter_state
    value = None if state is None else state.get(name)
    if value is None and stream.connection.filter_state is not None:
        value = stream.connection.filter_state.get(name)
    fields = getattr(value, "fields", None)
    if isinstance(fields, dict):
        message: Any = struct_pb2.Struct()
        json_format.ParseDict(fields, message)
    elif isinstance(value, str | bytes):
        text = value if isinstance(value, str) else sanitized(value)
        message = wrappers_pb2.StringValue(value=text)
    else:
        return
    common.filter_state_objects[name].Pack(message)


def _set_address(target: Any, text: str | None) -> None:
    if not text:
        return
    host, port = split_address(text)
    if port is None:
        target.pipe.path = host
    else:
        target.socket_address.address = host
        target.socket_address.port_value = port
