"""Outlier detection: who is ejected, for what, how long, and what is told about it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import Call
from ..wire import read_response

SUBJECT = "upstream"

TO = "- {{match: {{prefix: /{0}/}}, route: {{cluster: {0}, timeout: 0.15s}}}}\n"
#: An interval so long that it never ends in a scenario, or so short that scenarios wait for it.
NEVER, SOON = "interval: 600s, base_ejection_time: 600s", "interval: 0.2s, base_ejection_time: 0.05s"
RATES = "enforcing_consecutive_5xx: 0, success_rate_request_volume: 6, failure_percentage_request_volume: 6"
CLUSTERS: dict[str, tuple[Sequence[str], str]] = {
    "plain": (("one", "two"), f"{NEVER}, consecutive_5xx: 3, max_ejection_percent: 50"),
    "gateway": (
        ("one", "two"),
        f"{NEVER}, consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100, "
        "consecutive_5xx: 100, max_ejection_percent: 50",
    ),
    "full": (("one", "two"), f"{NEVER}, consecutive_5xx: 2, max_ejection_percent: 10"),
    "always": (
        ("one", "two"),
        f"{NEVER}, consecutive_5xx: 2, max_ejection_percent: 10, always_eject_one_host: true",
    ),
    "soft": (
        ("one", "two"),
        f"{NEVER}, consecutive_5xx: 2, enforcing_consecutive_5xx: 0, max_ejection_percent: 90",
    ),
    "split": (
        ("one", "dead"),
        f"{NEVER}, split_external_local_origin_errors: true, consecutive_local_origin_failure: 2, "
        "consecutive_5xx: 2, max_ejection_percent: 100",
    ),
    "joined": (("one", "dead"), f"{NEVER}, consecutive_5xx: 2, max_ejection_percent: 100"),
    "slow": (
        ("one",),
        f"{NEVER}, consecutive_5xx: 2, consecutive_gateway_failure: 1, max_ejection_percent: 100",
    ),
    "back": (("one",), f"{SOON}, consecutive_5xx: 2, max_ejection_percent: 100"),
    "rate": (
        ("one", "two", "three"),
        f"interval: 0.4s, base_ejection_time: 600s, {RATES}, success_rate_minimum_hosts: 3, "
        "success_rate_stdev_factor: 1000, max_ejection_percent: 50, failure_percentage_minimum_hosts: 9",
    ),
    "percent": (
        ("one", "two"),
        f"interval: 0.4s, base_ejection_time: 600s, {RATES}, success_rate_minimum_hosts: 9, "
        "failure_percentage_minimum_hosts: 2, failure_percentage_threshold: 50, "
        "enforcing_failure_percentage: 100, max_ejection_percent: 50",
    ),
}


def setup(name: str, *clusters: str) -> Setup:
    """Each scenario has clusters of its own, as ejections stay; setups are few, as processes are dear."""
    return Setup(
        f"outliers_{name}",
        bootstrap(
            [listener("main", routes="".join(TO.format(each) for each in clusters))],
            [
                cluster(each, *CLUSTERS[each][0], extra=f"outlier_detection: {{{CLUSTERS[each][1]}}}")
                for each in clusters
            ],
            "cluster_manager: {outlier_detection: {event_log_path: FILE(events.log)}}",
        ),
        {"one": "h1", "two": "h1", "three": "h1", "dead": "dead"},
    )


EJECTING = setup("ejecting", *CLUSTERS)


def status_of(request: str) -> int:
    """The status that a path asks for: `/cluster/503` or `/cluster/503@one`, which others answer with 200."""
    found = re.search(r"/(\d{3})", request)
    return int(found[1]) if found else 200


def arm(s: Session) -> None:
    """Upstreams answer what the path says.  The ejections stay: nobody else uses this process."""
    s.proxy.is_spent = True

    def script(name: str) -> Any:
        async def serve(call: Call) -> None:
            wanted = call.path.partition("@")[2]
            if "/slow/slow" in call.path:
                await call.gone()
                return
            status = status_of(call.path) if wanted in ("", name) else 200
            await call.send(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())

        return serve

    for name, upstream in s.upstreams.items():
        if upstream.kind != "dead":
            upstream.script = script(name)


async def ask(s: Session, path: str, count: int) -> list[str]:
    """The statuses of so many requests, one after another, on one connection."""
    client = await s.connect()
    statuses = []
    for _ in range(count):
        await client.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        reply = await read_response(client.wire)
        statuses.append(reply.start_line.split(" ")[1])
    client.close()
    return sorted(statuses)  # where the round begins is chance


async def until_ejected(s: Session, name: str, count: int) -> None:
    gauge = f"cluster.{name}.outlier_detection.ejections_active"
    await s.until_stats(lambda stats: stats.get(gauge) == count, re.escape(gauge))


async def look(s: Session, name: str) -> None:
    """Observe the cluster's lines, stats and events; forget what upstreams saw."""
    await s.quiet()
    stats = await s.counters(rf"^cluster\.{name}\.(outlier_detection\.|membership_|lb_healthy_panic)")
    s.see("stats", stats)
    wanted = r"outlier::|health_flags|success_rate|rq_(error|success|timeout|total)|cx_connect_fail"
    reply = await s.proxy.admin("GET", "/clusters")
    lines = [each for each in reply.body.decode().splitlines() if each.startswith(f"{name}::")]
    s.see("clusters", [each for each in lines if re.search(wanted, each)])
    for upstream in s.upstreams.values():
        upstream.seen.clear()


async def events(s: Session, name: str, count: int) -> None:
    """Observe the events of this cluster, once there are so many."""
    path = trio.Path(s.proxy.directory / "events.log")
    await s.proxy.admin("POST", "/reopen_logs")  # what waits is written
    while True:
        lines = [json.loads(line) for line in (await path.read_text()).splitlines()]
        lines = [line for line in lines if line["cluster_name"] == name]
        if len(lines) >= count:
            break
        await trio.sleep(POLL_S)
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", line["timestamp"])
        line["timestamp"] = "<time>"
    s.see("events", [json.dumps(line) for line in lines[:count]])


@scenario(EJECTING)
async def outlier_consecutive_5xx(s: Session) -> None:
    """Three in a row eject a host; a success between begins anew; the other gets everything then."""
    arm(s)
    s.see("mixed", [*await ask(s, "/plain/500@one", 4), *await ask(s, "/plain/200", 2)])
    s.see("bad", await ask(s, "/plain/501@one", 6))
    await until_ejected(s, "plain", 1)
    s.see("after", await ask(s, "/plain/500@one", 4))
    await look(s, "plain")
    await events(s, "plain", 1)


@scenario(EJECTING)
async def outlier_consecutive_gateway_failure(s: Session) -> None:
    """502, 503 and 504 count; 500 begins anew."""
    arm(s)
    for status in (502, 500, 504):
        s.see(f"{status}", await ask(s, f"/gateway/{status}@one", 2))
    s.see("503", await ask(s, "/gateway/503@one", 2))
    await until_ejected(s, "gateway", 1)
    await look(s, "gateway")
    await events(s, "gateway", 1)


@scenario(EJECTING)
async def outlier_max_ejection_percent(s: Session) -> None:
    """Nobody is ejected where that would be too many: overflow."""
    arm(s)
    s.see("statuses", await ask(s, "/full/500", 4))
    gauge = "cluster.full.outlier_detection.ejections_overflow"
    await s.until_stats(lambda stats: stats.get(gauge) == 2, re.escape(gauge))
    await look(s, "full")


@scenario(EJECTING)
async def outlier_always_eject_one_host(s: Session) -> None:
    """One may always be ejected; the next overflows."""
    arm(s)
    s.see("statuses", await ask(s, "/always/500@one", 4))
    await until_ejected(s, "always", 1)
    s.see("then", await ask(s, "/always/500@two", 2))
    gauge = "cluster.always.outlier_detection.ejections_overflow"
    await s.until_stats(lambda stats: stats.get(gauge) == 1, re.escape(gauge))
    await look(s, "always")


@scenario(EJECTING)
async def outlier_not_enforced(s: Session) -> None:
    """At 0 per cent the ejection is detected and logged, nothing more."""
    arm(s)
    s.see("statuses", await ask(s, "/soft/500@one", 4))
    counter = "cluster.soft.outlier_detection.ejections_detected_consecutive_5xx"
    await s.until_stats(lambda stats: stats.get(counter) == 1, re.escape(counter))
    await look(s, "soft")
    await events(s, "soft", 1)


@scenario(EJECTING)
async def outlier_local_origin_split(s: Session) -> None:
    """A refused connection is a local failure of its own kind, a 500 is not."""
    arm(s)
    s.see("statuses", await ask(s, "/split/200", 4))
    await until_ejected(s, "split", 1)
    s.see("then", await ask(s, "/split/200", 2))
    s.see("bad", await ask(s, "/split/500", 2))
    await until_ejected(s, "split", 2)
    await look(s, "split")
    await events(s, "split", 2)


@scenario(EJECTING)
async def outlier_local_origin_joined(s: Session) -> None:
    """Without the split a refused connection counts as 503."""
    arm(s)
    s.see("statuses", await ask(s, "/joined/200", 4))
    await until_ejected(s, "joined", 1)
    s.see("then", await ask(s, "/joined/200", 2))
    await look(s, "joined")


@scenario(EJECTING)
async def outlier_timeouts_and_panic(s: Session) -> None:
    """Timeouts count as 504; where all are ejected, panic uses them all."""
    arm(s)
    s.see("statuses", await ask(s, "/slow/slow", 2))
    await until_ejected(s, "slow", 1)
    s.see("then", await ask(s, "/slow/200", 2))
    await look(s, "slow")
    await events(s, "slow", 1)


@scenario(EJECTING)
async def outlier_returns(s: Session) -> None:
    """The host is back after its time, and what is counted begins anew."""
    arm(s)
    s.see("statuses", await ask(s, "/back/500", 2))
    await until_ejected(s, "back", 1)
    await until_ejected(s, "back", 0)
    await events(s, "back", 2)
    await look(s, "back")


async def in_one_interval(s: Session, name: str, path: str, count: int) -> None:
    """So many requests, at once, so that they fall into one interval: ask until they did."""
    counter = f"cluster.{name}.outlier_detection.ejections_enforced_total"
    for _ in range(20):
        await ask(s, path, count)
        with trio.move_on_after(0.6):
            await s.until_stats(lambda stats: stats.get(counter) == 1, re.escape(counter))
            return


@scenario(EJECTING)
async def outlier_success_rate(s: Session) -> None:
    """A rate that is too far below the others' is ejected at the end of the interval."""
    arm(s)
    await in_one_interval(s, "rate", "/rate/500@one", 24)
    stats = await s.counters(r"^cluster\.rate\.outlier_detection\.ejections_(enforced|active|total)")
    s.see("stats", stats)
    await events(s, "rate", 1)
    for upstream in s.upstreams.values():
        upstream.seen.clear()


@scenario(EJECTING)
async def outlier_failure_percentage(s: Session) -> None:
    """A share of failures over the threshold is ejected at the end of the interval."""
    arm(s)
    await in_one_interval(s, "percent", "/percent/500@one", 16)
    stats = await s.counters(r"^cluster\.percent\.outlier_detection\.ejections_(enforced|active|total)")
    s.see("stats", stats)
    await events(s, "percent", 1)
    for upstream in s.upstreams.values():
        upstream.seen.clear()


ROUTES_LATER = (
    "route_config: {validate_clusters: false, virtual_hosts: [{name: all, domains: ['*'], "
    "routes: [{match: {prefix: /}, route: {cluster: found}}]}]}"
)
DISCOVERED = Setup(
    "outliers_discovered",
    bootstrap(
        [listener("main", ROUTES_LATER)],
        (),
        """
        node: {id: node, cluster: cluster}
        cluster_manager: {outlier_detection: {event_log_path: FILE(events.log)}}
        dynamic_resources: {cds_config: {path_config_source: {path: FILE(cds.json)}}}
        """,
    ),
    {"one": "h1", "two": "h1"},
    {
        "cds.json": json.dumps(
            {
                "resources": [
                    {
                        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                        **cluster(
                            "found", "one", "two", extra=f"outlier_detection: {{{CLUSTERS['plain'][1]}}}"
                        ),
                    }
                ]
            }
        ).encode()
    },
)


@scenario(DISCOVERED)
async def outlier_events_of_a_discovered_cluster(s: Session) -> None:
    """The event log is of all clusters, of those from CDS too."""
    arm(s)
    s.see("bad", await ask(s, "/found/501@one", 6))
    await until_ejected(s, "found", 1)
    await events(s, "found", 1)
