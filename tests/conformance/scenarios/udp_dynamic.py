"""udp_proxy while clusters and listeners come and go."""

from __future__ import annotations

import json

from ..configuration import bootstrap, cluster, file_log
from ..datagrams import client, exchange, host
from ..endpoints import move
from ..lab import Session
from ..scenario import Setup, scenario
from .udp_proxy import PROXY_LOG, counted, proxy

SUBJECT = "connections"

CLUSTER = {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}
LISTENER = {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener"}


def resources(version: int, *found: dict[str, object]) -> str:
    return json.dumps({"version_info": str(version), "resources": found})


def listening(timeout: str = "60s") -> dict[str, object]:
    return LISTENER | proxy(
        "long", f"idle_timeout: {timeout}", proxy_access_log=[file_log("FILE(long.log)", PROXY_LOG)]
    )


def app(upstream: str) -> dict[str, object]:
    return CLUSTER | cluster("app", upstream)


SETUP = Setup(
    "udp-dynamic",
    bootstrap(
        (),
        (),
        """
        node: {id: node, cluster: cluster}
        dynamic_resources:
          cds_config: {path_config_source: {path: FILE(cds.yaml)}}
          lds_config: {path_config_source: {path: FILE(lds.yaml)}}
        """,
    ),
    {"one": "udp", "two": "udp"},
    {"cds.yaml": resources(1, app("one")).encode(), "lds.yaml": resources(1, listening()).encode()},
)


async def until_version(s: Session, kind: str, count: int) -> None:
    name = f"{kind}.update_success"
    await s.until_stats(lambda found: found[name] >= count, f"^{name}$")


@scenario(SETUP)
async def udp_clusters_that_come_and_go(s: Session) -> None:
    """A cluster that changes takes its sessions with it; without one there is no route, until it is back."""
    s.proxy.is_spent = True
    with await client(s, "long") as c, host(s, "one") as one, host(s, "two") as two:
        s.see("one", (await exchange(c, one, b"a", b"b"))[1].decode())
        async with s.logging(1, "long"):
            move(s, "cds.yaml", resources(2, app("two")))
            await until_version(s, "cluster_manager.cds", 2)
        s.see("two", (await exchange(c, two, b"a", b"b"))[1].decode())
        async with s.logging(1, "long"):
            move(s, "cds.yaml", resources(3))
            await until_version(s, "cluster_manager.cds", 3)
        await c.send(b"lost")
        await s.until_stats(lambda found: found["udp.long.downstream_sess_no_route"] >= 1, "no_route")
        move(s, "cds.yaml", resources(4, app("one")))
        await until_version(s, "cluster_manager.cds", 4)
        s.see("one again", (await exchange(c, one, b"a", b"b"))[1].decode())
        s.see(
            "stats",
            {name: value for name, value in (await s.counters(r"^udp\.")).items() if name in counted("long")},
        )


@scenario(SETUP)
async def udp_listener_that_is_removed(s: Session) -> None:
    """A listener that is removed ends its sessions, and is logged."""
    s.proxy.is_spent = True
    with await client(s, "long") as c, host(s, "one") as one:
        s.see("client", (await exchange(c, one, b"a", b"b"))[1].decode())
        async with s.logging(2, "long"):
            move(s, "lds.yaml", resources(2))
            await until_version(s, "listener_manager.lds", 2)
        s.see("stats", await s.counters(r"^udp\.|^listener_manager\.total_listeners_active"))


@scenario(SETUP)
async def udp_listener_that_changes(s: Session) -> None:
    """A listener that changes ends the sessions of the one before; clients go on with the new one."""
    s.proxy.is_spent = True
    with await client(s, "long") as c, host(s, "one") as one:
        s.see("client", (await exchange(c, one, b"a", b"b"))[1].decode())
        async with s.logging(2, "long"):
            move(s, "lds.yaml", resources(2, listening("50s")))
            await until_version(s, "listener_manager.lds", 2)
        s.see("client again", (await exchange(c, one, b"a", b"b"))[1].decode())
        s.see("stats", await s.counters(r"^udp\.|^listener_manager\.total_listeners_active"))
