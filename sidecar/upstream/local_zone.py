"""Where the proxy is among its peers: its own locality and the hosts of the local cluster.

One :class:`LocalZone` is shared by all clusters of a cluster manager.  ``cluster_manager.local_cluster_name``
names the cluster whose hosts are the proxies themselves; without it no routing by zone takes place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from sidecar.core.dataclass import dataclass
from sidecar.upstream.host import Locality
from sidecar.upstream.host_set import HostSet

__all__ = ["NOWHERE", "LocalZone"]


@dataclass(slots=True, eq=False)
class LocalZone:
    """See the module."""

    #: ``node.locality``; None where the node does not say.
    locality: Locality | None = None
    #: ``cluster_manager.local_cluster_name``.
    cluster_name: str = ""
    #: The local cluster's hosts; None where there is no such cluster.
    peers: HostSet | None = None
    #: By cluster: called when the peers changed.
    on_change: dict[str, Callable[[], None]] = field(default_factory=dict)

    def set_peers(self, peers: HostSet) -> None:
        """Take over what the local cluster's hosts are now."""
        self.peers = peers
        for changed in tuple(self.on_change.values()):
            changed()


NOWHERE = LocalZone()
