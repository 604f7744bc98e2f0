"""ClusterLoadAssignments in files: what scenarios write, and how it is put before a running proxy."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .configuration import cluster
from .lab import Session

ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def endpoint(upstream: str, more: str = "", *, address: str = "127.0.0.1", of: str = "") -> str:
    """One LbEndpoint; `more` are fields of it, `of` fields of its Endpoint, both with a comma behind."""
    socket = f"{{socket_address: {{address: {address}, port_value: PORT({upstream})}}}}"
    return f"{{{more} endpoint: {{{of} address: {socket}}}}}"


def locality(*endpoints: str, more: str = "") -> str:
    """One LocalityLbEndpoints; `more` are fields of it with a comma behind."""
    return f"{{{more} lb_endpoints: [{', '.join(endpoints)}]}}"


def assignment(name: str, *localities: str, policy: str = "", version: str = "1") -> str:
    """A DiscoveryResponse with one assignment."""
    return (
        f'version_info: "{version}"\nresources:\n- "@type": {ASSIGNMENT}\n  cluster_name: {name}\n'
        f"  endpoints: [{', '.join(localities)}]\n" + (f"  policy: {{{policy}}}\n" if policy else "")
    )


def eds_cluster(name: str, *, source: str = "", service: str = "", extra: str = "") -> dict[str, object]:
    """A cluster whose hosts stand in `FILE(<name>.yaml)`."""
    source = source or f"path_config_source: {{path: FILE({name}.yaml)}}"
    service_name = f"service_name: {service}, " if service else ""
    out = cluster(
        name, extra=f"type: EDS\neds_cluster_config: {{{service_name}eds_config: {{{source}}}}}\n{extra}"
    )
    del out["load_assignment"]
    return out


def move(s: Session, name: str, text: str) -> None:
    """Put a file into place as a control plane does."""
    target = s.proxy.directory / name
    fresh = s.proxy.directory / "fresh"
    fresh.write_text(s.proxy.fill(text))
    os.rename(fresh, target)


async def assign(s: Session, name: str, text: str, *, attempts: int = 1, stat_name: str = "") -> None:
    """Move an assignment into `<name>.yaml` and wait until it was looked at."""
    attempt = f"cluster.{stat_name or name}.update_attempt"
    before = (await s.counters(f"^{attempt}$"))[attempt]
    move(s, f"{name}.yaml", text)
    await s.until_stats(lambda stats: stats[attempt] >= before + attempts, f"^{attempt}$")


async def update_stats(s: Session, name: str, label: str = "stats") -> None:
    """Observe the stats of a cluster's updates and membership that are not 0."""
    stats = await s.counters(
        rf"^cluster\.{name}\.(update_(?!time)|assignment|membership|max_host_weight|version|init_fetch"
        r"|default\.total_match_count|lb_recalculate)|dynamic_unknown_fields"
    )
    s.see(label, {key: value for key, value in sorted(stats.items()) if value})


async def hosts(s: Session, name: str, label: str = "hosts", keys: Iterable[str] = ()) -> None:
    """Observe address, flags, weight and priority of each host, in the order of `/clusters`."""
    wanted = tuple(keys) or ("health_flags", "weight", "priority")
    text = (await s.proxy.admin("GET", "/clusters")).body.decode()
    found: list[str] = []
    for line in text.splitlines():
        parts = line.split("::")
        if len(parts) >= 4 and parts[0] == name and parts[-2] in wanted:
            if parts[-2] == wanted[0]:
                found.append(parts[1])
            found[-1] += f" {parts[-1]}"
    s.see(label, found)


async def until_hosts(s: Session, name: str, count: int) -> None:
    """Until the cluster has that many hosts."""
    gauge = f"cluster.{name}.membership_total"
    await s.until_stats(lambda stats: stats[gauge] == count, f"^{gauge}$")
