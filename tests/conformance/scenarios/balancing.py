"""Which host of a cluster a request goes to."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario

SUBJECT = "upstream"


def dns(name: str, kind: str, port: str, extra: str = "") -> dict[str, object]:
    return cluster(
        name,
        extra=f"""
        type: {kind}
        dns_lookup_family: V4_ONLY
        load_assignment:
          cluster_name: {name}
          endpoints:
          - lb_endpoints:
            - endpoint: {{address: {{socket_address: {{address: localhost, port_value: PORT({port})}}}}}}
        {extra}
        """,
    )


def weighted(*weights: tuple[str, int]) -> str:
    endpoints = ", ".join(
        f"{{load_balancing_weight: {weight}, endpoint: "
        f"{{address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({up})}}}}}}}}"
        for up, weight in weights
    )
    return f"load_assignment: {{cluster_name: weighted, endpoints: [{{lb_endpoints: [{endpoints}]}}]}}"


TO = "- {{match: {{path: /{0}}}, route: {{cluster: {0}}}}}\n"
CLUSTERS = ("even", "weighted", "strict", "logical", "half")
BALANCING = Setup(
    "balancing",
    bootstrap(
        [
            listener(
                "main",
                routes="".join(TO.format(n) for n in ("even", "weighted", "strict", "logical", "half")),
            )
        ],
        [
            cluster("even", "one", "two", "three"),
            cluster("weighted", extra=weighted(("one", 1), ("two", 2), ("three", 3))),
            cluster("half", "one", "dead"),
            dns("strict", "STRICT_DNS", "one"),
            dns("logical", "LOGICAL_DNS", "two"),
        ],
    ),
    {"one": "h1", "two": "h1", "three": "h1", "dead": "dead"},
)


async def spread(s: Session, path: str, requests: int) -> None:
    """Observe how many of the requests each host got, over whole cycles, and forget the details."""
    client = await s.connect()
    for _ in range(requests):
        await client.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        await client.wire.line()
        while await client.wire.line():
            pass
        await client.wire.exactly(2)
    s.see("requests", {name: len(upstream.seen) for name, upstream in s.upstreams.items()})
    for upstream in s.upstreams.values():
        upstream.seen.clear()


@scenario(BALANCING)
async def balancing_round_robin(s: Session) -> None:
    """Equal hosts get equal shares."""
    await spread(s, "/even", 12)


@scenario(BALANCING)
async def balancing_round_robin_with_weights(s: Session) -> None:
    """Weights 1, 2 and 3 give shares of 1, 2 and 3 over whole cycles."""
    await spread(s, "/weighted", 24)


@scenario(BALANCING)
async def balancing_strict_dns(s: Session) -> None:
    """STRICT_DNS resolves the name; the host header stays the client's."""
    await s.get("/strict")


@scenario(BALANCING)
async def balancing_logical_dns(s: Session) -> None:
    """LOGICAL_DNS does too."""
    await s.get("/logical")


@scenario(BALANCING)
async def balancing_does_not_avoid_a_refusing_host(s: Session) -> None:
    """Without health checks and retries a host that refuses keeps its share."""
    statuses = []
    for _ in range(4):
        client = await s.connect()
        await client.send(b"GET /half HTTP/1.1\r\nhost: a\r\n\r\n")
        statuses.append((await client.wire.line()).decode())
        client.close()
    s.see("statuses", sorted(statuses))


@scenario(BALANCING)
async def balancing_host_stats(s: Session) -> None:
    """Membership of every cluster."""
    pattern = r"^cluster\.\w+\.membership_(total|healthy|degraded|excluded)$"
    s.see("membership", await s.counters(pattern))
