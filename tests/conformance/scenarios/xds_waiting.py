"""What is asked for and counted while clusters and listeners wait, change and go."""

from __future__ import annotations

import trio

from ..lab import Session
from ..scenario import scenario
from . import xds_ads, xds_delta
from .xds_ads import WHOLE, assigned, direct, eds_cluster, rds_listener, routed, stats
from .xds_delta import DELTA, STATIC

SUBJECT = "xds"

CLUSTERS = r"^cluster_manager\.(?!cds.update_a)|^control_plane"


async def moment() -> None:
    """Have what is to be sent sent."""
    await trio.sleep(0.25)


@scenario(WHOLE)
async def xds_waiting_warm_reconnect(s: Session) -> None:
    """A stream that ends while a cluster waits for its endpoints."""
    plane = await xds_ads.begin(s)
    await plane.send("cds", "c2", eds_cluster("app"), eds_cluster("late"))
    await plane.asked("eds", 3)
    plane.see("before")
    plane.requests.clear()
    await plane.end()
    for kind in ("eds", "lds", "rds"):
        await plane.asked(kind)
    await moment()
    plane.see("again")
    await stats(s, CLUSTERS, label="warming")
    await plane.update("eds", "e2", assigned("app", "one"), assigned("late", "two"))
    await moment()
    plane.see("then")
    await stats(s, CLUSTERS, label="warm")


@scenario(DELTA)
async def xds_waiting_warm_reconnect_delta(s: Session) -> None:
    """The same of changes."""
    plane = await xds_delta.begin(s)
    await plane.send_delta("cds", "c2", {"late": ("1", eds_cluster("late"))})
    await plane.asked("eds", 3)
    plane.see("before")
    plane.requests.clear()
    await plane.end()
    for kind in ("eds", "lds", "rds"):
        await plane.asked(kind)
    await moment()
    plane.see("again")
    await stats(s, CLUSTERS, label="warming")
    await plane.update_delta("eds", "e2", {"late": ("1", assigned("late", "two"))})
    await moment()
    plane.see("then")
    await stats(s, CLUSTERS, label="warm")


@scenario(WHOLE)
async def xds_waiting_readd(s: Session) -> None:
    """A cluster goes and comes back; nobody asks for endpoints in between."""
    plane = await xds_ads.begin(s)
    await plane.update("cds", "c2")
    await moment()
    plane.see("gone")
    await s.get("/", label="gone")
    await plane.send("cds", "c3", eds_cluster("app"))
    await plane.asked("eds", 3)
    await moment()
    plane.see("back")
    await s.get("/", label="warming")
    await plane.update("eds", "e1", assigned("app", "two"))
    await moment()
    await s.get("/", label="back")
    await stats(s, CLUSTERS, r"^cluster\.app\.(update|member)")
    plane.see()


@scenario(DELTA)
async def xds_waiting_readd_delta(s: Session) -> None:
    """The same of changes."""
    plane = await xds_delta.begin(s)
    await plane.update_delta("cds", "c2", removed=["app"])
    await moment()
    plane.see("gone")
    await plane.send_delta("cds", "c3", {"app": ("1", eds_cluster("app"))})
    await moment()
    plane.see("back")
    await plane.update_delta("eds", "e1", {"app": ("1", assigned("app", "two"))})
    await moment()
    await s.get("/", label="back")
    await stats(s, CLUSTERS, r"^cluster\.app\.(update|member)")
    plane.see()


@scenario(WHOLE)
async def xds_waiting_same_version(s: Session) -> None:
    """Other resources in the version that is here are taken all the same."""
    plane = await xds_ads.begin(s)
    await plane.update("eds", "e1", assigned("app", "two"))
    await s.get("/", label="eds")
    await plane.update("rds", "r1", routed("routes", "nobody"))
    await s.get("/", label="rds")
    await plane.update("cds", "c1", eds_cluster("app"), STATIC)
    await moment()
    await stats(s, CLUSTERS)
    await plane.update("lds", "l1", rds_listener(), direct("more", "x"))
    await moment()
    plane.see()
    await stats(s, CLUSTERS, r"^listener_manager")


@scenario(WHOLE)
async def xds_waiting_warm_change(s: Session) -> None:
    """A cluster changes, and goes, while it waits for its endpoints."""
    "a cluster changes, and goes, while it warms"
    plane = await xds_ads.begin(s)
    await plane.send("cds", "c2", eds_cluster("app"), eds_cluster("late"))
    await plane.asked("eds", 3)
    await stats(s, CLUSTERS, label="one")
    await plane.send("cds", "c3", eds_cluster("app"), eds_cluster("late", ", lb_policy: RANDOM"))
    await moment()
    plane.see("change")
    await stats(s, CLUSTERS, label="two")
    await plane.send("cds", "c4", eds_cluster("app"))
    await moment()
    plane.see("removed")
    await stats(s, CLUSTERS, label="three")
    await plane.send("cds", "c5", eds_cluster("app"), eds_cluster("late"))
    await moment()
    await plane.update("eds", "e3", assigned("app", "one"), assigned("late", "two"))
    await moment()
    await stats(s, CLUSTERS, label="four")
    plane.see("end")


@scenario(WHOLE)
async def xds_waiting_warm_app_gone(s: Session) -> None:
    """A cluster goes while another one waits to take its place."""
    "an active cluster is updated, warming; then removed"
    plane = await xds_ads.begin(s)
    await plane.send("cds", "c2", eds_cluster("app", ", lb_policy: RANDOM"))
    await moment()
    await stats(s, CLUSTERS, label="one")
    plane.see("one")
    await plane.send("cds", "c3")
    await moment()
    await stats(s, CLUSTERS, label="two")
    plane.see("two")
    await s.get("/", label="gone")
    await plane.send("cds", "c4", eds_cluster("app"))
    await moment()
    await plane.update("eds", "e4", assigned("app", "two"))
    await moment()
    await s.get("/", label="back")
    plane.see("end")
    await stats(s, CLUSTERS, label="three")


@scenario(WHOLE)
async def xds_waiting_warm_back(s: Session) -> None:
    """A cluster comes again as it was while another one waits to take its place."""
    "an active cluster is updated, warming; then the first one comes again"
    plane = await xds_ads.begin(s)
    await plane.send("cds", "c2", eds_cluster("app", ", lb_policy: RANDOM"))
    await moment()
    await plane.send("cds", "c3", eds_cluster("app"))
    await moment()
    await stats(s, CLUSTERS, label="two")
    plane.see("two")
    await plane.update("eds", "e4", assigned("app", "two"))
    await moment()
    await s.get("/", label="back")
    plane.see("end")
    await stats(s, CLUSTERS, label="three")


@scenario(WHOLE)
async def xds_waiting_listener_warm(s: Session) -> None:
    """A listener that waits for its routes changes, and goes."""
    "listener waits for routes: changed, removed"
    plane = await xds_ads.begin(s)
    of_listeners = r"^listener_manager\.(?!lds.update_a)|^http\.late\.rds"
    await plane.send("lds", "l2", rds_listener(), rds_listener("late", "late"))
    await plane.asked("rds", 3)
    plane.see("one")
    await stats(s, of_listeners, label="one")
    await plane.send("lds", "l3", rds_listener(), rds_listener("late", "later"))
    await moment()
    plane.see("two")
    await stats(s, of_listeners, label="two")
    await plane.send("lds", "l4", rds_listener())
    await moment()
    plane.see("three")
    await stats(s, of_listeners, label="three")
    await plane.send("lds", "l5", rds_listener(), rds_listener("late", "late"))
    await moment()
    await plane.update("rds", "r2", routed("routes", "app"), routed("late", "app"))
    await moment()
    plane.see("four")
    await stats(s, of_listeners, label="four")


@scenario(WHOLE)
async def xds_waiting_shared_service(s: Session) -> None:
    """Two clusters have the same endpoints; one of them goes and comes back."""
    "two clusters, one service name"
    plane = await xds_ads.begin(s)
    two = eds_cluster("two").replace("eds_config:", "service_name: app, eds_config:")
    await plane.send("cds", "c2", eds_cluster("app"), two)
    await moment()
    plane.see("one")
    await stats(s, CLUSTERS, label="one")
    await plane.update("eds", "e2", assigned("app", "two"))
    await moment()
    await stats(s, CLUSTERS, r"^cluster\.(app|two)\.(update|member)", label="two")
    await plane.update("cds", "c3", two)
    await moment()
    plane.see("three")
    await plane.update("rds", "r2", routed("routes", "two"))
    await s.get("/", label="two")
    await plane.send("cds", "c4", eds_cluster("app"), two)
    await moment()
    plane.see("four")
    await stats(s, CLUSTERS, r"^cluster\.(app|two)\.(update|member)", label="four")


@scenario(WHOLE)
async def xds_waiting_last(s: Session) -> None:
    """Nobody wants endpoints any more: what is asked for, and what becomes of answers."""
    plane = await xds_ads.begin(s)
    await plane.update("cds", "c2")
    await moment()
    plane.see("eds gone")
    await plane.send("eds", "e2", assigned("app", "two"))
    await moment()
    plane.see("eds unwanted")
    await plane.send("eds", "e3")
    await moment()
    plane.see("eds unwanted, empty")
    plane.requests.clear()
    await plane.end()
    await plane.asked("lds")
    await moment()
    plane.see("again")
    await plane.send("cds", "c3", eds_cluster("app"))
    await plane.asked("eds", 1)
    await moment()
    plane.see("back")


@scenario(WHOLE)
async def xds_waiting_prefix(s: Session) -> None:
    """The stats of connection managers go with the last listener that counts by their prefix."""
    plane = await xds_ads.begin(s)
    await s.get("/")

    async def names() -> list[str]:
        found = await s.counters(r"^http\.(main|third)|^listener\.")
        return sorted({".".join(name.split(".")[:3]) for name in found})

    other = direct("other", "x")
    other["filter_chains"][0]["filters"][0]["typed_config"]["stat_prefix"] = "main"
    third = direct("third", "x")
    await plane.update("lds", "l2", rds_listener(), other, third)
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 3, "total_listeners_active"
    )
    await s.proxy.learn_ports()
    await s.get("/", to="third")
    await s.get("/", to="other")
    await plane.update("lds", "l3", other)
    await moment()
    s.see("draining", await names())
    await trio.sleep(2.5)
    s.see("gone", await names())
    await plane.update("lds", "l4", other, third)
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "total_listeners_active"
    )
    await stats(s, r"^http\.(main|third)\.(downstream_rq|rds)")
