# ruff: noqa: E501  (a cluster is a line of a table)
"""Clusters that drop requests because the assignment of their endpoints says so."""

from __future__ import annotations

from typing import Any

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call
from .localities import chosen, counts, locality, near, routes, spread_over

SUBJECT = "upstream"
LINE = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% in=%BYTES_RECEIVED% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT%\n"
DROPS = {
    "all": "numerator: 100",
    "half": "numerator: 500000, denominator: MILLION",
    "tenth": "numerator: 1000, denominator: TEN_THOUSAND",
    "none": "numerator: 0",
    "nobody": "numerator: 100",
}
ROUTES = (
    routes([*DROPS, "list", "list-beside"])
    + """
- {match: {prefix: /app/}, route: {cluster: all-app}}
- {match: {prefix: /retried/}, route: {cluster: all-app, retry_policy: {retry_on: 5xx, num_retries: 2}}}
- {match: {prefix: /half-retried/}, route: {cluster: half-app, retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s}}}}
- {match: {prefix: /mirrored/}, route: {cluster: app, request_mirror_policies: [{cluster: all-app}]}}
"""
)
LISTED = "{load_balancer_endpoints: {lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.1.8, port_value: 1}}}}]}}"


def policy(name: str) -> str:
    return f"drop_overloads: [{{category: too-much, drop_percentage: {{{DROPS[name]}}}}}]"


def quiet() -> dict[str, Any]:
    """A listener whose router says nothing of Envoy."""
    made = listener("quiet", routes="- {match: {prefix: /}, route: {cluster: all-app}}", log=LINE)
    manager = made["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][-1]["typed_config"]["suppress_envoy_headers"] = True
    return made


def living(name: str) -> dict[str, object]:
    host = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT(app)}}}}"
    assignment = (
        f"cluster_name: {name}-app, endpoints: [{{lb_endpoints: [{host}]}}], policy: {{{policy(name)}}}"
    )
    return cluster(f"{name}-app", extra=f"{{load_assignment: {{{assignment}}}}}")


OVERLOADS = Setup(
    "overloads",
    bootstrap(
        [listener("main", routes=ROUTES, log=LINE), quiet()],
        [
            *(
                spread_over(name, "", locality("a", [] if name == "nobody" else ["1"]), policy=policy(name))
                for name in DROPS
            ),
            living("all"),
            living("half"),
            cluster("app", "app"),
            spread_over("list", "", LISTED),
            spread_over("list-beside", "", LISTED, locality("a", ["3"])),
        ],
    ),
    {"app": "h1"},
)
COUNTED = (
    "cluster.all.upstream_rq_503",
    "cluster.all.external.upstream_rq_503",
    "cluster.all-app.upstream_rq_503",
    "cluster.all-app.internal.upstream_rq_503",
    "cluster.all-app.upstream_rq_total",
    "cluster.all-app.upstream_rq_retry",
    "cluster.all-app.upstream_cx_total",
    "cluster.nobody.upstream_cx_none_healthy",
)


@scenario(OVERLOADS)
async def overload_drops_everything(s: Session) -> None:
    """The answer, its header and its flag; nobody is tried, with hosts or without, nor tried again."""
    async with s.logging(6), s.logging(1, "quiet"), s.counting(*COUNTED):
        await s.get("/all/x")
        await s.http("POST /app/ HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", label="post")
        await s.get("/retried/", label="retried")
        await s.get("/nobody/x", label="nobody")
        await s.get("/x", to="quiet", label="quiet")
        await s.get("/app/", "content-type: application/grpc", label="grpc")
        await s.get("/mirrored/", label="mirrored")


@scenario(OVERLOADS)
async def overload_drops_a_share(s: Session) -> None:
    """Each request by itself."""
    s.see("half", near(await chosen(s, "/half/", 800), {"1": 0.5, "503": 0.5}))
    s.see("tenth", near(await chosen(s, "/tenth/", 800), {"1": 0.9, "503": 0.1}))
    s.see("none", counts(await chosen(s, "/none/", 30)))
    while True:
        client = await s.connect()
        await client.send(b"GET /half/ HTTP/1.1\r\nhost: a\r\n\r\n")
        line = await client.wire.line()
        head = [line.decode()]
        while line := await client.wire.line():
            head.append(line.decode())
        if any("x-envoy" in line for line in head):
            s.see("dropped", [line for line in head if "date" not in line])
            s.see("body", (await client.wire.exactly(13)).decode())
            break
        client.close()


@scenario(OVERLOADS)
async def overload_is_drawn_once_for_all_tries(s: Session) -> None:
    """A retry is not dropped: who was let in tries as often as it may."""

    async def fail(call: Call) -> None:
        await call.send(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")

    app = s.upstream()
    app.script = fail
    statuses = await chosen(s, "/half-retried/", 100)
    let_in = statuses.count("500")
    s.see("tries of each", len(app.seen) / let_in)
    s.see("some of each", [0 < let_in < 100, statuses.count("503") == 100 - let_in])
    app.seen.clear()


@scenario(OVERLOADS)
async def overload_beside_lists_of_endpoints(s: Session) -> None:
    """``load_balancer_endpoints`` brings no hosts."""
    s.see("list", counts(await chosen(s, "/list/", 10)))
    s.see("beside", counts(await chosen(s, "/list-beside/", 10)))
