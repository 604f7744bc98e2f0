"""What a process is among those of a server: alone, their supervisor, or one of its workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.server.listening_sockets import OwnSockets, SocketSource
from sidecar.upstream.discovery import DnsDiscovery

if TYPE_CHECKING:
    import trio

    from sidecar.config.registry import Registry
    from sidecar.core.notes import Notes
    from sidecar.core.shared_memory import SharedMemory
    from sidecar.server.main import Server
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.cluster_manager import HealthWatch
    from sidecar.upstream.discovery import Discovery, Resolver
    from sidecar.upstream.health_tasks import HealthTasks
    from sidecar.xds.tap import Tap

__all__ = ["Role"]


class Role:
    """A process that serves alone; the others differ from it."""

    #: Which of the workers it is.
    worker = 0
    #: Whether it serves the admin interface, flushes statistics to sinks and hears signals.
    is_main = True
    #: What all of them count together.
    shared_memory: SharedMemory | None = None
    #: What they tell each other.
    notes: Notes | None = None

    def __init__(self, sockets: SocketSource | None = None) -> None:
        self.sockets: SocketSource = sockets or OwnSockets()

    def make_tap(self, bootstrap: Any, registry: Registry) -> Tap | None:
        """Who stands between subscribers and sources."""
        return None

    def make_health(self, cluster: Cluster, make: Callable[[], HealthTasks]) -> HealthWatch:
        """Who keeps the health of a cluster's hosts; ``make`` makes the tasks of checks."""
        return make()

    def make_dns(self, cluster: Cluster, resolver: Resolver, draw: Callable[[int], int]) -> Discovery:
        """Who keeps the hosts of a DNS cluster."""
        return DnsDiscovery(cluster, resolver, draw)

    def watch_outliers(self, cluster: Cluster) -> None:
        """Let processes know what outlier detection finds of a cluster's hosts."""

    # -- of a supervisor -------------------------------------------------------------------------------------
    has_workers = False

    @property
    def serves(self) -> bool:
        """Whether one of its workers serves, though another may still start."""
        return False

    @property
    def connections(self) -> int:
        """Those of clients with its workers."""
        return 0

    @property
    def resident_bytes(self) -> int:
        """The memory of its workers."""
        return 0

    def start(self, server: Server, nursery: trio.Nursery) -> None:
        """The server runs; the listeners of its configuration are bound."""

    async def ready(self) -> None:
        """Wait until clients are served: listeners begin to accept."""

    def told_live(self) -> None:
        """The server is live."""

    async def collect(self) -> None:
        """Have what others counted in the store."""

    def call(self, name: str, **values: Any) -> None:
        """Have others do what this process was asked to do."""

    async def end(self, how: str) -> None:
        """Let the others end, ``stop`` at once or ``shut_down`` once they are idle, and wait for it."""
