"""A server that the admin API can look at, made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf import json_format

from sidecar.admin.state import Discovered, ListenerStatus
from sidecar.api.python_filters import PythonFilters
from sidecar.api.taps import Taps
from sidecar.config.messages import message_class
from sidecar.core.address import Address
from sidecar.core.options import Options
from sidecar.core.runtime import Runtime
from sidecar.observability.stats import Store
from sidecar.observability.tags import TagProducer
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.host import Host, Locality

HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"

BOOTSTRAP: dict[str, Any] = {
    "node": {"id": "n1", "cluster": "c1"},
    "static_resources": {
        "listeners": [
            {
                "name": "main",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "filter_chains": [
                    {
                        "filters": [
                            {
                                "name": "hcm",
                                "typed_config": {
                                    "@type": f"type.googleapis.com/{HCM}",
                                    "stat_prefix": "in",
                                    "route_config": {
                                        "name": "routes",
                                        "virtual_hosts": [
                                            {
                                                "name": "all",
                                                "domains": ["*"],
                                                "routes": [
                                                    {"match": {"prefix": "/"}, "route": {"cluster": "up"}}
                                                ],
                                            }
                                        ],
                                    },
                                    "http_filters": [
                                        {
                                            "name": "router",
                                            "typed_config": {"@type": f"type.googleapis.com/{ROUTER}"},
                                        }
                                    ],
                                },
                            }
                        ]
                    }
                ],
            }
        ],
        "clusters": [
            {
                "name": "up",
                "type": "STATIC",
                "connect_timeout": "1.500s",
                "alt_stat_name": "alt",
                "load_assignment": {
                    "cluster_name": "up",
                    "endpoints": [
                        {
                            "locality": {"region": "r1", "zone": "z1"},
                            "lb_endpoints": [
                                {
                                    "endpoint": {
                                        "hostname": "h",
                                        "address": {
                                            "socket_address": {"address": "127.0.0.1", "port_value": 9}
                                        },
                                    },
                                    "load_balancing_weight": 3,
                                }
                            ],
                        }
                    ],
                },
            }
        ],
    },
}

#: A part of a bootstrap with a key in it.
SECRETIVE: dict[str, Any] = {
    "name": "tls",
    "typed_config": {
        "@type": f"type.googleapis.com/{TLS}",
        "common_tls_context": {
            "tls_certificates": [
                {
                    "certificate_chain": {"inline_string": "CERT"},
                    "private_key": {"inline_string": "KEY"},
                    "password": {"inline_bytes": "UFdE"},
                }
            ]
        },
    },
}


class FakeServer:
    """An :class:`sidecar.admin.state.AdminState` that remembers what was asked of it."""

    def __init__(self, bootstrap: dict[str, Any] = BOOTSTRAP, *, listening: str = "127.0.0.1:1234") -> None:
        for name in (HCM, ROUTER, TLS):
            assert message_class(name) is not None
        self.bootstrap: Any = json_format.ParseDict(bootstrap, Bootstrap())
        self.options = Options()
        self.store = Store()
        self.reactor: Any = None
        self.tag_producer = TagProducer()
        self.started_s = self.first_started_s = 1795383443.5
        self.hot_restart_version = "disabled"
        self.calls: list[Any] = []
        self.server_state = "LIVE"
        self._listening = listening
        self.runtime = Runtime()
        self.taps = Taps()
        self._clusters = [self._cluster(message) for message in self.bootstrap.static_resources.clusters]

    def _cluster(self, message: Any) -> Cluster:
        cluster = Cluster(
            ClusterConfig(message.name, alt_stat_name=message.alt_stat_name, message=message), Store()
        )
        hosts = []
        for group in message.load_assignment.endpoints:
            locality = Locality(group.locality.region, group.locality.zone, group.locality.sub_zone)
            for each in group.lb_endpoints:
                address = each.endpoint.address.socket_address
                hosts.append(
                    Host(
                        Address.ip(address.address, address.port_value),
                        hostname=each.endpoint.hostname,
                        weight=each.load_balancing_weight.value or 1,
                        locality=locality,
                    )
                )
        cluster.set_hosts(hosts)
        return cluster

    def tls_contexts(self) -> list[Any]:
        return []

    def modify_runtime(self, values: Mapping[str, str]) -> bool:
        self.calls.append(("modify_runtime", dict(values)))
        return False

    def clusters(self) -> list[Cluster]:
        return self._clusters

    python_filters = PythonFilters()

    def discovered(self) -> Discovered:
        return Discovered()

    def listeners(self) -> list[ListenerStatus]:
        return [
            ListenerStatus(message.name, [self._listening], message)
            for message in self.bootstrap.static_resources.listeners
        ]

    def refresh_stats(self) -> None:
        self.calls.append("refresh_stats")

    def set_log_levels(self, levels: Mapping[str, str]) -> None:
        self.calls.append(("log_levels", dict(levels)))

    def reset_counters(self) -> None:
        self.store.reset_counters()

    def set_health_failed(self, failed: bool) -> None:
        self.calls.append(("health_failed", failed))

    def drain_listeners(
        self, *, inbound_only: bool = False, graceful: bool = False, skip_exit: bool = False
    ) -> None:
        self.calls.append(("drain", inbound_only, graceful, skip_exit))

    def reopen_logs(self) -> None:
        self.calls.append("reopen_logs")

    def stop(self) -> None:
        self.calls.append("stop")
