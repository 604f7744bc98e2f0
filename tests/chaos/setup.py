"""The file that both proxies get."""

from __future__ import annotations

from typing import Any

from tests.conformance.configuration import bootstrap, cluster, listener
from tests.conformance.scenario import Setup

__all__ = ["CLUSTERS", "ROUTE_TIMEOUT_S", "make_setup"]

#: name: whether it speaks HTTP/2.
CLUSTERS = {"h1": False, "h2": True}
ROUTE_TIMEOUT_S = 2.0
_PREVIOUS_HOSTS = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
_RETRY = f"""{{retry_on: "5xx,reset,connect-failure,refused-stream", num_retries: 2, per_try_timeout: 0.5s,
  host_selection_retry_max_attempts: 3, retry_host_predicate: [{{
  name: envoy.retry_host_predicates.previous_hosts, typed_config: {{"@type": {_PREVIOUS_HOSTS}}}}}]}}"""
_ROUTES = """
- {{match: {{prefix: /{0}/retry}}, route: {{cluster: {0}, timeout: {1}s, retry_policy: {2}}}}}
- {{match: {{prefix: /{0}/plain}}, route: {{cluster: {0}, timeout: {1}s}}}}
"""
_CLUSTER = """
connect_timeout: 0.5s
health_checks:
- {timeout: 0.5s, interval: 0.5s, unhealthy_threshold: 2, healthy_threshold: 1,
  http_health_check: {path: /health, codec_client_type: CODEC}}
outlier_detection: {interval: 0.5s, base_ejection_time: 1s, max_ejection_time: 4s, max_ejection_percent: 67,
  consecutive_5xx: 4, consecutive_gateway_failure: 4, enforcing_consecutive_gateway_failure: 100}
circuit_breakers: {thresholds: [
  {max_connections: 100, max_pending_requests: 100, max_requests: 200, max_retries: 20}]}
"""


def make_setup(ports: dict[str, dict[str, int]]) -> Setup:
    """``ports``: of each cluster's upstreams by name."""
    routes = "".join(_ROUTES.format(name, ROUTE_TIMEOUT_S, _RETRY) for name in CLUSTERS)
    clusters = []
    for name, http2 in CLUSTERS.items():
        each = cluster(
            name, *ports[name], extra=_CLUSTER.replace("CODEC", "HTTP2" if http2 else "HTTP1"), http2=http2
        )
        _fill(each, ports[name])
        clusters.append(each)
    return Setup("chaos", bootstrap([listener("main", routes=routes)], clusters), {})


def _fill(each: dict[str, Any], ports: dict[str, int]) -> None:
    for endpoint, port in zip(
        each["load_assignment"]["endpoints"][0]["lb_endpoints"], ports.values(), strict=True
    ):
        endpoint["endpoint"]["address"]["socket_address"]["port_value"] = port
    options = each.setdefault("typed_extension_protocol_options", {}).setdefault(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {}},
        },
    )
    # Short, so that what is left after the load can be looked for soon.
    options["common_http_protocol_options"] = {"idle_timeout": "1s"}
