# ruff: noqa: E501  (a route is a line of a table)
"""Where a policy of retries and copies comes from: route, virtual host, cluster; and what changes on the way."""

from __future__ import annotations

from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call
from ..wire import head
from .retries import BAD, DONE, FAST, script, stats

SUBJECT = "upstream"

LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_CLUSTER%\n"
TYPED = "'@type': type.googleapis.com/envoy.config.route.v3.RetryPolicy"
OWN = f"retry_policy: {{retry_on: retriable-4xx, num_retries: 3, {FAST}}}"
ROUTES = f"""
- {{match: {{prefix: /typed}}, route: {{cluster: app, timeout: 0s, retry_policy_typed_config: {{{TYPED}, retry_on: 5xx, {FAST}}}}}}}
- {{match: {{prefix: /both-typed}}, route: {{cluster: app, timeout: 0s, {OWN}, retry_policy_typed_config: {{{TYPED}, retry_on: 5xx, {FAST}}}}}}}
- {{match: {{prefix: /cluster}}, route: {{cluster: retrying, timeout: 0s}}}}
- {{match: {{prefix: /route-and-cluster}}, route: {{cluster: retrying, timeout: 0s, {OWN}}}}}
- {{match: {{prefix: /empty-and-cluster}}, route: {{cluster: retrying, timeout: 0s, retry_policy: {{}}}}}}
- {{match: {{prefix: /copied}}, route: {{cluster: copying, timeout: 0s}}}}
- {{match: {{prefix: /copied-by-both}}, route: {{cluster: copying, timeout: 0s, request_mirror_policies: [{{cluster: other}}]}}}}
- {{match: {{prefix: /chain}}, route: {{cluster: other, timeout: 0s, request_mirror_policies: [{{cluster: copying}}]}}}}
- {{match: {{prefix: /tried-copy}}, route: {{cluster: other, timeout: 0s, request_mirror_policies: [{{cluster: retrying}}]}}}}
- {{match: {{prefix: /timed}}, route: {{cluster: timed, timeout: 5s, {OWN}}}}}
- {{match: {{prefix: /hashed}}, route: {{cluster: hashed, timeout: 0s, hash_policy: [{{header: {{header_name: x-route}}}}]}}}}
- {{match: {{prefix: /}}, route: {{cluster: app, timeout: 0s}}}}
"""
HOSTS = f"""
route_config:
  virtual_hosts:
  - name: typed
    domains: [typed.example]
    retry_policy_typed_config: {{{TYPED}, retry_on: 5xx, {FAST}}}
    routes: [{{match: {{prefix: /}}, route: {{cluster: app, timeout: 0s}}}}]
  - name: plain
    domains: ["*"]
    {OWN}
    routes:
    - {{match: {{prefix: /app}}, route: {{cluster: app, timeout: 0s}}}}
    - {{match: {{prefix: /}}, route: {{cluster: retrying, timeout: 0s}}}}
"""


def with_options(fields: str) -> str:
    return (
        f"typed_extension_protocol_options: {{{HTTP_OPTIONS}: {{'@type': type.googleapis.com/{HTTP_OPTIONS}, "
        f"explicit_http_config: {{http_protocol_options: {{}}}}, {fields}}}}}"
    )


LEVELS = Setup(
    "retries_levels",
    bootstrap(
        [listener("main", routes=ROUTES, log=LOG), listener("hosts", HOSTS, log=LOG)],
        [
            cluster("app", "app"),
            cluster(
                "retrying",
                "app",
                extra=with_options(f"retry_policy: {{retry_on: 5xx, num_retries: 2, {FAST}}}"),
            ),
            cluster("copying", "app", extra=with_options("request_mirror_policies: [{cluster: shadow}]")),
            cluster(
                "timed", "app", extra=with_options("retry_policy: {retry_on: 5xx, per_try_timeout: 0.1s}")
            ),
            cluster(
                "hashed",
                "app",
                "shadow",
                "other",
                extra=f"{{lb_policy: RING_HASH, {with_options('hash_policy: [{header: {header_name: x-cluster}}]')}}}",
            ),
            cluster("shadow", "shadow"),
            cluster("other", "other"),
        ],
    ),
    {"app": "h1", "shadow": "h1", "other": "h1"},
)
CONFLICT = BAD.replace(b"503", b"409")


@scenario(LEVELS)
async def retry_policy_of_levels(s: Session) -> None:
    """A cluster's policy, a route's, a virtual host's, and what is called a typed policy."""
    async with s.logging(10), s.logging(5, "hosts"):
        for first in (BAD, CONFLICT):
            for path in ("/typed", "/both-typed", "/cluster", "/route-and-cluster", "/empty-and-cluster"):
                s.upstream().script = script(first, DONE)
                await s.get(path)
        for first in (BAD, CONFLICT):
            for path in ("/app", "/cluster"):
                s.upstream().script = script(first, DONE)
                await s.get(path, to="hosts")
        s.upstream().script = script(BAD, DONE)
        await s.http("GET / HTTP/1.1\r\nhost: typed.example\r\n\r\n", "hosts")


@scenario(LEVELS)
async def mirror_policy_of_a_cluster(s: Session) -> None:
    """A cluster's own copies, alone and beside a route's."""
    async with s.counting(*stats("shadow"), *stats("other")):
        await s.get("/copied")
        await s.upstream("shadow").arrivals(1)
        await s.get("/copied-by-both")
        await s.quiet()


@scenario(LEVELS)
async def copies_by_policy_of_clusters(s: Session) -> None:
    """A copy goes to a cluster that has policies of its own."""
    async with s.counting(
        *(f"cluster.{name}.upstream_rq_total" for name in ("copying", "retrying", "shadow"))
    ):
        await s.get("/chain")
        await s.upstream().arrivals(1)
        await s.quiet()
    s.upstream().script = script(BAD, DONE)
    async with s.counting(*stats("retrying")):
        await s.get("/tried-copy")
        await s.upstream().arrivals(2)
        await s.quiet()


@scenario(LEVELS)
async def hash_policy_of_a_cluster(s: Session) -> None:
    """A cluster's own hash policy takes the place of the route's."""
    for label, route, own in (
        ("the route's varies", range(9), [1] * 9),
        ("the cluster's varies", [1] * 40, range(40)),
    ):
        found = set()
        for first, second in zip(route, own, strict=True):
            before = {name: len(each.seen) for name, each in s.upstreams.items()}
            client = await s.connect()
            await client.send(
                head("GET /hashed HTTP/1.1", "host: a", f"x-route: {first}", f"x-cluster: {second}")
            )
            await client.wire.line()
            client.close()
            found |= {name for name, each in s.upstreams.items() if len(each.seen) > before[name]}
        s.see(label, len(found))
    for each in s.upstreams.values():
        each.seen.clear()


@scenario(LEVELS)
async def retry_timeout_of_a_cluster(s: Session) -> None:
    """The limit of a try is the cluster's, and is announced."""

    async def stall(call: Call) -> None:
        await call.gone()

    s.upstream().script = stall
    async with s.logging(1), s.counting(*stats("timed")):
        await s.get("/timed")
