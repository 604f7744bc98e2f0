"""EDS: the hosts of a cluster are a resource, a ClusterLoadAssignment, that may be replaced while serving.

:class:`EdsDiscovery` is the subscriber of one cluster (Envoy's ``EdsClusterImpl``).  A host that a new
assignment still names stays the same object with its connections and counters; weight, metadata, health and
priority change in place.  Where the resource comes from is the transport's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import trio

from sidecar.api.context import FactoryContext
from sidecar.config.compile.cluster import compile_endpoints
from sidecar.config.compile.localities import compile_drops
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import XdsError
from sidecar.upstream.cluster import Cluster, EdsSettings
from sidecar.upstream.discovery import Endpoint
from sidecar.upstream.host_update import HostUpdater
from sidecar.xds.assignment_pieces import AssignmentPieces
from sidecar.xds.subscription import Resource, ResourceKind, Subscriber, Subscription, SubscriptionStats

__all__ = ["CLUSTER_LOAD_ASSIGNMENT", "Assignment", "EdsDiscovery", "assignment_kind"]

CLUSTER_LOAD_ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
_DEFAULT_OVERPROVISIONING = 140

Subscribe = Callable[[Subscriber, SubscriptionStats], Subscription]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A compiled ``envoy.config.endpoint.v3.ClusterLoadAssignment``."""

    cluster_name: str
    endpoints: tuple[Endpoint, ...] = ()
    overprovisioning_factor: int = _DEFAULT_OVERPROVISIONING
    weighted_priority_health: bool = False
    #: ``policy.drop_overloads``: how many of a million requests, and its category.
    drops: tuple[int, str] = (0, "")
    #: ``policy.endpoint_stale_after``: without a newer one the hosts go after so many seconds; 0 never.
    stale_after_s: float = 0.0
    #: How many priorities it has, those without endpoints among them.
    priorities: int = 1


def assignment_kind(context: FactoryContext) -> ResourceKind:
    """The kind of resource that EDS brings."""
    return ResourceKind(CLUSTER_LOAD_ASSIGNMENT, "cluster_name", partial(_compile, context))


def _compile(context: FactoryContext, message: Any, path: str) -> Assignment:
    policy = message.policy
    stale = policy.endpoint_stale_after
    return Assignment(
        message.cluster_name,
        tuple(compile_endpoints(message, "EDS", context, path)),
        policy.overprovisioning_factor.value
        if policy.HasField("overprovisioning_factor")
        else _DEFAULT_OVERPROVISIONING,
        policy.weighted_priority_health,
        compile_drops(message),
        # Envoy counts milliseconds.
        (stale.seconds * 1000 + stale.nanos // 1_000_000) / 1000,
        max((each.priority + 1 for each in message.endpoints), default=1),
    )


class EdsDiscovery:
    """Keeps the hosts of one EDS cluster (:class:`sidecar.upstream.discovery.Discovery`)."""

    def __init__(
        self, cluster: Cluster, settings: EdsSettings, kind: ResourceKind, subscribe: Subscribe
    ) -> None:
        """Raises: what ``subscribe`` does."""
        self.kind = replace(kind, compile=partial(self._compile, kind), incremental=AssignmentPieces())
        self.initialized = trio.Event()
        #: Called when that is set: who waits for it has it in use before others hear of the same answer.
        self.on_initialized: Callable[[], None] = _nothing
        self._cluster = cluster
        self._service_name = settings.service_name
        self._updater = HostUpdater(cluster)
        self._stale_after_s = 0.0
        self._renewed = trio.Event()
        self._subscription = subscribe(self, SubscriptionStats(cluster.stats.scope))
        self._subscription.start()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire, name=f"assignment of {self._cluster.name}")
            await self._subscription.run()

    def close(self) -> None:
        self._subscription.close()

    def _initialize(self) -> None:
        if not self.initialized.is_set():
            self.initialized.set()
            self.on_initialized()

    def _compile(self, kind: ResourceKind, message: Any, path: str) -> Assignment:
        """In a thread: what changed is found here, so that serving does not wait for it."""
        assignment: Assignment = kind.compile(message, path)
        return replace(assignment, endpoints=self._updater.share(assignment.endpoints))

    # -- Subscriber ------------------------------------------------------------------------------------
    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        stats = self._cluster.stats
        if not resources:
            stats.update_empty.value += 1
            self._initialize()
            return
        if len(resources) != 1:
            raise XdsError(f"Unexpected EDS resource length: {len(resources)}")
        assignment: Assignment = resources[0].value
        if assignment.cluster_name != self._service_name:
            raise XdsError(
                f"Unexpected EDS cluster (expecting {self._service_name}): {assignment.cluster_name}"
            )
        if self._cluster.is_local and any(endpoint.priority for endpoint in assignment.endpoints):
            raise XdsError(f"Unexpected non-zero priority for local cluster '{self._cluster.name}'.")
        if assignment.stale_after_s or self._stale_after_s:
            stats.assignment_timeout_received.value += bool(assignment.stale_after_s)
            self._stale_after_s = assignment.stale_after_s
            self._renewed.set()
        self._assign(assignment)

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        if not added and removed:
            # Hosts stay until there are others, or their cluster goes.
            self._cluster.stats.update_empty.value += 1
            self._initialize()
            return
        self.on_update(added, version)

    def on_cached(self, resource: Resource) -> None:
        self._cluster.stats.assignment_use_cached.value += 1
        self.on_update([resource], resource.version)

    def on_failure(self) -> None:
        # A file that is wrong, or a control plane that is away, keeps nobody from starting.
        self._initialize()

    # -- hosts -----------------------------------------------------------------------------------------
    def _assign(self, assignment: Assignment) -> None:
        cluster = self._cluster
        cluster.set_drops(*assignment.drops)
        rebuilt = cluster.set_assignment_policy(
            assignment.overprovisioning_factor, assignment.weighted_priority_health
        )
        if not self._updater.update(
            assignment.endpoints, is_forced=rebuilt, priorities=assignment.priorities
        ):
            cluster.stats.update_no_rebuild.value += 1
        self._initialize()

    async def _expire(self) -> None:
        """Drop the hosts of an assignment that says how long it holds, when that is over."""
        while True:
            self._renewed = trio.Event()
            if not self._stale_after_s:
                await self._renewed.wait()
                continue
            with trio.move_on_after(self._stale_after_s) as timeout:
                await self._renewed.wait()
            if timeout.cancelled_caught:
                self._stale_after_s = 0.0
                self._assign(Assignment(self._service_name))
                self._cluster.stats.assignment_stale.value += 1


def _nothing() -> None:
    """Nobody waits."""
