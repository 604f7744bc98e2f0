"""Subset load balancing by what a connection says: metadata of the PROXY protocol."""

from __future__ import annotations

import json

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import read_response
from .lua import script
from .subsets import BOTH, FROM_HEADER, UPSTREAMS, parted, to

SUBJECT = "upstream"
ROUTES = [
    {
        "match": {"path": "/copied"},
        "route": {"cluster": "four", "request_mirror_policies": [{"cluster": "both"}]},
    },
    to("/two", "both", {"version": "2"}),
    {"match": {"prefix": "/"}, "route": {"cluster": "both"}},
]
PROXY_PROTOCOL = """
listener_filters:
- name: envoy.filters.listener.proxy_protocol
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
    rules:
    - {tlv_type: 0xE2, on_tlv_present: {metadata_namespace: envoy.lb, key: version}}
    - {tlv_type: 0xE3, on_tlv_present: {metadata_namespace: envoy.lb, key: stage}}
"""
CONNECTION = Setup(
    "subsets_connection",
    bootstrap(
        [listener("main", routes=json.dumps(ROUTES), filters=script(FROM_HEADER), extra=PROXY_PROTOCOL)],
        [parted("both", BOTH), cluster("four", "four")],
    ),
    UPSTREAMS,
)


def proxied(tlvs: dict[int, bytes]) -> bytes:
    """The head of the PROXY protocol, version 2, with these fields."""
    fields = b"".join(bytes([kind]) + len(text).to_bytes(2, "big") + text for kind, text in tlvs.items())
    data = bytes([127, 0, 0, 1] * 2) + (1000).to_bytes(2, "big") + (80).to_bytes(2, "big") + fields
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(data).to_bytes(2, "big") + data


@scenario(CONNECTION)
async def subset_of_a_connection(s: Session) -> None:
    """The connection's criteria go over the route's, under those of filters; copies have them, too."""
    both = {0xE2: b"1", 0xE3: b"dev"}
    for path in ("/", "/two", "/copied"):
        for tlvs in ({}, {0xE2: b"2"}, both, {0xE3: b"prod"}):
            for lb in ("", "{version='2'}", "{version='1', stage='prod'}"):
                client = await s.connect()
                head = f"GET {path} HTTP/1.1\r\nhost: a\r\n" + (f"x-lb: {lb}\r\n" if lb else "")
                await client.send(proxied(tlvs) + head.encode() + b"\r\n")
                status = (await read_response(client.wire)).start_line.split(" ")[1]
                await s.quiet()
                hosts = [name for name, upstream in s.upstreams.items() if upstream.seen]
                s.see(f"{path} {tlvs} {lb}", [status, hosts])
                for upstream in s.upstreams.values():
                    upstream.seen.clear()
