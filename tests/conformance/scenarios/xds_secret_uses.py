"""Who uses a secret of SDS: what waits for it, and what becomes of it when nobody does any more."""

from __future__ import annotations

import json
from typing import Any

import trio

from ..configuration import cluster, parse
from ..lab import Session
from ..scenario import scenario
from ..tls import UPSTREAM, certificate
from .xds_ads import eds_cluster, rds_listener, stats
from .xds_contents import SECRETS, _sds, _secured, begin_whole

SUBJECT = "xds"

GOOD = f"tls_certificate: {certificate('server')}"
ROOT = "validation_context: {trusted_ca: {filename: FILE(root.pem)}}"
CLUSTERS = r"^cluster_manager\.(active|warming|cluster_)"
#: Longer than the drain time.
DRAINED_S = 2.2


async def secrets(s: Session, label: str) -> None:
    """Observe the names of the secrets in the dump, by their states."""
    page = await s.proxy.admin("GET", "/config_dump")
    dumps = [each for each in json.loads(page.body)["configs"] if "SecretsConfigDump" in each["@type"]]
    s.see(label, [{k: [x["name"] for x in v] for k, v in each.items() if k != "@type"} for each in dumps])


def serving(name: str, secret: str) -> dict[str, Any]:
    return _secured(name, f"tls_certificate_sds_secret_configs: [{_sds(secret)}]")


def safe(secret: str) -> dict[str, Any]:
    """A cluster whose authority is a secret."""
    made = cluster("safe", "one")
    common = parse(f"validation_context_sds_secret_config: {_sds(secret)}")
    made["transport_socket"] = {
        "name": "tls",
        "typed_config": {"@type": UPSTREAM, "common_tls_context": common},
    }
    return made


@scenario(SECRETS)
async def xds_secret_uses_of_listeners(s: Session) -> None:
    """A secret goes with the last listener that uses it, when that is drained; its stats go along."""
    plane = await begin_whole(s)
    listeners = serving("one", "cert"), serving("two", "other"), serving("three", "cert")
    await plane.update("lds", "l2", rds_listener(), *listeners)
    await plane.asked("sds")
    await plane.update("sds", "s1", f"{{name: cert, {GOOD}}}", f"{{name: other, {GOOD}}}")
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 4, "total_listeners_active"
    )
    plane.see("all")
    await secrets(s, "secrets of all")
    await plane.update("lds", "l3", rds_listener(), *listeners[1:])
    await trio.sleep(DRAINED_S)
    plane.see("one is gone")
    await secrets(s, "secrets without one")
    await plane.update("lds", "l4", rds_listener(), listeners[1])
    await trio.sleep(DRAINED_S)
    plane.see("three is gone")
    await secrets(s, "secrets without three")
    await stats(s, r"^sds\.", label="stats without three")
    await plane.update("lds", "l5", rds_listener())
    await trio.sleep(DRAINED_S)
    plane.see("none")
    await secrets(s, "secrets of none")
    await stats(s, r"^sds\.", label="stats of none")
    await plane.send("lds", "l6", rds_listener(), listeners[0])
    await plane.asked("sds", 5)
    await plane.update("sds", "s2", f"{{name: cert, {GOOD}}}")
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "total_listeners_active"
    )
    plane.see("back")
    await stats(s, r"^sds\.")


@scenario(SECRETS)
async def xds_secret_uses_of_clusters(s: Session) -> None:
    """A cluster waits for its secret, also where it is to take the place of another one."""
    plane = await begin_whole(s)
    await plane.send("cds", "c2", eds_cluster("app"), safe("ca"))
    await plane.asked("sds")
    await stats(s, CLUSTERS, label="waits")
    await plane.update("sds", "s1", f"{{name: ca, {ROOT}}}")
    await s.until_stats(lambda stats: not stats["cluster_manager.warming_clusters"], "warming_clusters")
    await stats(s, CLUSTERS, label="in use")
    await plane.send("cds", "c3", eds_cluster("app"), safe("other"))
    await plane.asked("sds", 3)
    await stats(s, CLUSTERS, label="another waits")
    await plane.update("sds", "s2", f"{{name: ca, {ROOT}}}", f"{{name: other, {ROOT}}}")
    await s.until_stats(lambda stats: not stats["cluster_manager.warming_clusters"], "warming_clusters")
    await stats(s, CLUSTERS, label="another in use")
    await plane.asked("sds", 5)
    plane.see("another")
    await plane.update("cds", "c5", eds_cluster("app"))
    await trio.sleep(0.5)
    plane.see()
    await secrets(s, "secrets of none")
    await stats(s, CLUSTERS, r"^sds\.")
