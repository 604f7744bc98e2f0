# ruff: noqa: E501  (a route is a line of a table)
"""retry_priority: tries move on to the priorities that were not tried."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call
from ..wire import head
from .retries import BAD, FAST

SUBJECT = "upstream"

TYPE = "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"


def route(path: str, to: str, frequency: int, more: str = "", on: str = "5xx") -> str:
    return f"- {{match: {{prefix: {path}}}, route: {{cluster: {to}, timeout: 0s, hash_policy: [{{header: {{header_name: x-key}}}}], retry_policy: {{retry_on: '{on}', num_retries: 8, {FAST}, retry_priority: {{name: envoy.retry_priorities.previous_priorities, typed_config: {{'@type': {TYPE}, update_frequency: {frequency}}}}}{more}}}}}}}\n"


PREVIOUS = ", host_selection_retry_max_attempts: 20, retry_host_predicate: [{name: p, typed_config: {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]"
ROUTES = "".join(
    (
        *(
            route(f"/{to}/{frequency}", to, frequency)
            for to in ("three", "ring", "least", "sick", "degraded", "subset")
            for frequency in (1, 2, 3)
        ),
        route("/panic", "panic", 1),
        route("/both", "pairs", 1, PREVIOUS),
        route("/dead", "dead-first", 1, on="connect-failure,5xx"),
    )
)


def endpoint(name: str, more: str = "") -> str:
    return f"{{{more}endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({name})}}}}}}}}"


def of(name: str, *priorities: str, more: str = "") -> dict[str, object]:
    localities = ", ".join(
        f"{{priority: {number}, lb_endpoints: [{hosts}]}}" for number, hosts in enumerate(priorities)
    )
    return cluster(
        name, extra=f"{{{more}load_assignment: {{cluster_name: {name}, endpoints: [{localities}]}}}}"
    )


A, B, C = (endpoint(name) for name in "abc")
META = "metadata: {filter_metadata: {envoy.lb: {stage: x}}}, "
PRIORITIES = Setup(
    "retries_priorities",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [
            of("three", A, B, C),
            of("ring", A, B, C, more="lb_policy: RING_HASH, "),
            of("least", A, B, C, more="lb_policy: LEAST_REQUEST, "),
            of("sick", A, endpoint("b", "health_status: UNHEALTHY, "), C),
            of(
                "degraded",
                endpoint("a", "health_status: DEGRADED, "),
                B,
                endpoint("c", "health_status: DEGRADED, "),
            ),
            of(
                "subset",
                *(endpoint(name, META) for name in "abc"),
                more="lb_subset_config: {fallback_policy: DEFAULT_SUBSET, default_subset: {stage: x}, subset_selectors: [{keys: [stage]}]}, ",
            ),
            of("panic", *(endpoint(name, "health_status: UNHEALTHY, ") for name in "ab")),
            of("pairs", f"{A}, {B}", C),
            of("dead-first", endpoint("dead"), B, C),
        ],
    ),
    {"a": "h1", "b": "h1", "c": "h1", "dead": "dead"},
)


async def tried(s: Session, path: str, key: int = 1) -> str:
    """Where one request came to, in order."""
    order: list[str] = []

    def script(name: str) -> object:
        async def run(call: Call) -> None:
            order.append(name)
            await call.send(BAD)

        return run

    for name in "abc":
        s.upstream(name).script = script(name)  # type: ignore[assignment]
    client = await s.connect()
    await client.send(head(f"GET {path} HTTP/1.1", "host: a", f"x-key: {key}"))
    await client.wire.line()
    client.close()
    for name in "abc":
        s.upstream(name).seen.clear()
    return "".join(order)


@scenario(PRIORITIES)
async def retry_previous_priorities(s: Session) -> None:
    """After as many tries as the frequency says, their priorities are left out; when all are, none is."""
    for to in ("three", "ring", "least", "sick", "degraded", "subset"):
        for frequency in (1, 2, 3):
            s.see(f"{to} {frequency}", await tried(s, f"/{to}/{frequency}"))


@scenario(PRIORITIES)
async def retry_priorities_and_hosts(s: Session) -> None:
    """With previous_hosts; where connects fail; where all hosts are unwell."""
    found = await tried(s, "/both")
    s.see("both", [found[0] in "ab", found[1], found[2] in "ab", len(found)])
    s.see("dead first", await tried(s, "/dead"))
    s.see("panic", len(await tried(s, "/panic")))
