"""The configuration that an injection writes: Envoy's own, so that Envoy takes it as well.

Two parts.  `bootstrap` intercepts: a listener for what comes in, one for what goes out, and clusters that
send everything where it was going (ORIGINAL_DST).  `overlay` is merged over any configuration by
``--config-yaml``: the admin address, and the listener that answers the kubelet, which reaches neither the
admin port nor, once mutual TLS is asked for, the application.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.k8s.probes import Probe
from sidecar.k8s.settings import Settings

__all__ = ["READY_PATH", "STATS_PATH", "bootstrap", "overlay"]

READY_PATH = "/healthz/ready"
STATS_PATH = "/stats/prometheus"

_API = "type.googleapis.com/envoy."
_HTTP_PROTOCOLS = ["http/1.0", "http/1.1", "h2c"]
_ADMIN = "sidecar_admin"

Message = dict[str, Any]


def typed(kind: str, **fields: object) -> Message:
    """A ``typed_config`` of one of Envoy's messages."""
    return {"@type": _API + kind, **fields}


def socket_address(address: str, port: int, **more: object) -> Message:
    """A ``config.core.v3.Address``."""
    return {"socket_address": {"address": address, "port_value": port, **more}}


def bootstrap(settings: Settings) -> Message:
    """The configuration of a pod that did not bring its own."""
    listeners = []
    if settings.interception != "none":
        listeners = [
            _intercepting("inbound", "INBOUND", settings.inbound_port, settings),
            _intercepting("outbound", "OUTBOUND", settings.outbound_port, settings),
        ]
    clusters = [_original("inbound"), _original("outbound"), {"name": "blackhole", "type": "STATIC"}]
    return {"static_resources": {"listeners": listeners, "clusters": clusters if listeners else []}}


def overlay(settings: Settings, probes: Iterable[Probe]) -> Message:
    """What every pod's proxy serves beside its configuration."""
    probes = list(probes)
    admin = socket_address("127.0.0.1", settings.admin_port)
    routes = [
        _route(READY_PATH, _ADMIN, "/ready"),
        _route(STATS_PATH, _ADMIN, STATS_PATH),
        *(probe.route() for probe in probes if probe.is_http),
    ]
    filters = [probe.health_filter() for probe in probes if not probe.is_http]
    manager = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="sidecar_health",
        generate_request_id=False,
        route_config={"virtual_hosts": [{"name": "health", "domains": ["*"], "routes": routes}]},
        http_filters=[*filters, _router()],
    )
    listener = {
        "name": "sidecar_health",
        **_everywhere(settings.health_port, settings),
        "filter_chains": [{"filters": [_manager(manager)]}],
    }
    clusters = [_static(_ADMIN, admin), *_unique(probe.cluster() for probe in probes)]
    return {
        "admin": {"address": admin},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _unique(clusters: Iterable[Message]) -> list[Message]:
    return list({cluster["name"]: cluster for cluster in clusters}.values())


def _everywhere(port: int, settings: Settings) -> Message:
    """The addresses of a listener that others than the pod itself come to."""
    addresses: Message = {"address": socket_address("0.0.0.0", port)}  # noqa: S104
    if settings.ipv6:
        addresses["additional_addresses"] = [{"address": socket_address("::", port)}]
    return addresses


def _intercepting(name: str, direction: str, port: int, settings: Settings) -> Message:
    own = {
        "name": "itself",
        "filter_chain_match": {"destination_port": port},
        "filters": [_tcp_proxy("blackhole", "blackhole")],
    }
    http = {
        "name": "http",
        "filter_chain_match": {"application_protocols": _HTTP_PROTOCOLS},
        "filters": [_manager(_transparent(name))],
    }
    return {
        "name": name,
        "traffic_direction": direction,
        **_everywhere(port, settings),
        "listener_filters": [
            _listener_filter("original_dst", "OriginalDst"),
            _listener_filter("http_inspector", "HttpInspector"),
        ],
        # A server that speaks first is waited for no longer than this.
        "listener_filters_timeout": "0.3s",
        "continue_on_listener_filters_timeout": True,
        "filter_chains": [own, http],
        "default_filter_chain": {"name": "tcp", "filters": [_tcp_proxy(f"{name}_tcp", name)]},
    }


def _listener_filter(name: str, kind: str) -> Message:
    return {
        "name": f"envoy.filters.listener.{name}",
        "typed_config": typed(f"extensions.filters.listener.{name}.v3.{kind}"),
    }


def _transparent(name: str) -> Message:
    """A connection manager that leaves alone what the application has set."""
    return typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        server_header_transformation="PASS_THROUGH",
        http_protocol_options={"accept_http_10": True},
        stream_idle_timeout="0s",
        upgrade_configs=[{"upgrade_type": "websocket"}],
        access_log=[
            {
                "name": "envoy.access_loggers.stdout",
                "typed_config": typed(
                    "extensions.access_loggers.stream.v3.StdoutAccessLog",
                    log_format={"json_format": {**_ACCESS_LOG, "direction": name}},
                ),
            }
        ],
        route_config={
            "virtual_hosts": [
                {
                    "name": name,
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}},
                    ],
                }
            ]
        },
        http_filters=[_router()],
    )


_ACCESS_LOG: Mapping[str, str] = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%",
    "path": "%REQ(:PATH):256%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "downstream": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "upstream": "%UPSTREAM_HOST%",
}


def _original(name: str) -> Message:
    """A cluster that sends each connection where it was going, in the protocol it came in."""
    protocols = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        use_downstream_protocol_config={"http_protocol_options": {}, "http2_protocol_options": {}},
    )
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "10s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocols
        },
    }


def _static(name: str, address: Message) -> Message:
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _route(path: str, cluster: str, rewritten: str) -> Message:
    return {"match": {"path": path}, "route": {"cluster": cluster, "prefix_rewrite": rewritten}}


def _manager(manager: Message) -> Message:
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _tcp_proxy(stat_prefix: str, cluster: str) -> Message:
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": typed(
            "extensions.filters.network.tcp_proxy.v3.TcpProxy", stat_prefix=stat_prefix, cluster=cluster
        ),
    }


def _router() -> Message:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": typed("extensions.filters.http.router.v3.Router"),
    }
