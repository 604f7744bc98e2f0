"""The operators of access-log formats: what each reads from a finished (or running) stream.

An operator is compiled to a function from the stream to a value: None where it is unset, else text, a
number, a boolean, a dict or a list, as Envoy's typed JSON has it.  :mod:`sidecar.observability.formatter`
parses formats and puts values together.

What is in :data:`OPERATORS` is answered; what is not is refused by name, as Envoy refuses it.  Some are
counted for access logs alone (:data:`NOT_RECORDED`): where another format asks for one, the configuration
layer warns (:func:`sidecar.observability.formatter.unrecorded_operators`).
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sidecar.api.stream import Stream, flag_text
from sidecar.core.errors import SidecarError
from sidecar.observability.address_operators import (
    address,
    attempted,
    host_address,
    host_address_without_port,
    host_name,
    host_name_without_port,
    port,
    without_port,
)
from sidecar.observability.cel_operators import CelOptions, make_cel_operator
from sidecar.observability.header_operators import (
    grpc_number,
    grpc_status,
    path,
    query_parameter,
    query_parameters,
    request_header,
    request_header_without_query,
    requested_server_name,
    response_header,
    response_trailer,
    truncated,
)
from sidecar.observability.line_template import Attribute, Coded, Computed, Moment
from sidecar.observability.metadata_operators import (
    dynamic_metadata,
    filter_state,
    metadata,
    metadata_of,
    upstream_filter_state,
)
from sidecar.observability.stream_cluster import cluster_of
from sidecar.observability.time_format import (
    DEFAULT_LOCAL_PATTERN,
    DEFAULT_PATTERN,
    compile_time_format,
    has_newline,
    is_coarse,
)
from sidecar.observability.tls_operators import cert_time, tls_readers
from sidecar.observability.unset_operators import NOT_RECORDED
from sidecar.observability.wire_operators import WIRE_OPERATORS

__all__ = ["EXTENSION_OPERATORS", "OPERATORS", "UnknownOperator", "Value", "make_operator", "operator_names"]


class UnknownOperator(SidecarError):
    """No operator of Envoy's is called ``name``."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Not supported field in StreamInfo: {name}")
        self.name = name


Value = Callable[[Stream], Any]
#: From the argument and the length limit to the operator.
Maker = Callable[[str, int | None], Value]

_COMMAND_ONLY, _NO_LENGTH, _ANY, _REQUIRED, _REQUIRED_NO_LENGTH = range(5)


def operator_names() -> frozenset[str]:
    """The names that a format may hold."""
    return frozenset(OPERATORS) | NOT_RECORDED


def make_operator(name: str, argument: str, limit: int | None, extensions: frozenset[Any]) -> Value:
    """The operator ``%name(argument):limit%``; ``extensions`` are names, and options of CEL.

    Raises: SidecarError with Envoy's words.
    """
    entry = OPERATORS.get(name)
    if entry is None and name in extensions:
        entry = EXTENSION_OPERATORS.get(name)
    if entry is None:
        if name in NOT_RECORDED:
            _check_syntax(name, _COMMAND_ONLY, argument, limit)
            return _unset
        raise UnknownOperator(name)
    syntax, maker = entry
    _check_syntax(name, syntax, argument, limit)
    if name in ("CEL", "TYPED_CEL"):
        options = next((each for each in extensions if isinstance(each, CelOptions)), CelOptions())
        return make_cel_operator(argument, limit, options, is_typed=name == "TYPED_CEL")
    return maker(argument, limit)


def _check_syntax(name: str, syntax: int, argument: str, limit: int | None) -> None:
    if syntax == _COMMAND_ONLY and (argument or limit is not None):
        raise SidecarError(f"{name} does not take any parameters or length")
    if syntax in (_NO_LENGTH, _REQUIRED_NO_LENGTH) and limit is not None:
        raise SidecarError(f"{name} does not allow length to be specified.")
    if syntax in (_REQUIRED, _REQUIRED_NO_LENGTH) and not argument:
        raise SidecarError(f"{name} requires parameters")


def _unset(stream: Stream) -> None:
    return None


def _plain(function: Value) -> tuple[int, Maker]:
    """An operator without argument."""

    def make(argument: str, limit: int | None) -> Value:
        return function

    return _COMMAND_ONLY, make


def _attribute(path: str) -> tuple[int, Maker]:
    """An attribute of the stream, a dotted path to it, that is unset when empty."""
    return _plain(Attribute(path))


# -- time -----------------------------------------------------------------------------------------
def _start_time(default: str, *, local: bool, emit: bool) -> tuple[int, Maker]:
    def make(argument: str, limit: int | None) -> Value:
        if has_newline(argument):
            raise SidecarError("Invalid header configuration. Format string contains newline.")
        text = compile_time_format(argument or default, local=local)
        if emit:
            return lambda stream: text(time.time())
        return Moment(text, is_coarse=is_coarse(argument or default))

    return _NO_LENGTH, make


def _duration(stream: Stream) -> int:
    start_ns = stream.first_start_ns or stream.start_ns
    return ((stream.downstream_last_tx_ns or time.monotonic_ns()) - start_ns) // 1_000_000


def _between(start: str, end: str, unit_ns: int = 1_000_000) -> Value:
    def between(stream: Stream) -> int | None:
        start_ns: int = getattr(stream, start)
        if start == "start_ns":
            start_ns = stream.first_start_ns or start_ns
        end_ns: int = getattr(stream, end)
        if end == "upstream_last_rx_ns" and not end_ns:
            end_ns = stream.upstream_first_rx_ns  # it came in one piece
        return (end_ns - start_ns) // unit_ns if start_ns and end_ns and end_ns >= start_ns else None

    return between


#: The points of COMMON_DURATION that a stream marks; the others are unset, as unknown ones are.
_POINTS = {
    "DS_RX_BEG": "start_ns",
    "DS_RX_END": "request_last_rx_ns",
    "US_TX_BEG": "upstream_first_tx_ns",
    "US_TX_END": "upstream_last_tx_ns",
    "US_RX_BEG": "upstream_first_rx_ns",
    "US_RX_END": "upstream_last_rx_ns",
    "DS_TX_END": "downstream_last_tx_ns",
}
_UNITS_NS = {"ms": 1_000_000, "us": 1_000, "ns": 1}


def _pool_ready_duration(stream: Stream) -> int | None:
    """Milliseconds until a connection was there, or was known not to come."""
    end_ns = stream.upstream_first_tx_ns
    if not end_ns:
        if stream.upstream_host is None:
            return None
        end_ns = stream.downstream_last_tx_ns or time.monotonic_ns()
    return max(end_ns - stream.start_ns, 0) // 1_000_000


def _handshake_duration(stream: Stream) -> int | None:
    """Milliseconds from the start of the connection to the end of its handshake."""
    connection = stream.connection
    tls = connection.tls
    return None if tls is None else max(tls.made_ns - connection.start_ns, 0) // 1_000_000


def _common_duration(argument: str, limit: int | None) -> Value:
    words = argument.split(":")
    if len(words) not in (2, 3):
        raise SidecarError(f"Invalid common duration configuration: {argument}.")
    unit = words[2] if len(words) == 3 else "ms"
    if unit not in _UNITS_NS:
        raise SidecarError(f"Invalid common duration precision: {unit}.")
    start, end = _POINTS.get(words[0]), _POINTS.get(words[1])
    if start is None or end is None:
        return _unset
    return _between(start, end, _UNITS_NS[unit])


# -- results --------------------------------------------------------------------------------------
def _without_spaces(text: str) -> str:
    return "_".join(text.split()) if any(char.isspace() for char in text) else text


def _response_code_details(argument: str, limit: int | None) -> Value:
    if argument == "ALLOW_WHITESPACES":
        return lambda stream: stream.details or None
    return lambda stream: _without_spaces(stream.details) if stream.details else None


def _transport_failure(stream: Stream) -> str | None:
    return _without_spaces(stream.upstream_transport_failure) or None


def _downstream_transport_failure(stream: Stream) -> str | None:
    return _without_spaces(stream.connection.transport_failure_reason) or None


def _cert_time(name: str, argument: str, limit: int | None) -> Value:
    return cert_time(name, argument)


def _upstream_close_type(stream: Stream) -> str | None:
    if stream.upstream_host is None and (stream.hcm is not None or stream.cluster is None):
        return None
    return stream.upstream_close_type


def _addresses(name: str, read: Value) -> dict[str, tuple[int, Maker]]:
    """The three operators of one address."""
    return {
        f"{name}_ADDRESS": _plain(address(read)),
        f"{name}_ADDRESS_WITHOUT_PORT": (_NO_LENGTH, lambda argument, limit: without_port(read, argument)),
        f"{name}_PORT": _plain(port(read)),
    }


# -- route and upstream -----------------------------------------------------------------------------
def _cluster_name(stream: Stream) -> str | None:
    cluster = cluster_of(stream)
    return None if cluster is None else cluster.config.alt_stat_name or cluster.name


def _cluster_name_raw(stream: Stream) -> str | None:
    cluster = cluster_of(stream)
    return None if cluster is None else cluster.name


def _route_name(stream: Stream) -> str | None:
    route = stream.route
    return None if route is None else route.name or None


def _request_id(stream: Stream) -> str | None:
    request_id = stream.request_id
    return None if request_id is None else request_id.decode("utf-8", "surrogateescape")


def _unique_id(stream: Stream) -> str:
    import uuid  # what it imports is a fiftieth of a start

    return str(uuid.uuid4())


def _environment(argument: str, limit: int | None) -> Value:
    text = os.environ.get(argument)
    return _constant("-" if text is None else truncated(text, limit))


def _constant(text: Any) -> Value:
    return lambda stream: text


def _coalesce(argument: str, limit: int | None) -> Value:
    """The first of several operators that has a value."""
    try:
        config = json.loads(argument)
    except ValueError as error:
        raise SidecarError(
            f"COALESCE: failed to parse JSON configuration: JSON supplied is not valid. {error}"
        ) from error
    entries = config.get("operators") if isinstance(config, dict) else None
    if not isinstance(entries, list):
        raise SidecarError("COALESCE: JSON configuration must contain 'operators' array")
    if not entries:
        raise SidecarError("COALESCE: 'operators' array must not be empty")
    reads = [_coalesce_entry(number, entry) for number, entry in enumerate(entries)]

    def first(stream: Stream) -> Any:
        for read in reads:
            value = read(stream)
            if value is not None:
                return truncated(value, limit) if isinstance(value, str) else value
        return None

    return first


def _coalesce_entry(number: int, entry: Any) -> Value:
    where = f"COALESCE: failed to parse operator at index {number}: "
    if isinstance(entry, str):
        entry = {"command": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("command"), str):
        raise SidecarError(
            where + "operator entry must be either a string (command name) or an object with 'command' field"
        )
    name = entry["command"]
    if name not in OPERATORS and name not in NOT_RECORDED:
        raise SidecarError(f"{where}unknown command: '{name}'")
    try:
        return make_operator(name, entry.get("param", ""), entry.get("max_length"), frozenset())
    except SidecarError as error:
        raise SidecarError(f"{where}{error}") from error


def _local_reply_body(stream: Stream) -> str:
    return stream.local_reply_body.decode("utf-8", "surrogateescape")


OPERATORS: dict[str, tuple[int, Maker]] = {
    "START_TIME": _start_time(DEFAULT_PATTERN, local=False, emit=False),
    "START_TIME_LOCAL": _start_time(DEFAULT_LOCAL_PATTERN, local=True, emit=False),
    "EMIT_TIME": _start_time(DEFAULT_PATTERN, local=False, emit=True),
    "EMIT_TIME_LOCAL": _start_time(DEFAULT_LOCAL_PATTERN, local=True, emit=True),
    "DURATION": _plain(
        Computed(
            _duration,
            "((stream.downstream_last_tx_ns or now()) - (stream.first_start_ns or stream.start_ns))"
            " // 1000000",
            now=time.monotonic_ns,
        )
    ),
    "COMMON_DURATION": (_REQUIRED_NO_LENGTH, _common_duration),
    "REQUEST_DURATION": _plain(_between("start_ns", "request_last_rx_ns")),
    "REQUEST_TX_DURATION": _plain(_between("start_ns", "upstream_last_tx_ns")),
    "RESPONSE_DURATION": _plain(_between("start_ns", "upstream_first_rx_ns")),
    "RESPONSE_TX_DURATION": _plain(_between("upstream_first_rx_ns", "downstream_last_tx_ns")),
    "BYTES_RECEIVED": _attribute("bytes_received"),
    "BYTES_SENT": _attribute("bytes_sent"),
    "REQUEST_HEADERS_BYTES": _plain(lambda stream: stream.request.headers.byte_size()),
    "RESPONSE_HEADERS_BYTES": _plain(
        lambda stream: 0 if stream.response is None else stream.response.headers.byte_size()
    ),
    "RESPONSE_TRAILERS_BYTES": _plain(
        lambda stream: 0 if (trailers := stream.response_trailers) is None else trailers.byte_size()
    ),
    "PROTOCOL": _attribute("protocol"),
    "UPSTREAM_PROTOCOL": _attribute("upstream_protocol"),
    "RESPONSE_CODE": _attribute("response_code"),
    "RESPONSE_CODE_DETAILS": (_NO_LENGTH, _response_code_details),
    "RESPONSE_FLAGS": _plain(Coded("flags", flag_text)),
    "RESPONSE_FLAGS_LONG": _plain(Coded("flags", partial(flag_text, long=True))),
    "GRPC_STATUS": (_NO_LENGTH, grpc_status),
    "GRPC_STATUS_NUMBER": _plain(grpc_number),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": _attribute("attempt_count"),
    "LOCAL_REPLY_BODY": _plain(_local_reply_body),
    "ACCESS_LOG_TYPE": _attribute("access_log_type"),
    "ROUTE_NAME": _plain(_route_name),
    "UPSTREAM_CLUSTER": _plain(_cluster_name),
    "VIRTUAL_CLUSTER_NAME": _plain(lambda stream: stream.virtual_cluster_name or None),
    "UPSTREAM_CLUSTER_RAW": _plain(_cluster_name_raw),
    "UPSTREAM_HOST": _attribute("upstream_host.address"),
    "UPSTREAM_HOST_NAME": _plain(host_name),
    "UPSTREAM_HOST_NAME_WITHOUT_PORT": _plain(host_name_without_port),
    "UPSTREAM_CONNECTION_ID": _attribute("upstream_connection_id"),
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED": _plain(
        lambda stream: str(stream.upstream_connection_id) if stream.upstream_connection_id else None
    ),
    "UPSTREAM_CONNECTION_POOL_READY_DURATION": _plain(_pool_ready_duration),
    "UPSTREAM_DETECTED_CLOSE_TYPE": _plain(_upstream_close_type),
    "UPSTREAM_LOCAL_CLOSE_REASON": _plain(lambda stream: stream.upstream_local_close_reason or None),
    "DOWNSTREAM_HANDSHAKE_DURATION": _plain(_handshake_duration),
    "DOWNSTREAM_DETECTED_CLOSE_TYPE": _plain(lambda stream: stream.connection.detected_close_type),
    "DOWNSTREAM_LOCAL_CLOSE_REASON": _plain(lambda stream: stream.connection.local_close_reason or None),
    "UPSTREAM_HOSTS_ATTEMPTED": _plain(attempted(host_address)),
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT": _plain(attempted(host_address_without_port)),
    "UPSTREAM_HOST_NAMES_ATTEMPTED": _plain(attempted(host_name)),
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": _plain(attempted(host_name_without_port)),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": _plain(_transport_failure),
    "FILTER_CHAIN_NAME": _attribute("connection.filter_chain_name"),
    "TLS_JA3_FINGERPRINT": _plain(lambda stream: getattr(stream.connection, "ja3_hash", "") or None),
    "TLS_JA4_FINGERPRINT": _plain(lambda stream: getattr(stream.connection, "ja4_hash", "") or None),
    "CONNECTION_TERMINATION_DETAILS": _attribute("connection_termination_details"),
    "CONNECTION_ID": _attribute("connection.connection_id"),
    "STREAM_ID": _plain(_request_id),
    "TRACE_ID": _attribute("span.trace_id"),
    "SPAN_ID": _attribute("span.span_id"),
    "UNIQUE_ID": _plain(_unique_id),
    "HOSTNAME": (_COMMAND_ONLY, lambda argument, limit: _constant(socket.gethostname())),
    "ENVIRONMENT": (_REQUIRED, _environment),
    # Made apart: what they may use is an option.
    "CEL": (_ANY, lambda argument, limit: _unset),
    "TYPED_CEL": (_ANY, lambda argument, limit: _unset),
    "REQ": (_REQUIRED, request_header),
    "REQUEST_HEADER": (_REQUIRED, request_header),
    "RESP": (_REQUIRED, response_header),
    "RESPONSE_HEADER": (_REQUIRED, response_header),
    "TRAILER": (_REQUIRED, response_trailer),
    "RESPONSE_TRAILER": (_REQUIRED, response_trailer),
    "PATH": (_ANY, path),
    "QUERY_PARAM": (_REQUIRED, query_parameter),
    "QUERY_PARAMS": (_ANY, query_parameters),
    "REQUESTED_SERVER_NAME": (_NO_LENGTH, requested_server_name),
    "DYNAMIC_METADATA": (_REQUIRED, dynamic_metadata),
    "CLUSTER_METADATA": (_REQUIRED, metadata_of("CLUSTER")),
    "UPSTREAM_METADATA": (_REQUIRED, metadata_of("UPSTREAM_HOST")),
    "METADATA": (_ANY, metadata),
    "FILTER_STATE": (_ANY, filter_state),
    "UPSTREAM_FILTER_STATE": (_ANY, upstream_filter_state),
    "COALESCE": (_REQUIRED, _coalesce),
    **_addresses("UPSTREAM_LOCAL", lambda stream: stream.upstream_local_address),
    **_addresses(
        "UPSTREAM_REMOTE", lambda stream: host_address(stream) if stream.upstream_local_address else None
    ),
    **_addresses(
        "DOWNSTREAM_REMOTE", lambda stream: stream.remote_address or stream.connection.remote_address
    ),
    **_addresses("DOWNSTREAM_DIRECT_REMOTE", lambda stream: stream.connection.direct_remote_address),
    **_addresses("DOWNSTREAM_LOCAL", lambda stream: stream.connection.local_address),
    **_addresses("DOWNSTREAM_DIRECT_LOCAL", lambda stream: stream.connection.direct_local_address),
    **{name: _plain(read) for name, read in (*tls_readers().items(), *WIRE_OPERATORS.items())},
    **{
        name: (_NO_LENGTH, partial(_cert_time, name))
        for side in ("DOWNSTREAM", "UPSTREAM")
        for name in (f"{side}_PEER_CERT_V_START", f"{side}_PEER_CERT_V_END")
    },
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": _plain(_downstream_transport_failure),
    # Only internal listeners have endpoint ids.
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID": _plain(
        lambda stream: "" if stream.upstream_local_address else None
    ),
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID": _plain(_constant("")),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID": _plain(_constant("")),
    # HTTP/3 alone counts and times these.
    "BYTES_RETRANSMITTED": _plain(_constant(0)),
    "PACKETS_RETRANSMITTED": _plain(_constant(0)),
    "ROUNDTRIP_DURATION": _plain(_unset),
    # Flags of filters that set none.
    "CUSTOM_FLAGS": _plain(_constant("")),
}

#: Operators that a formatter extension brings, enabled by naming it in ``formatters``.
EXTENSION_OPERATORS: dict[str, tuple[int, Maker]] = {
    "REQ_WITHOUT_QUERY": (_REQUIRED, request_header_without_query),
}
