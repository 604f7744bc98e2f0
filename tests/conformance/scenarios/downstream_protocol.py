"""Clusters whose hosts are spoken to as the client speaks (``use_downstream_protocol_config``)."""

from __future__ import annotations

from ..client import get
from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "upstream"

TYPED = (
    f'typed_extension_protocol_options: {{{HTTP_OPTIONS}: {{"@type": type.googleapis.com/{HTTP_OPTIONS}, '
    "use_downstream_protocol_config: {http_protocol_options: {header_key_format: {proper_case_words: {}}}}}}"
)
DEPRECATED = """
protocol_selection: USE_DOWNSTREAM_PROTOCOL
http_protocol_options: {header_key_format: {proper_case_words: {}}}
http2_protocol_options: {max_concurrent_streams: 7}
"""
ROUTES = """
- match: {prefix: /copied}
  route: {cluster: both-two, request_mirror_policies: [{cluster: both-one}]}
- {match: {prefix: /one}, route: {cluster: both-one}}
- {match: {prefix: /two}, route: {cluster: both-two}}
- {match: {prefix: /old/one}, route: {cluster: old-one}}
- {match: {prefix: /old/two}, route: {cluster: old-two}}
"""
BOTH = Setup(
    "downstream_protocol",
    bootstrap(
        [listener("main", "http_protocol_options: {accept_http_10: true}", routes=ROUTES)],
        [
            cluster(f"{name}-{number}", upstream, extra=extra)
            for name, extra in (("both", TYPED), ("old", DEPRECATED))
            for number, upstream in (("one", "app"), ("two", "h2app"))
        ],
    ),
    {"app": "h1", "h2app": "h2"},
)
STATS = tuple(
    f"cluster.{name}.{stat}"
    for name in ("both-one", "both-two", "old-one", "old-two")
    for stat in ("upstream_cx_http1_total", "upstream_cx_http2_total", "upstream_rq_completed")
)


@scenario(BOTH)
async def downstream_protocol_decides(s: Session) -> None:
    """HTTP/1.0 and HTTP/1.1 reach the hosts as HTTP/1.1, HTTP/2 as HTTP/2."""
    s.upstream("app").script = answers(*[ok(b"one")] * 4)
    async with s.counting(*STATS), s.logging(6):
        for path in ("/one", "/old/one"):
            await s.http(head(f"GET {path} HTTP/1.1", "host: a", "x-one: 1"))
            await s.http(head(f"GET {path} HTTP/1.0", "host: a", "x-one: 1"))
        client = await s.connect_h2()
        for path in ("/two", "/old/two"):
            await client.request(get(path))


@scenario(BOTH)
async def downstream_protocol_of_copies(s: Session) -> None:
    """Copies have no client: they go by HTTP/1.1."""
    s.upstream("app").script = answers(*[ok(b"one")] * 4)
    async with s.counting(*STATS), s.logging(1):
        client = await s.connect_h2()
        await client.request(get("/copied"))
        await s.upstream("app").arrivals(1)
        await s.quiet()
