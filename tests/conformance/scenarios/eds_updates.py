"""EDS: what a new assignment changes of the hosts that are there, and what is counted of it."""

from __future__ import annotations

import json

from ..configuration import bootstrap, listener
from ..endpoints import (
    assign,
    assignment,
    eds_cluster,
    endpoint,
    hosts,
    locality,
    until_hosts,
    update_stats,
)
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import read_response

SUBJECT = "upstream"

NODE = "node: {id: node1, cluster: cluster1}"
UPDATES = Setup(
    "eds_updates",
    bootstrap(
        [listener("main", routes="- {match: {prefix: /one/}, route: {cluster: one}}\n")],
        [eds_cluster("one", extra="common_lb_config: {healthy_panic_threshold: {value: 0}}")],
        extra=NODE,
    ),
    {"a": "h1", "b": "h1", "c": "h1"},
    {"one.yaml": assignment("one", locality(endpoint("a"))).encode()},
)
CHECK = (
    "health_checks: [{timeout: 1s, interval: 0.03s, no_traffic_interval: 0.03s, unhealthy_threshold: 1, "
    "healthy_threshold: 1, http_health_check: {path: /healthz}}]\n"
)
CHECKED = Setup(
    "eds_checked",
    bootstrap(
        [listener("main", routes="- {match: {prefix: /}, route: {cluster: checked}}")],
        [
            eds_cluster("checked", extra=CHECK),
            eds_cluster("dropping", extra=CHECK + "ignore_health_on_host_removal: true"),
        ],
        extra=NODE,
    ),
    {"a": "h1", "b": "h1", "c": "h1"},
    {f"{name}.yaml": assignment(name, locality(endpoint("a"))).encode() for name in ("checked", "dropping")},
)
#: Each is one step: what the file says then.
STEPS = {
    "weight": (locality(endpoint("a", "load_balancing_weight: 5,")),),
    "the same": (locality(endpoint("a", "load_balancing_weight: 5,")),),
    "canary": (locality(endpoint("a", "metadata: {filter_metadata: {envoy.lb: {canary: true}}},")),),
    "metadata": (locality(endpoint("a", "metadata: {filter_metadata: {envoy.lb: {x: 1}}},")),),
    "unhealthy": (locality(endpoint("a", "health_status: UNHEALTHY,")),),
    "timeout": (locality(endpoint("a", "health_status: TIMEOUT,")),),
    "draining": (locality(endpoint("a", "health_status: DRAINING,")),),
    "degraded": (locality(endpoint("a", "health_status: DEGRADED,")),),
    "healthy": (locality(endpoint("a", "health_status: HEALTHY,")),),
    "hostname": (locality(endpoint("a", of="hostname: new,")),),
    "another one": (locality(endpoint("a"), endpoint("b", "load_balancing_weight: 3,")),),
    "the other way round": (locality(endpoint("b", "load_balancing_weight: 3,"), endpoint("a")),),
    "next priority": (locality(endpoint("b")), locality(endpoint("a"), more="priority: 1,")),
    "priorities changed": (locality(endpoint("a")), locality(endpoint("b"), more="priority: 1,")),
    "a gap": (locality(endpoint("b", "load_balancing_weight: 9,"), more="priority: 2,"),),
    "first again": (locality(endpoint("b", "load_balancing_weight: 9,")),),
    "locality": (locality(endpoint("b"), more="locality: {region: r, zone: z},"),),
    "zone": (locality(endpoint("b"), more="locality: {region: r, zone: other},"),),
    "nobody": (),
    "back": (locality(endpoint("a"), endpoint("b")), locality(endpoint("c"), more="priority: 1,")),
}


@scenario(UPDATES)
async def eds_updates_in_place(s: Session) -> None:
    """Step by step: hosts, the answer of a request, and all that is counted."""
    s.proxy.is_spent = True
    for name in ("a", "b", "c"):
        s.upstream(name).script = answers(ok(name.encode()))
    await update_stats(s, "one", "start")
    for label, localities in STEPS.items():
        await assign(s, "one", assignment("one", *localities, version=label))
        await hosts(
            s,
            "one",
            f"{label}: hosts",
            (
                "cx_total",
                "rq_total",
                "hostname",
                "health_flags",
                "weight",
                "region",
                "zone",
                "canary",
                "priority",
            ),
        )
        await update_stats(s, "one", f"{label}: stats")
        if len(localities) == 1 and "," not in label and localities[0].count("endpoint:") == 1:
            await s.get(f"/one/{label.replace(' ', '-')}", label=f"{label}: reply")


@scenario(UPDATES)
async def eds_overprovisioning(s: Session) -> None:
    """The assignment says how much of a priority must be well, and whether weights count for it."""
    s.proxy.is_spent = True
    s.upstream("a").script = answers(ok(b"a"))
    s.upstream("c").script = answers(ok(b"c"))
    half = (
        locality(endpoint("a", "load_balancing_weight: 3,"), endpoint("b", "health_status: UNHEALTHY,")),
        locality(endpoint("c"), more="priority: 1,"),
    )
    for label, policy in {
        "enough": "overprovisioning_factor: 200",
        "default": "",
        "weighted": "weighted_priority_health: true, overprovisioning_factor: 134",
    }.items():
        await assign(s, "one", assignment("one", *half, policy=policy))
        await update_stats(s, "one", label)
        if label != "default":
            for _ in range(6):
                await s.get("/one/x", label=f"{label}: reply")
        dump = await s.proxy.admin(
            "GET", "/config_dump?include_eds&resource=static_endpoint_configs&name_regex=one"
        )
        s.see(f"{label}: dump", json.loads(dump.body)["configs"][0]["endpoint_config"].get("policy"))


@scenario(UPDATES)
async def eds_stale_assignment(s: Session) -> None:
    """An assignment may say how long it holds; a newer one without that holds for good."""
    s.proxy.is_spent = True
    s.upstream("a").script = answers(ok(b"a"))
    await assign(
        s,
        "one",
        assignment("one", locality(endpoint("a"), endpoint("b")), policy="endpoint_stale_after: 60s"),
    )
    await update_stats(s, "one", "renewed")
    await assign(s, "one", assignment("one", locality(endpoint("a")), policy="endpoint_stale_after: 0.05s"))
    await until_hosts(s, "one", 0)
    await update_stats(s, "one", "stale")
    await s.get("/one/x", label="nobody")
    await assign(s, "one", assignment("one", locality(endpoint("a"))))
    await s.get("/one/x", label="back")
    await update_stats(s, "one", "back")


def checked(host: str, well: dict[str, bool]) -> object:
    async def serve(call: Call) -> None:
        await call.send(ok(host.encode()) if well[host] else b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n")

    return serve


@scenario(CHECKED)
async def eds_removal_of_a_checked_host(s: Session) -> None:
    """A host that is well stays until it fails, unless the cluster says otherwise; then it goes at once."""
    s.proxy.is_spent = True
    well = dict.fromkeys("abc", True)
    for name in well:
        s.upstream(name).script = checked(name, well)  # type: ignore[assignment]  # a script
    healthy = {name: f"cluster.{name}.membership_healthy" for name in ("checked", "dropping")}
    await s.until_stats(lambda stats: all(stats[key] == 1 for key in healthy.values()), "membership_healthy")
    for name in healthy:
        await assign(s, name, assignment(name, locality(endpoint("b"))))
    await s.until_stats(
        lambda stats: stats[healthy["checked"]] == 2 and stats[healthy["dropping"]] == 1, "membership_healthy"
    )
    for name in healthy:
        await hosts(s, name, f"{name}: removed")
        await update_stats(s, name, f"{name}: stats")
    await assign(s, "checked", assignment("checked", locality(endpoint("b"), endpoint("a"))))
    await hosts(s, "checked", "named again")
    await assign(s, "checked", assignment("checked", locality(endpoint("b"))))
    await hosts(s, "checked", "removed again")
    well["a"] = False
    await until_hosts(s, "checked", 1)
    await hosts(s, "checked", "failed")
    await update_stats(s, "checked", "failed: stats")
    await assign(
        s,
        "checked",
        assignment("checked", locality(endpoint("c"), endpoint("b", "health_status: UNHEALTHY,"))),
    )
    await s.until_stats(lambda stats: stats[healthy["checked"]] == 1, "membership_healthy")
    await assign(s, "checked", assignment("checked", locality(endpoint("c"))))
    await hosts(s, "checked", "said to be unhealthy, then removed")
    s.upstreams.clear()


@scenario(CHECKED)
async def eds_health_of_a_host_that_is_replaced(s: Session) -> None:
    """A host that takes the place of one at its address is as well as that; checked elsewhere it is not."""
    s.proxy.is_spent = True
    is_silent = False

    async def serve(call: Call) -> None:
        if is_silent:
            await call.gone()
        else:
            await call.send(ok())

    s.upstream("a").script = serve
    key = "cluster.checked.membership_healthy"
    await s.until_stats(lambda stats: stats[key] == 1, key)
    await s.get("/x", label="connected")
    is_silent = True
    for label, more, of in (
        ("locality", "locality: {zone: z},", ""),
        ("hostname", "locality: {zone: z},", "hostname: name.example,"),
        ("port", "locality: {zone: z},", "hostname: name.example, health_check_config: {port_value: 1},"),
    ):
        await assign(s, "checked", assignment("checked", locality(endpoint("a", of=of), more=more)))
        await hosts(s, "checked", label, ("hostname", "health_flags", "zone"))
        healthy = await s.counters(r"^cluster\.checked\.(membership_healthy|health_check\.healthy)")
        s.see(f"{label}: stats", healthy)
    s.upstreams.clear()


BALANCED = Setup(
    "eds_balanced",
    bootstrap(
        [
            listener(
                "main",
                routes="- {match: {prefix: /rr/}, route: {cluster: rr}}\n"
                "- {match: {prefix: /localities/}, route: {cluster: localities}}\n"
                "- {match: {prefix: /subsets/}, route: {cluster: subsets, "
                "metadata_match: {filter_metadata: {envoy.lb: {v: one}}}}}\n",
            )
        ],
        [
            eds_cluster("rr"),
            eds_cluster("localities", extra="common_lb_config: {locality_weighted_lb_config: {}}"),
            eds_cluster("subsets", extra="lb_subset_config: {subset_selectors: [{keys: [v]}]}"),
        ],
        extra=NODE,
    ),
    {"a": "h1", "b": "h1"},
    {
        f"{name}.yaml": assignment(name, locality(endpoint("a")), locality(endpoint("b"))).encode()
        for name in ("rr", "localities", "subsets")
    },
)
REQUESTS = 36


async def shares(s: Session, name: str, label: str) -> None:
    """Observe how many requests each host answers, by threes: where a round begins is chance."""
    client = await s.connect()
    found = {"a": 0, "b": 0, "none": 0}
    for _ in range(REQUESTS):
        await client.send(f"GET /{name}/x HTTP/1.1\r\nhost: h\r\n\r\n".encode())
        reply = await read_response(client.wire)
        found[reply.body.decode() if "200" in reply.start_line else "none"] += 1
    client.close()
    s.see(label, {host: round(count / 3) * 3 for host, count in found.items()})


@scenario(BALANCED)
async def eds_updates_reach_the_load_balancer(s: Session) -> None:
    """Weights of hosts and of localities, and metadata, that change in place are balanced by at once."""
    s.proxy.is_spent = True
    for name in ("a", "b"):
        s.upstream(name).script = answers(ok(name.encode()))
    await shares(s, "rr", "equal")
    for weights in ((3, 1), (1, 5), (1, 1)):
        both = (endpoint(up, f"load_balancing_weight: {w},") for up, w in zip("ab", weights, strict=True))
        await assign(s, "rr", assignment("rr", locality(*both)))
        await shares(s, "rr", f"weights {weights}")
    for weights in ((1, 3), (5, 1)):
        places = (
            locality(endpoint(up), more=f"locality: {{zone: {up}}}, load_balancing_weight: {weight},")
            for up, weight in zip("ab", weights, strict=True)
        )
        await assign(s, "localities", assignment("localities", *places))
        await shares(s, "localities", f"localities {weights}")
    for chosen in ("a", "b", "none", "ab"):
        both = (
            endpoint(
                up,
                f"metadata: {{filter_metadata: {{envoy.lb: {{v: {'one' if up in chosen else 'two'}}}}}}},",
            )
            for up in "ab"
        )
        await assign(s, "subsets", assignment("subsets", locality(*both)))
        await shares(s, "subsets", f"subset {chosen}")
        await update_stats(s, "subsets", f"subset {chosen}: stats")
    s.upstreams.clear()
