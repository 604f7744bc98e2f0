# ruff: noqa: E501  (a step is a line of a table)
"""EDS: localities that change their weight, peers their zones, and overload that comes and goes."""

from __future__ import annotations

from ..configuration import bootstrap, listener
from ..endpoints import assign, assignment, eds_cluster, endpoint
from ..endpoints import locality as lived
from ..lab import Session
from ..scenario import Setup, scenario
from .localities import CYCLES, MANY, chosen, locality, near, routes

SUBJECT = "upstream"
#: Without ``update_merge_window: 0s`` Envoy keeps changes that bring no hosts back for up to a second.
NODE = """
node: {id: proxy, cluster: proxies, locality: {region: r, zone: a}}
cluster_manager: {local_cluster_name: local}
"""
TWO = (locality("a", ["1"]), locality("b", ["2"]))
EDS_LOCALITIES = Setup(
    "eds_localities",
    bootstrap(
        [listener("main", routes=routes(["near", "weighted", "closing", "keeping"]))],
        [
            eds_cluster(
                "near",
                extra="common_lb_config: {zone_aware_lb_config: {min_cluster_size: 2}, update_merge_window: 0s}",
            ),
            eds_cluster(
                "weighted",
                extra="common_lb_config: {locality_weighted_lb_config: {}, update_merge_window: 0s}",
            ),
            eds_cluster("local"),
            eds_cluster("closing", extra="common_lb_config: {close_connections_on_host_set_change: true}"),
            eds_cluster("keeping"),
        ],
        extra=NODE,
    ),
    {"a": "h1"},
    {
        "near.yaml": assignment("near", *TWO).encode(),
        "weighted.yaml": assignment("weighted", *TWO).encode(),
        **{
            f"{name}.yaml": assignment(name, lived(endpoint("a"))).encode() for name in ("closing", "keeping")
        },
        "local.yaml": assignment("local", locality("a", ["201"]), locality("b", ["202"])).encode(),
    },
)


@scenario(EDS_LOCALITIES)
async def eds_peers_decide_what_stays(s: Session) -> None:
    """The shares of zones are computed anew when the local cluster or the cluster itself changes."""
    s.proxy.is_spent = True
    s.see("as many", near(await chosen(s, "/near/", 60), {"1": 1.0}, 0))
    await assign(s, "local", assignment("local", locality("a", ["201", "203"]), locality("b", ["202"])))
    s.see("more here", near(await chosen(s, "/near/", 1000, at_once=MANY), {"1": 0.75, "2": 0.25}))
    await assign(s, "local", assignment("local", locality("b", ["202"]), locality("c", ["204"])))
    s.see("none here", near(await chosen(s, "/near/", 60), {"1": 0.5, "2": 0.5}, 0))
    await assign(s, "local", assignment("local", locality("a", ["201", "203"]), locality("b", ["202"])))
    await assign(s, "near", assignment("near", locality("a", ["1", "3"]), locality("b", ["2"])))
    s.see("more hosts here", near(await chosen(s, "/near/", 60), {"1": 0.5, "3": 0.5}, 0))
    await assign(s, "near", assignment("near", locality("a", ["1!UNHEALTHY"]), locality("b", ["2", "4"])))
    s.see("none well here", near(await chosen(s, "/near/", 60), {"2": 0.5, "4": 0.5}, 0))


@scenario(EDS_LOCALITIES)
async def eds_localities_change_their_weight(s: Session) -> None:
    """In place: the hosts stay the same."""
    s.proxy.is_spent = True
    for label, weights, shares in (
        ("none", (None, None), {"1": 0.5, "2": 0.5}),
        ("one to three", (1, 3), {"1": 0.25, "2": 0.75}),
        ("five to one", (5, 1), {"1": 5 / 6, "2": 1 / 6}),
        ("one alone", (None, 1), {"2": 1.0}),
    ):
        both = (locality("a", ["1"], weight=weights[0]), locality("b", ["2"], weight=weights[1]))
        await assign(s, "weighted", assignment("weighted", *both))
        s.see(label, near(await chosen(s, "/weighted/", 240, at_once=MANY), shares, CYCLES))
        stats = await s.counters(r"^cluster\.weighted\.(membership_change|update_no_rebuild)$")
        s.see(f"{label}, counted", stats)


@scenario(EDS_LOCALITIES)
async def eds_overload_comes_and_goes(s: Session) -> None:
    """What an assignment says of it counts from the next change of the hosts on."""
    s.proxy.is_spent = True
    drop = "drop_overloads: [{category: a, drop_percentage: {numerator: 100}}]"
    three = (*TWO, locality("b", ["3"]))
    for label, hosts, policy in (
        ("all, the hosts as before", TWO, drop),
        ("and a host more", three, drop),
        ("none, the hosts as before", three, ""),
        ("and a host less", TWO, ""),
        ("another weight", (TWO[0], locality("b", ["2!*2"])), drop),
        ("another weight of a locality", (TWO[0], locality("b", ["2!*2"], weight=3)), ""),
        (
            "another factor",
            (TWO[0], locality("b", ["2!*2"], weight=3)),
            f"overprovisioning_factor: 150, {drop}",
        ),
    ):
        await assign(s, "weighted", assignment("weighted", *hosts, policy=policy))
        s.see(label, sorted(set(await chosen(s, "/weighted/", 60))))
    wrong = "drop_overloads: [{category: a}, {category: b}]"
    await assign(s, "weighted", assignment("weighted", *three, policy=wrong))
    s.see("refused", sorted(set(await chosen(s, "/weighted/", 60))))


UNWELL = endpoint("a", "health_status: UNHEALTHY,", address="127.0.0.2")
#: What the assignment says one after the other.
MEMBERS = {
    "first": (endpoint("a"),),
    "a host more": (endpoint("a"), UNWELL),
    "another weight": (endpoint("a", "load_balancing_weight: 2,"), UNWELL),
    "a host less": (endpoint("a", "load_balancing_weight: 2,"),),
}


@scenario(EDS_LOCALITIES)
async def eds_members_that_change_close_connections(s: Session) -> None:
    """close_connections_on_host_set_change lets go of the connections to all hosts."""
    s.proxy.is_spent = True
    for name in ("closing", "keeping"):
        made = f"cluster.{name}.upstream_cx_total"
        for label, hosts in MEMBERS.items():
            await assign(s, name, assignment(name, lived(*hosts)))
            await chosen(s, f"/{name}/", 2)
            s.see(f"{name}, {label}", (await s.counters(f"^{made}$"))[made])
    s.upstream("a").seen.clear()
