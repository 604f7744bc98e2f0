"""Hosts that discovery does not name any more, but that active health checks find well: they stay.

Discovery may be wrong or late while a host still answers, so Envoy keeps such a host as
``PENDING_DYNAMIC_REMOVAL`` until a check fails (``Cluster.ignore_health_on_host_removal`` turns it off).
Whoever keeps the hosts of a dynamic cluster calls :func:`keep_until_failed` with every new list.  When a
host fails later an EDS cluster drops it at once (:meth:`sidecar.upstream.cluster.Cluster.on_host_changed`),
a DNS cluster with the next answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sidecar.upstream.host import HealthFlag, Host

if TYPE_CHECKING:
    from sidecar.upstream.cluster import ClusterConfig

__all__ = ["has_failed_removal", "keep_until_failed"]

# Numbers, not flags: every host of a cluster is asked, and flags would be made for the answers.
_PENDING = int(HealthFlag.PENDING_DYNAMIC_REMOVAL)
_GONE = int(HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_EDS_HEALTH | HealthFlag.EDS_STATUS_DRAINING)


def keep_until_failed(config: ClusterConfig, before: Sequence[Host], after: Sequence[Host]) -> list[Host]:
    """``after`` (what discovery names now; hosts that stay are the same objects) and who stays besides.

    ``before`` is what the last call gave.  Raises and lowers the flag; nobody's health changes by it.
    """
    hosts = list(after)
    for host in hosts:
        if host.health_flags & _PENDING:
            host.clear_flag(_PENDING)
    if not config.health_checks or config.ignore_health_on_host_removal:
        return hosts
    named = set(map(id, hosts))
    for host in before:
        if id(host) in named or host.has_no_health_checks or host.health_flags & _GONE:
            continue
        host.set_flag(_PENDING)
        hosts.append(host)
    return hosts


def has_failed_removal(host: Host) -> bool:
    """Whether the host only stayed because it was well, and is not any more."""
    flags = host.health_flags
    return bool(flags & _PENDING and flags & HealthFlag.FAILED_ACTIVE_HC)
