"""``envoy.config.core.v3.HealthCheck`` compiled to what the health checker runs.

Raises ConfigError for what Envoy refuses when it makes the checker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.api.message import RequestMessage
from sidecar.api.stream import Stream
from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.compile.route_headers import compile_additions
from sidecar.config.messages import type_name, unpack
from sidecar.core.errors import ConfigError
from sidecar.core.headers import RequestHeaders
from sidecar.router.header_mutation import HeaderMutations
from sidecar.upstream.health_check import EventLogPath, HealthCheckSettings
from sidecar.upstream.health_grpc import GrpcProbe
from sidecar.upstream.health_probes import HttpProbe
from sidecar.upstream.health_tcp import TcpProbe
from sidecar.upstream.host import Host

__all__ = ["compile_health_checks"]

_FILE_SINK = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
_NO_BODY = ("GET", "HEAD", "DELETE", "TRACE")
_NOTHING = RequestHeaders(b"", b"", b"", b"", [])


class _Checker:
    """Who asks, for header values that speak of a connection."""

    connection_id = 0
    filter_state = None
    remote_address = direct_remote_address = local_address = direct_local_address = "127.0.0.1:0"
    listener_name = filter_chain_name = requested_server_name = local_close_reason = ""
    detected_close_type = "Normal"
    traffic_direction = "UNSPECIFIED"
    listener_metadata: Any = {}  # noqa: RUF012 - nobody changes it
    tls = None
    transport_failure_reason = ""
    start_ns = 0


def compile_health_checks(message: Any, context: FactoryContext) -> tuple[HealthCheckSettings, ...]:
    """The checks of the cluster ``message``.  Raises: ConfigError."""
    root = f"{context.path}.health_checks" if context.path else "health_checks"
    return tuple(_compile(each, f"{root}[{n}]") for n, each in enumerate(message.health_checks))


def _compile(check: Any, path: str) -> HealthCheckSettings:
    interval = _seconds(check, "interval", 0.0)
    unhealthy = _seconds(check, "unhealthy_interval", interval)
    no_traffic = _seconds(check, "no_traffic_interval", 60.0)
    timeout = _seconds(check, "timeout", 0.0)
    kind = check.WhichOneof("health_checker")
    if kind == "http_health_check":
        probe: Any = _http(check.http_health_check, f"{path}.http_health_check")
    elif kind == "tcp_health_check":
        tcp = check.tcp_health_check
        # Envoy sends text alone.
        send = _payload(tcp.send) if tcp.send.text else b""
        version = tcp.proxy_protocol_config.version + 1 if tcp.HasField("proxy_protocol_config") else 0
        probe = TcpProbe(send, tuple(_payload(each) for each in tcp.receive), version)
    else:
        grpc = check.grpc_health_check
        mutate = _mutations(grpc.initial_metadata, (), f"{path}.grpc_health_check.initial_metadata")
        probe = GrpcProbe(grpc.service_name, grpc.authority, timeout, mutate)
    return HealthCheckSettings(
        kind=(kind or "grpc_health_check").removesuffix("_health_check").upper(),
        timeout_s=timeout,
        interval_s=interval,
        unhealthy_threshold=check.unhealthy_threshold.value,
        healthy_threshold=check.healthy_threshold.value,
        no_traffic_interval_s=no_traffic,
        no_traffic_healthy_interval_s=_seconds(check, "no_traffic_healthy_interval", no_traffic),
        unhealthy_interval_s=unhealthy,
        unhealthy_edge_interval_s=_seconds(check, "unhealthy_edge_interval", unhealthy),
        healthy_edge_interval_s=_seconds(check, "healthy_edge_interval", interval),
        initial_jitter_s=_seconds(check, "initial_jitter", 0.0),
        interval_jitter_s=_seconds(check, "interval_jitter", 0.0),
        interval_jitter_percent=check.interval_jitter_percent,
        reuse_connection=check.reuse_connection.value if check.HasField("reuse_connection") else True,
        always_log_failures=check.always_log_health_check_failures,
        always_log_success=check.always_log_health_check_success,
        name=check.name,
        match_criteria=json_format.MessageToDict(check.transport_socket_match_criteria)
        if check.HasField("transport_socket_match_criteria")
        else None,
        alpn=tuple(check.tls_options.alpn_protocols),
        event_logs=tuple(_event_logs(check, path)),
        probe=probe,
    )


def _event_logs(check: Any, path: str) -> Iterator[EventLogPath]:
    """The sinks first, as Envoy writes."""
    for number, sink in enumerate(check.event_logger):
        settings = unpack(sink.typed_config)
        if settings is not None and type_name(sink.typed_config.type_url) == _FILE_SINK:
            yield EventLogPath(
                settings.event_log_path, f"{path}.event_logger[{number}].typed_config.event_log_path"
            )
    if check.event_log_path:
        yield EventLogPath(check.event_log_path, f"{path}.event_log_path")


def _http(http: Any, path: str) -> HttpProbe:
    methods = http.DESCRIPTOR.fields_by_name["method"].enum_type.values_by_number
    method = methods[http.method].name if http.method else "GET"
    payload = b""
    if http.HasField("send"):
        if method in _NO_BODY:
            raise ConfigError(
                f"{path}.send",
                f"HTTP health check cannot specify a request payload with method '{method}'. Only methods "
                "that support a request body (POST, PUT, PATCH, OPTIONS) can be used with payload.",
            )
        payload = _payload(http.send)
    receive = tuple(_payload(each) for each in http.receive)
    size = http.response_buffer_size.value if http.HasField("response_buffer_size") else 1024
    total = sum(map(len, receive))
    if size and total > size:
        raise ConfigError(
            f"{path}.receive",
            f"The expected response length '{total}' is over than http health response buffer size '{size}'",
        )
    service: Callable[[str], bool] | None = None
    if http.HasField("service_name_matcher"):
        matcher = compile_string_matcher(http.service_name_matcher, f"{path}.service_name_matcher")
        service = _on_text(matcher)
    return HttpProbe(
        path=http.path.encode(),
        host=http.host,
        method=method.encode(),
        http2=http.codec_client_type == 1,
        payload=payload,
        receive=receive,
        response_buffer_size=size,
        expected=_ranges(http, "expected", path) or (range(200, 201),),
        retriable=_ranges(http, "retriable", path),
        mutate=_mutations(
            http.request_headers_to_add, http.request_headers_to_remove, f"{path}.request_headers_to_add"
        ),
        matches_service=service,
    )


def _on_text(matcher: Callable[[bytes], bool]) -> Callable[[str], bool]:
    return lambda text: matcher(text.encode("latin-1"))


def _ranges(http: Any, name: str, path: str) -> tuple[range, ...]:
    found = []
    for number, span in enumerate(getattr(http, f"{name}_statuses")):
        start, end = span.start, span.end
        prefix = f"Invalid http {name} status range: expecting "
        reason = ""
        if start >= end:
            reason = f"start < end, but found start={start} and end={end}"
        elif start < 100:
            reason = f"start >= 100, but found start={start}"
        elif end > 600:
            reason = f"end <= 600, but found end={end}"
        if reason:
            raise ConfigError(f"{path}.{name}_statuses[{number}]", prefix + reason)
        found.append(range(start, end))
    return tuple(found)


def _mutations(add: Any, remove: Any, path: str) -> Callable[[RequestHeaders, Host], None] | None:
    mutations = HeaderMutations(compile_additions(add, path), tuple(name.lower().encode() for name in remove))
    if not mutations.additions and not mutations.removals:
        return None

    def mutate(headers: RequestHeaders, host: Host) -> None:
        checker: Any = _Checker
        # As in Envoy, the values do not see the request that they are for.
        stream = Stream(checker, None, RequestMessage(_NOTHING), "HTTP/1.1")
        stream.upstream_host = host
        mutations.apply(headers, stream)

    return mutate


def _payload(payload: Any) -> bytes:
    if payload.WhichOneof("payload") == "text":
        return bytes.fromhex(payload.text)
    return bytes(payload.binary)


def _seconds(message: Any, field: str, otherwise: float) -> float:
    if not message.HasField(field):
        return otherwise
    duration = getattr(message, field)
    return float(duration.seconds + duration.nanos // 1_000_000 / 1000)
