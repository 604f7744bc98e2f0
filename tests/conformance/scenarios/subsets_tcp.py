"""Subset load balancing of raw connections: ``metadata_match`` of the TCP proxy."""

from __future__ import annotations

from typing import Any

from ..configuration import bootstrap
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Ended, read_response
from .subsets import BOTH, UPSTREAMS, match, parted
from .subsets_connection import proxied

SUBJECT = "upstream"
LISTENER_FILTERS = "type.googleapis.com/envoy.extensions.filters.listener"
TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def tcp(name: str, **fields: Any) -> dict[str, Any]:
    """A listener that carries bytes; the PROXY protocol says something of its connections."""
    rules = [{"tlv_type": 0xE2, "on_tlv_present": {"metadata_namespace": "envoy.lb", "key": "version"}}]
    head = {"@type": f"{LISTENER_FILTERS}.proxy_protocol.v3.ProxyProtocol", "rules": rules}
    proxy = {"@type": TCP_PROXY, "stat_prefix": name, **fields}
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": [{"name": "envoy.filters.listener.proxy_protocol", "typed_config": head}],
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}],
    }


WEIGHTED = {"clusters": [{"name": "both", "weight": 1, "metadata_match": match({"stage": "dev"})}]}
TCP = Setup(
    "subsets_tcp",
    bootstrap(
        [
            tcp("main", cluster="both", metadata_match=match({"version": "2"})),
            tcp("weighted", weighted_clusters=WEIGHTED, metadata_match=match({"version": "1"})),
            tcp("bare", cluster="both"),
        ],
        [parted("both", BOTH)],
    ),
    UPSTREAMS,
)


@scenario(TCP)
async def subset_of_a_tcp_proxy(s: Session) -> None:
    """The filter's criteria, the weighted cluster's over them, and the connection's over both."""
    for name in ("main", "weighted", "bare"):
        for tlvs in ({}, {0xE2: b"2"}, {0xE2: b"9"}):
            client = await s.connect(name)
            await client.send(proxied(tlvs) + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            try:
                seen = (await read_response(client.wire)).start_line
            except Ended as error:
                seen = type(error).__name__
            client.close()
            s.see(f"{name} {tlvs}", [seen, [each for each, up in s.upstreams.items() if up.seen]])
            for upstream in s.upstreams.values():
                upstream.seen.clear()
