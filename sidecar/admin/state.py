"""What the admin API knows of the server, and what it answers with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sidecar.core.options import Options
from sidecar.net.reactor import Reactor
from sidecar.observability.stats import Store
from sidecar.observability.tags import TagProducer
from sidecar.upstream.cluster import Cluster

__all__ = ["AdminResponse", "AdminState", "ListenerStatus"]

TEXT = b"text/plain; charset=UTF-8"
JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """An answer, complete."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """One listener."""

    name: str
    #: Bound addresses in Envoy's text form, the main one first.
    addresses: Sequence[str]
    #: The ``envoy.config.listener.v3.Listener`` message.
    message: Any = field(default=None, repr=False)


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

    def clusters(self) -> Iterable[Cluster]: ...

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
