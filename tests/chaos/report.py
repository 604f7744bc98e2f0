"""Two proxies side by side, and whether ours was worse anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

from .load import Tally

__all__ = ["STATS", "Line", "Outcome", "lines", "table", "worse"]

#: Of each cluster: the stat, and whether more of it is worse.
STATS = {
    "upstream_rq_retry": False,
    "upstream_rq_retry_success": False,
    "upstream_rq_retry_limit_exceeded": True,
    "upstream_rq_retry_overflow": True,
    "upstream_rq_timeout": True,
    "upstream_rq_per_try_timeout": True,
    "upstream_rq_pending_overflow": True,
    "upstream_rq_pending_failure_eject": True,
    "upstream_rq_rx_reset": True,
    "upstream_cx_connect_fail": True,
    "upstream_cx_connect_timeout": True,
    "upstream_cx_protocol_error": True,
    "upstream_cx_none_healthy": True,
    "lb_healthy_panic": True,
    "health_check.attempt": False,
    "health_check.failure": True,
    "health_check.network_failure": True,
    "outlier_detection.ejections_enforced_total": True,
}


@dataclass(slots=True)
class Outcome:
    """What was seen of one proxy."""

    tallies: Mapping[str, Tally]
    stats: Mapping[str, int]
    #: What was there after the load and not before: tasks, sockets, slots.
    left: Mapping[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """One number of both."""

    name: str
    ours: float
    envoys: float
    #: More is worse.
    is_bad: bool = True
    #: There should be none, whatever Envoy has.
    is_leak: bool = False

    @property
    def is_worse(self) -> bool:
        """More than Envoy's by more than chance explains.

        Which upstream a request meets is chance, so counts spread as their root; three deviations of the
        difference of two, and a tenth, as the phases of two load balancers' health are not the same.
        """
        if not self.is_bad:
            return False
        if self.is_leak:
            return self.ours > 0
        return self.ours > 1.1 * self.envoys + 3 * sqrt(self.ours + self.envoys)


def lines(ours: Outcome, envoys: Outcome, clusters: Mapping[str, bool]) -> list[Line]:
    """All that is compared."""
    found = []
    for name, tally in ours.tallies.items():
        other = envoys.tallies[name]
        found.append(
            Line(
                f"{name}: requests",
                tally.outcomes.total(),
                other.outcomes.total(),
                is_bad=False,
            )
        )
        found.append(Line(f"{name}: failed", tally.failed, other.failed))
        found.extend(
            Line(f"  {outcome}", tally.outcomes[outcome], other.outcomes[outcome])
            for outcome in sorted((tally.outcomes | other.outcomes).keys() - {"200", "left"})
        )
    for cluster in clusters:
        for stat, is_bad in STATS.items():
            name = f"cluster.{cluster}.{stat}"
            found.append(Line(name, ours.stats.get(name, 0), envoys.stats.get(name, 0), is_bad=is_bad))
    found += [
        Line(f"left: {name}", count, envoys.left.get(name, 0), is_leak=True)
        for name, count in ours.left.items()
    ]
    return found


def worse(found: list[Line]) -> list[Line]:
    """The lines on which ours is worse."""
    return [line for line in found if line.is_worse]


def table(found: list[Line], ours: Outcome, envoys: Outcome) -> str:
    """As text."""
    rows = [f"{'':52} {'sidecar':>9} {'Envoy':>9}"]
    rows += [
        f"{line.name:52} {line.ours:9g} {line.envoys:9g}{'  worse' if line.is_worse else ''}"
        for line in found
    ]
    for share in (0.5, 0.99):
        for name, tally in ours.tallies.items():
            pair = (percentile(tally.seconds, share), percentile(envoys.tallies[name].seconds, share))
            rows.append(f"{name + f': p{share * 100:g} ms':52} {pair[0] * 1e3:9.1f} {pair[1] * 1e3:9.1f}")
    rows.append(f"{'CPU s':52} {ours.cpu_s:9.1f} {envoys.cpu_s:9.1f}")
    return "\n".join(rows)


def percentile(values: list[float], share: float) -> float:
    """Of unsorted values; 0 without any."""
    ranked = sorted(values)
    return ranked[int(len(ranked) * share)] if ranked else 0.0
