"""What the admin API knows of the server, and what it answers with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from sidecar.api.python_filters import PythonFilters
from sidecar.api.taps import Attached, Taps
from sidecar.core.dataclass import dataclass
from sidecar.core.options import Options
from sidecar.core.runtime import Runtime
from sidecar.net.reactor import Reactor
from sidecar.observability.stats import Store
from sidecar.observability.tags import TagProducer
from sidecar.upstream.cluster import Cluster

__all__ = ["AdminResponse", "AdminState", "Discovered", "Found", "ListenerStatus", "OtherListener", "Refused"]

TEXT = b"text/plain; charset=UTF-8"
JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """An answer, complete unless a tap follows."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    #: What ``/tap`` asked for, as it came and compiled: the traces are the body.
    tap: tuple[bytes, Attached] | None = None


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """One listener."""

    name: str
    #: Bound addresses in Envoy's text form, the main one first.
    addresses: Sequence[str]
    #: The ``envoy.config.listener.v3.Listener`` message.
    message: Any = field(default=None, repr=False)
    #: Version, and seconds since the epoch, of one that a control plane sent; None for the bootstrap's.
    added: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A resource that was refused."""

    name: str
    message: Any = field(repr=False)
    reason: str
    at_s: float


@dataclass(frozen=True, slots=True)
class OtherListener:
    """A listener that does not serve yet, or accepts no more."""

    name: str
    version: str
    message: Any = field(repr=False)
    at_s: float
    #: Names of what it waits for.
    waits_for: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A resource that came; where none did yet, all but its name says so."""

    name: str
    version: str
    message: Any = field(repr=False)
    at_s: float


@dataclass(frozen=True, slots=True)
class Discovered:
    """What control planes sent, besides what :class:`AdminState` shows among the rest."""

    #: Versions of the last answers of clusters and listeners that were taken.
    clusters_version: str = ""
    listeners_version: str = ""
    #: Clusters that wait for their first hosts.
    warming_clusters: Sequence[Cluster] = ()
    #: When each cluster was taken.
    cluster_times: Mapping[str, float] = field(default_factory=dict)
    warming_listeners: Sequence[OtherListener] = ()
    draining_listeners: Sequence[OtherListener] = ()
    refused_listeners: Sequence[Refused] = ()
    #: Version, message and time of each route configuration.
    routes: Sequence[tuple[str, Any, float]] = ()
    #: Name, version, messages and time of the scopes of a source.
    scopes: Sequence[tuple[str, str, Sequence[Any], float]] = ()
    #: A secret without a message did not come yet.
    secrets: Sequence[Found] = ()
    #: Of each kind of filters whose configuration is discovered, once there was one, what came.
    extensions: Mapping[str, Sequence[Found]] = field(default_factory=dict)


class AdminState(Protocol):
    """The server, as the admin API sees it."""

    options: Options
    store: Store
    #: Extracts tags for the Prometheus rendering.
    tag_producer: TagProducer
    reactor: Reactor
    #: Wall clock when the process started.
    started_s: float
    #: The ``envoy.config.bootstrap.v3.Bootstrap`` message, node flags merged in.
    bootstrap: Any

    @property
    def server_state(self) -> str:
        """``LIVE``, ``DRAINING``, ``PRE_INITIALIZING`` or ``INITIALIZING``."""
        ...

    @property
    def first_started_s(self) -> float:
        """Wall clock when the first epoch of hot restarts started."""
        ...

    @property
    def hot_restart_version(self) -> str:
        """Of what epochs say to each other, or ``disabled``."""
        ...

    @property
    def runtime(self) -> Runtime:
        """The layers of the runtime."""
        ...

    def modify_runtime(self, values: Mapping[str, str]) -> bool:
        """Override values of the runtime; whether there is a layer for that."""
        ...

    def set_log_levels(self, levels: Mapping[str, str]) -> None:
        """The levels of loggers have changed to these."""

    def reset_counters(self) -> None:
        """``/reset_counters``."""

    def clusters(self) -> Iterable[Cluster]: ...

    def discovered(self) -> Discovered: ...

    @property
    def taps(self) -> Taps:
        """Filters that may be tapped."""
        ...

    @property
    def python_filters(self) -> PythonFilters:
        """Filters in Python, of all processes."""
        ...

    def tls_contexts(self) -> Iterable[Any]:
        """The TLS contexts of listeners and clusters."""
        ...

    def listeners(self) -> Iterable[ListenerStatus]: ...

    def refresh_stats(self) -> None:
        """Bring gauges up to date, and flush where ``stats_flush_on_admin`` says so."""

    def set_health_failed(self, failed: bool) -> None:
        """``/healthcheck/fail`` and ``/healthcheck/ok``."""

    def drain_listeners(
        self, *, inbound_only: bool = False, graceful: bool = False, skip_exit: bool = False
    ) -> None: ...

    def reopen_logs(self) -> None: ...

    def stop(self) -> None:
        """``/quitquitquit``."""
