# ruff: noqa: E501  (a route is a line of a table)
"""request_mirror_policies: copies of requests that go to another cluster, whose answers nobody sees."""

from __future__ import annotations

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from .upgrades import echoing, handshake, opened

SUBJECT = "upstream"

ROUTES = """
- {match: {path: /one}, route: {cluster: app, request_mirror_policies: [{cluster: shadow}]}}
- {match: {path: /two}, route: {cluster: app, request_mirror_policies: [{cluster: shadow}, {cluster: other}]}}
- {match: {path: /header}, route: {cluster: app, request_mirror_policies: [{cluster_header: x-mirror}]}}
- {match: {path: /none}, route: {cluster: app, request_mirror_policies: [{cluster: shadow, runtime_fraction: {default_value: {numerator: 0}}}]}}
- {match: {path: /all}, route: {cluster: app, request_mirror_policies: [{cluster: shadow, runtime_fraction: {default_value: {numerator: 1000000, denominator: MILLION}, runtime_key: some.key}}]}}
- {match: {path: /no-suffix}, route: {cluster: app, request_mirror_policies: [{cluster: shadow, disable_shadow_host_suffix_append: true}]}}
- {match: {path: /literal}, route: {cluster: app, request_mirror_policies: [{cluster: shadow, host_rewrite_literal: mirror.example}]}}
- {match: {path: /literal-no-suffix}, route: {cluster: app, request_mirror_policies: [{cluster: shadow, host_rewrite_literal: "mirror.example:81", disable_shadow_host_suffix_append: true}]}}
- match: {path: /mutated}
  route:
    cluster: app
    request_mirror_policies:
    - cluster: shadow
      request_headers_mutations:
      - append: {header: {key: x-mirrored, value: "%REQ(:PATH)% %REQ(:AUTHORITY)%"}}
      - remove: x-gone
      - append: {header: {key: x-over, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
- {match: {path: /dead}, route: {cluster: app, request_mirror_policies: [{cluster: dead}]}}
- {match: {path: /unhosted}, route: {cluster: app, request_mirror_policies: [{cluster: unhosted}]}}
- {match: {path: /main-dead}, route: {cluster: dead, request_mirror_policies: [{cluster: shadow}]}}
- {match: {path: /main-unhosted}, route: {cluster: unhosted, request_mirror_policies: [{cluster: shadow}]}}
- match: {prefix: /rewritten}
  route: {cluster: app, prefix_rewrite: /new, host_rewrite_literal: "rewritten.example:8080", timeout: 3s, request_mirror_policies: [{cluster: shadow}]}
  request_headers_to_add: [{header: {key: x-added, value: "yes"}}]
- {match: {path: /auto}, route: {cluster: named, auto_host_rewrite: true, request_mirror_policies: [{cluster: shadow}]}}
- {match: {path: /slow}, route: {cluster: app, timeout: 0.1s, request_mirror_policies: [{cluster: shadow}]}}
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: direct}}}
- {match: {path: /h2}, route: {cluster: app, request_mirror_policies: [{cluster: h2shadow}]}}
- {match: {path: /inherited}, route: {cluster: app}}
- match: {path: /weighted}
  route: {weighted_clusters: {clusters: [{name: app, weight: 1}]}, request_mirror_policies: [{cluster: shadow}]}
"""
LEVELS = """
route_config:
  request_mirror_policies: [{cluster: shadow}]
  virtual_hosts:
  - name: own
    domains: [own.example]
    request_mirror_policies: [{cluster: other}]
    routes:
    - {match: {path: /mine}, route: {cluster: app, request_mirror_policies: [{cluster: shadow}, {cluster: other}]}}
    - {match: {prefix: /}, route: {cluster: app}}
  - name: rest
    domains: ["*"]
    routes:
    - {match: {path: /mine}, route: {cluster: app, request_mirror_policies: [{cluster: other}]}}
    - {match: {path: /direct}, direct_response: {status: 200}}
    - {match: {prefix: /}, route: {cluster: app}}
"""
NAMED = """
load_assignment:
  cluster_name: named
  endpoints:
  - lb_endpoints:
    - endpoint: {hostname: the.host.name, address: {socket_address: {address: 127.0.0.1, port_value: PORT(app)}}}
"""
MIRRORING = Setup(
    "mirroring",
    bootstrap(
        [
            listener("main", routes=ROUTES),
            listener("levels", LEVELS),
            listener("upgrades", "upgrade_configs: [{upgrade_type: websocket}]", routes=ROUTES),
            listener("small", routes=ROUTES, extra="per_connection_buffer_limit_bytes: 1000"),
        ],
        [
            cluster("app", "app"),
            cluster("shadow", "shadow"),
            cluster("other", "other"),
            cluster("h2shadow", "h2shadow", http2=True),
            cluster("dead", "dead"),
            cluster("unhosted"),
            cluster("named", extra=NAMED),
        ],
    ),
    {"app": "h1", "shadow": "h1", "other": "h1", "h2shadow": "h2", "dead": "dead"},
)
_OF_CLUSTER = (
    *("upstream_rq_total", "upstream_rq_completed", "upstream_rq_200"),
    *("internal.upstream_rq_200", "external.upstream_rq_200", "upstream_rq_timeout", "upstream_rq_rx_reset"),
    *("upstream_rq_tx_reset", "upstream_cx_destroy_with_active_rq", "upstream_cx_total"),
)
_OF_LISTENER = ("rq_total", "downstream_rq_total", "downstream_rq_completed", "downstream_rq_2xx")
STATS = (
    *(f"cluster.shadow.{name}" for name in _OF_CLUSTER),
    *(f"http.main.{name}" for name in _OF_LISTENER),
    "http.async-client.rq_total",
)


async def mirrored(
    s: Session,
    path: str,
    *headers: str,
    to: str = "main",
    label: str = "",
    count: int = 1,
    name: str = "shadow",
) -> None:
    """A GET, and the wait for its copies."""
    before = len(s.upstream(name).seen)
    await s.get(path, *headers, to=to, label=label or path)
    await s.upstream(name).arrivals(before + count)
    await s.quiet()


@scenario(MIRRORING)
async def mirror_of_a_request(s: Session) -> None:
    """What the copy looks like: its host, its headers; the answer is that of the first cluster."""
    s.upstream("shadow").script = answers(ok(b"nobody sees it", "x-shadow: 1"))
    async with s.logging(1):
        await mirrored(s, "/one", "x-mine: 1", "x-forwarded-for: 1.2.3.4")
    for host in ("example.com:8080", "[::1]", "[::1]:80", "a:b:c"):
        before = len(s.upstream("shadow").seen)
        await s.http(f"GET /one HTTP/1.1\r\nhost: {host}\r\n\r\n", label=host)
        await s.upstream("shadow").arrivals(before + 1)
    for path in ("/no-suffix", "/literal", "/literal-no-suffix", "/auto", "/all", "/weighted"):
        await mirrored(s, path)
    await mirrored(s, "/mutated", "x-gone: 1", "x-over: old")
    await mirrored(s, "/rewritten/x?q")


@scenario(MIRRORING)
async def mirror_to_several(s: Session) -> None:
    """Two policies; a policy by header; none by fraction."""
    await mirrored(s, "/two")
    await s.upstream("other").arrivals(1)
    await mirrored(s, "/header", "x-mirror: shadow")
    await mirrored(s, "/header", "x-mirror: other", "x-mirror: shadow", name="other", label="two values")
    for headers in (("x-mirror: nobody",), ("x-mirror: ",), ()):
        await s.get("/header", *headers, label=f"/header {headers}")
    for path in ("/none", "/direct", "/dead", "/unhosted", "/main-unhosted", "/inherited"):
        await s.get(path, label=path)
    await mirrored(s, "/main-dead")
    await s.quiet()


@scenario(MIRRORING)
async def mirror_levels(s: Session) -> None:
    """The route's policies take the place of the virtual host's, those of the configuration's."""
    for host in ("own.example", "rest.example"):
        for path in ("/mine", "/else", "/direct"):
            await s.http(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n", "levels", label=f"{host} {path}")
            await s.quiet()
    await s.upstream("shadow").arrivals(2)
    await s.upstream("other").arrivals(3)


@scenario(MIRRORING)
async def mirror_counts(s: Session) -> None:
    """What a copy counts as."""
    async with s.counting(*STATS):
        await mirrored(s, "/one")
    s.upstream("shadow").script = answers(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
    async with s.counting(*STATS, "cluster.shadow.upstream_rq_500"):
        await mirrored(s, "/one", label="500")

    async def reset(call: Call) -> None:
        await call.reset()

    s.upstream("shadow").script = reset
    async with s.counting(*STATS):
        await mirrored(s, "/one", label="reset")


@scenario(MIRRORING)
async def mirror_of_bodies(s: Session) -> None:
    """Bodies go along, with a length or in chunks, in one piece or in several."""
    shadow = s.upstream("shadow")
    for head, body in (
        ("content-length: 5", "hello"),
        ("content-length: 0", ""),
        ("transfer-encoding: chunked", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        ("content-length: 300000", "x" * 300000),
    ):
        before = len(shadow.seen)
        await s.http(f"POST /one HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n{body}", label=head)
        await shadow.arrivals(before + 1)
        await s.quiet()
    before = len(shadow.seen)
    client = await s.connect()
    await client.send(b"POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
    await s.upstream().arrivals(before + 1)
    await shadow.arrivals(before + 1)
    await client.send(b"def")
    await client.reply("in pieces")
    client.close()
    await s.quiet()


@scenario(MIRRORING)
async def mirror_over_http2(s: Session) -> None:
    """HTTP/2 on either side, with trailers."""
    await mirrored(s, "/h2", name="h2shadow")
    client = await s.connect_h2()
    await client.request(get("/h2", method="POST"), b"a body", [("x-trailer", "1")])
    await s.upstream("h2shadow").arrivals(2)
    await client.request(get("/one", method="POST"), b"a body", [("x-trailer", "1")])
    await s.upstream("shadow").arrivals(1)
    await s.quiet()


@scenario(MIRRORING)
async def mirror_that_stalls(s: Session) -> None:
    """A shadow that does not answer keeps nobody waiting; it ends with the route's timeout."""

    async def stall(call: Call) -> None:
        await call.body()
        await call.gone()

    s.upstream("shadow").script = stall
    async with s.counting(*STATS, "cluster.shadow.upstream_rq_504"):
        await mirrored(s, "/slow")


@scenario(MIRRORING)
async def mirror_of_a_request_that_fails(s: Session) -> None:
    """Where the request fails before its body is over, nothing of the copy is left."""
    client = await s.connect()
    await client.send(b"POST /main-dead HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
    await client.reply()
    await s.quiet()
    s.upstream("shadow").seen.clear()  # whether its head got out is a race


@scenario(MIRRORING)
async def mirror_of_a_client_that_leaves(s: Session) -> None:
    """Before the request is over the copy is cut off, afterwards it goes its way."""
    shadow = s.upstream("shadow")
    over = trio.Event()

    async def watch(call: Call) -> None:
        await call.gone()
        over.set()

    s.upstream().script = watch
    shadow.script = watch
    async with s.counting(*STATS[:10]):
        client = await s.connect()
        await client.send(b"POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
        await s.upstream().arrivals(1)
        await shadow.arrivals(1)
        client.close()
        await over.wait()
    go_on = trio.Event()

    async def late(call: Call) -> None:
        await go_on.wait()
        await call.send(ok())

    shadow.script = late
    async with s.counting(*STATS[:10]):
        client = await s.connect()
        await client.send(b"GET /one HTTP/1.1\r\nhost: a\r\n\r\n")
        await s.upstream().arrivals(2)
        await shadow.arrivals(2)
        client.close()
        await s.until_stats(lambda stats: not any(stats.values()), r"http\.main\.downstream_rq_active")
        go_on.set()


@scenario(MIRRORING)
async def mirror_of_an_upgrade(s: Session) -> None:
    """A handshake is copied, too."""
    s.upstream().script = echoing()
    s.upstream("shadow").script = echoing()
    async with s.counting("cluster.shadow.upstream_rq_total", "cluster.shadow.upstream_rq_active"):
        client = await opened(s, handshake("/one"), to="upgrades")
        await client.send(b"hello")
        await client.tunnel(5)
        client.close()
        await s.upstream("shadow").arrivals(1)
        await s.quiet()


@scenario(MIRRORING)
async def mirror_of_a_body_beyond_the_buffer(s: Session) -> None:
    """A copy's body is not kept: one that is longer than all buffers goes along whole."""
    shadow = s.upstream("shadow")
    for framing, body in (
        ("content-length: 20000", "x" * 20000),
        ("transfer-encoding: chunked", "4e20\r\n" + "x" * 20000 + "\r\n0\r\n\r\n"),
    ):
        before = len(shadow.seen)
        await s.http(f"POST /one HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}", "small", label=framing)
        await shadow.arrivals(before + 1)
        await s.quiet()
    async with s.counting("cluster.app.retry_or_shadow_abandoned", "cluster.shadow.upstream_rq_total"):
        await s.http("POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", "small")
        await shadow.arrivals(3)


@scenario(MIRRORING)
async def mirror_of_grpc(s: Session) -> None:
    """A call of gRPC to both, with trailers, the copy refused."""

    async def refuse(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200"), ("grpc-status", "14")])

    s.upstream("h2shadow").h2_script = refuse
    async with s.counting(*(f"cluster.h2shadow.{name}" for name in _OF_CLUSTER[:2])):
        client = await s.connect_h2()
        fields = [*get("/h2", method="POST"), ("content-type", "application/grpc"), ("te", "trailers")]
        await client.request(fields, b"\0\0\0\0\2hi")
        await s.upstream("h2shadow").arrivals(1)
