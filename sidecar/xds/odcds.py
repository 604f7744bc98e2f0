"""On-demand CDS: clusters that nobody knows until traffic wants them (Envoy's ``OdCdsApi``).

A source of its own has one subscription, which begins with the first name that is asked for.  Until its first
answer no other name is said; then all that were wanted meanwhile are.  On the aggregated stream each name is
a subscription, asked for at once, and an answer that is refused ends the wait for all of them.  A name is
asked for once: what a control plane said there is none of, it may send whenever there is.  Who wants one
that is asked for already waits with the others, as long as the first of them would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import trio

from sidecar.core.errors import ConfigError
from sidecar.xds.cds import CLUSTER, TakenClusters
from sidecar.xds.subscription import Resource, ResourceKind

if TYPE_CHECKING:
    from sidecar.upstream.cluster_manager import ClusterManager
    from sidecar.xds.sources import Sources

__all__ = ["OnDemandClusters", "OnDemandSource", "Outcome", "check_source"]

Outcome = Literal["available", "missing", "timeout"]
_DELTA_GRPC = 3


def check_source(source: Any, bootstrap: Any, path: str) -> None:
    """Raises: ConfigError, where it is not the incremental protocol: the other has no place for this."""
    kind = source.WhichOneof("config_source_specifier")
    if kind == "ads":
        resources = bootstrap.dynamic_resources
        if resources.HasField("ads_config") and resources.ads_config.api_type == _DELTA_GRPC:
            return
    elif kind == "api_config_source" and source.api_config_source.api_type == _DELTA_GRPC:
        node = bootstrap.node
        if not (node.id and node.cluster):
            raise ConfigError(path, f"type.googleapis.com/{CLUSTER}: node 'id' and 'cluster' are required")
        return
    elif kind in (None, "self"):
        raise ConfigError(path, "Missing config source specifier in envoy::config::core::v3::ConfigSource")
    raise ConfigError(path, "clusters come on demand by DELTA_GRPC alone, or by an ADS of that kind")


class _Pending:
    """A cluster that is waited for."""

    __slots__ = ("event", "outcome")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.outcome: Outcome = "timeout"

    def end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.event.set()


class OnDemandSource:
    """Where clusters are asked for (:class:`sidecar.xds.subscription.Subscriber`)."""

    def __init__(
        self, taken: TakenClusters, missing: Callable[[str], None], *, is_aggregated: bool = False
    ) -> None:
        #: Whether each name is a subscription of its own.
        self.has_apart = is_aggregated
        self.kind = ResourceKind(
            CLUSTER,
            "name",
            lambda message, path: (message, path),
            is_partial=True,
            incremental=taken.in_use,
        )
        self.start: Callable[[], None] = _nothing
        #: A :class:`sidecar.xds.grpc_stream.GrpcSubscription` or one of each name, or a worker's to its
        #: supervisor.
        self.subscription: Any = None
        self._taken = taken
        self._missing = missing
        self._has_begun = False
        self._was_answered = False
        #: What is asked for behind the first answer.
        self._awaiting: dict[str, None] = {}
        #: What was asked for at once.
        self._asked: dict[str, None] = {}

    def ask(self, name: str) -> None:
        """Ask for a cluster, now or behind the first answer."""
        if not self._has_begun:
            self._has_begun = True
            self.start()
            if not self.has_apart:
                self.subscription.request_first((name,))
                return
        if self.has_apart:
            self._asked[name] = None
            self.subscription.request((name,))
        elif self._was_answered:
            self.subscription.request((name,))
        else:
            self._awaiting[name] = None

    def ask_all(self, names: Sequence[str]) -> None:
        """What workers want."""
        for name in names:
            self.ask(name)

    def _answered(self) -> None:
        self._was_answered = True
        if self._awaiting:
            names, self._awaiting = tuple(self._awaiting), {}
            self.subscription.request(names)

    # -- Subscriber ------------------------------------------------------------------------------------
    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        self.on_delta(resources, (), version)  # what a supervisor knows already

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        self._taken.apply(added, removed, "odcds")
        self._answered()
        for name in removed:
            self._missing(name)

    def on_failure(self) -> None:
        if self.has_apart:
            for name in self._asked:
                self._missing(name)
        else:
            self._answered()


class OnDemandClusters:
    """Those of one server."""

    def __init__(
        self,
        sources: Sources,
        root: Any,
        clusters: ClusterManager,
        taken: TakenClusters,
        spawn: Callable[[str, Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._sources = sources
        self._scope = root.scope("cluster_manager.odcds")
        self._clusters = clusters
        self._taken = taken
        self._spawn = spawn
        self._open: dict[bytes, OnDemandSource] = {}
        self._pending: dict[str, _Pending] = {}
        clusters.on_active = self._end_available

    def source(self, message: Any, path: str) -> OnDemandSource:
        """The source of a ``ConfigSource`` at ``path``.  Raises: ConfigError."""
        check_source(message, self._sources.bootstrap, path)
        key = message.SerializeToString(deterministic=True)
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = OnDemandSource(
                self._taken,
                partial(self._end, outcome="missing"),
                is_aggregated=message.HasField("ads"),
            )
            found.start = partial(self._start, found)
            found.subscription = self._sources.subscribe(message, path, found, self._scope, ())
        return found

    def _start(self, source: OnDemandSource) -> None:
        source.subscription.start()
        self._spawn("clusters on demand", source.subscription.run)

    async def discover(self, source: OnDemandSource, name: str, timeout_s: float) -> Outcome:
        """Ask for a cluster and wait for it.  If cancelled: it is still asked for."""
        pending = self._pending.get(name)
        if pending is None:
            pending = self._pending[name] = _Pending()
            self._spawn(f"cluster {name} on demand", partial(self._limit, name, pending, timeout_s))
            source.ask(name)
        await pending.event.wait()
        return pending.outcome

    async def _limit(self, name: str, pending: _Pending, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s):
            await pending.event.wait()
        if not pending.event.is_set():
            self._end(name, outcome="timeout")

    def _end_available(self, name: str) -> None:
        self._end(name, outcome="available")

    def _end(self, name: str, *, outcome: Outcome) -> None:
        pending = self._pending.pop(name, None)
        if pending is not None:
            pending.end(outcome)


def _nothing() -> None:
    """Nobody asks."""
