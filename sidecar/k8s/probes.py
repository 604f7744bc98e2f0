"""The application's probes, sent through the proxy, which answers them on a port that nothing intercepts.

The kubelet knocks from outside: once inbound connections are intercepted a TCP probe finds the proxy and not
the application, and once mutual TLS is asked for an HTTP probe is turned away.  So each probe asks the
proxy's own port, and the proxy asks the application as the kubelet would: HTTP probes by a route, TCP and
gRPC probes by a health check of a cluster, whose outcome the ``health_check`` filter answers with.  Exec
probes stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from sidecar.core.dataclass import dataclass

__all__ = ["KINDS", "POD_ADDRESS", "PROBE_PATH", "Probe", "probes_of", "rewrite"]

KINDS = ("startupProbe", "livenessProbe", "readinessProbe")
#: What Kubernetes replaces in a container's arguments: the address that the kubelet would have asked.
POD_ADDRESS = "$(POD_IP)"
PROBE_PATH = "/app-health/"
_API = "type.googleapis.com/envoy."


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe of one container.  ``how`` is ``httpGet``, ``tcpSocket`` or ``grpc``, ``action`` its fields."""

    container: str
    kind: str
    how: str
    action: Mapping[str, Any]
    port: int
    period_s: int
    timeout_s: int

    @property
    def is_http(self) -> bool:
        return self.how == "httpGet"

    @property
    def path(self) -> str:
        """Where the kubelet asks for it."""
        return f"{PROBE_PATH}{self.container}/{self.kind.removesuffix('Probe')}"

    @property
    def cluster_name(self) -> str:
        if self.is_http:
            scheme = "https" if self.action.get("scheme") == "HTTPS" else "http"
            return f"app_{scheme}_{self.port}"
        return f"app_{self.how.lower()}_{self.container}_{self.kind.removesuffix('Probe')}"

    def route(self) -> dict[str, Any]:
        """The route of an HTTP probe."""
        path = str(self.action.get("path") or "/")
        if not path.startswith("/"):
            path = "/" + path
        action: dict[str, Any] = {
            "cluster": self.cluster_name,
            "prefix_rewrite": path,
            "timeout": f"{self.timeout_s}s",
        }
        return {"match": {"path": self.path}, "route": action}

    def health_filter(self) -> dict[str, Any]:
        """The filter that answers for a probe that is no HTTP."""
        return {
            "name": "envoy.filters.http.health_check",
            "typed_config": {
                "@type": _API + "extensions.filters.http.health_check.v3.HealthCheck",
                "pass_through_mode": False,
                "cluster_min_healthy_percentages": {self.cluster_name: {"value": 100}},
                "headers": [{"name": ":path", "string_match": {"exact": self.path}}],
            },
        }

    def cluster(self) -> dict[str, Any]:
        """The cluster whose one host is the application's port."""
        address = {"socket_address": {"address": POD_ADDRESS, "port_value": self.port}}
        cluster: dict[str, Any] = {
            "name": self.cluster_name,
            "type": "STATIC",
            "connect_timeout": f"{self.timeout_s}s",
            "load_assignment": {
                "cluster_name": self.cluster_name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
        if self.is_http:
            if self.action.get("scheme") == "HTTPS":
                # The kubelet does not verify either.
                cluster["transport_socket"] = {
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": {
                        "@type": _API + "extensions.transport_sockets.tls.v3.UpstreamTlsContext"
                    },
                }
            return cluster
        check: dict[str, Any] = {
            "timeout": f"{self.timeout_s}s",
            "interval": f"{self.period_s}s",
            "no_traffic_interval": f"{self.period_s}s",
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
        }
        if self.how == "grpc":
            service = self.action.get("service")
            check["grpc_health_check"] = {"service_name": str(service)} if service else {}
            protocols = {
                "@type": _API + "extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
            cluster["typed_extension_protocol_options"] = {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocols
            }
        else:
            check["tcp_health_check"] = {}
        cluster["health_checks"] = [check]
        return cluster


def probes_of(
    spec: Mapping[str, Any], names: frozenset[str]
) -> Iterator[tuple[MutableMapping[str, Any], Probe]]:
    """The probes of a pod's containers but for those ``names``; each with its container.

    Probes of another host, and lifecycle hooks, are none of ours.
    """
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            if container.get("name") in names:
                continue
            for kind in KINDS:
                probe = container.get(kind)
                if isinstance(probe, Mapping) and (found := _probe(container, kind, probe)) is not None:
                    yield container, found


def _probe(container: Mapping[str, Any], kind: str, probe: Mapping[str, Any]) -> Probe | None:
    for how in ("httpGet", "tcpSocket", "grpc"):
        action = probe.get(how)
        if not isinstance(action, Mapping) or action.get("host"):
            continue
        port = _port(container, action.get("port"))
        if port is None:
            return None
        period, timeout = int(probe.get("periodSeconds") or 10), int(probe.get("timeoutSeconds") or 1)
        return Probe(str(container.get("name")), kind, how, dict(action), port, period, timeout)
    return None


def _port(container: Mapping[str, Any], port: object) -> int | None:
    """The number of a port, which may be given by the name it has in the container's list."""
    if isinstance(port, int):
        return port
    if isinstance(port, str) and port.isdigit():
        return int(port)
    for item in container.get("ports") or ():
        if item.get("name") == port:
            return int(item["containerPort"])
    return None


def rewrite(container: MutableMapping[str, Any], probe: Probe, port: int) -> dict[str, Any]:
    """Let the probe ask the proxy's ``port``; returns what stood there, as `restore` wants it."""
    held = container[probe.kind]
    before = {probe.how: dict(held[probe.how])}
    action: dict[str, Any] = {"path": probe.path, "port": port}
    if headers := probe.action.get("httpHeaders"):
        action["httpHeaders"] = headers
    _replace(held, probe.how, "httpGet", action)
    return before


def restore(container: MutableMapping[str, Any], kind: str, before: Mapping[str, Any]) -> None:
    """Put back what `rewrite` returned."""
    [(how, action)] = before.items()
    _replace(container[kind], "httpGet", how, action)


def _replace(held: MutableMapping[str, Any], old: str, new: str, action: Mapping[str, Any]) -> None:
    """Replace an action where it stands and in the mapping that it is, which has the look of the file."""
    mapping = held[old]
    for key in list(mapping):
        del mapping[key]
    mapping.update(action)
    if old == new:
        return
    entries = [(new, mapping) if key == old else (key, item) for key, item in held.items()]
    for key in list(held):
        del held[key]
    for key, item in entries:
        held[key] = item
