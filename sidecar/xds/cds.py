"""CDS: all clusters that a control plane knows (Envoy's ``CdsApiImpl``).

Each answer is the whole: what it does not name any more goes.  A cluster that cannot be used does not keep
the others of its answer from being taken; the answer is refused all the same, and says which.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from sidecar.core.errors import ConfigError, XdsError
from sidecar.xds.subscription import UNCHANGED, InUse, Resource, ResourceKind

if TYPE_CHECKING:
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.cluster_manager import ClusterManager

__all__ = ["CLUSTER", "CdsApi", "TakenClusters"]

log = logging.getLogger("sidecar.upstream")

CLUSTER = "envoy.config.cluster.v3.Cluster"


class TakenClusters:
    """What control planes sent and is in use, of CDS and of what is asked for on demand."""

    def __init__(self, clusters: ClusterManager, make_cluster: Callable[[Any, str, str], Cluster]) -> None:
        """``make_cluster`` compiles a message at a path, of a version."""
        self.in_use = InUse()
        self._clusters = clusters
        self._make_cluster = make_cluster
        #: What came, by name.
        self.data: dict[str, bytes] = {}
        #: When each was taken.
        self.times: dict[str, float] = {}

    def apply(self, added: Sequence[Resource], removed: Sequence[str], who: str) -> int:
        """How many changed; ``who`` got them.  Raises: XdsError, when all that can be used was taken."""
        log.info(
            "%s: response indicates %d added/updated cluster(s), %d removed cluster(s); applying changes",
            who,
            len(added),
            len(removed),
        )
        errors: list[str] = []
        seen: set[str] = set()
        changed = skipped = gone_count = 0
        for resource in added:
            name = _name(resource)
            if name in seen:
                errors.append(f"{name}: duplicate cluster {name} found")
                log.warning("%s: cluster '%s' config rejected: %s", who, name, errors[-1])
                continue
            seen.add(name)
            if resource.value is UNCHANGED:
                skipped += 1
                continue
            try:
                if self._take(name, resource):
                    changed += 1
                else:
                    skipped += 1
            except ConfigError as error:
                reason = f"{error.path}: {error.reason}" if error.path else error.reason
                log.warning("%s: cluster '%s' config rejected: %s", who, name, reason)
                errors.append(f"{name}: {reason}")
        names = set(removed)
        gone = [each for each in self._clusters.all() if each.name in names] if names else []
        for name in removed:
            if self.data.pop(name, None) is not None:
                self.times.pop(name, None)
                self.in_use.drop(name)
                self._clusters.remove(name)
                gone_count += 1
        if gone:
            self._clusters.forget_stats(gone)
        log.info(
            "%s: added/updated %d cluster(s) (skipped %d unmodified cluster(s)); removed %d cluster(s)",
            who,
            changed,
            skipped,
            gone_count,
        )
        if errors:
            raise XdsError(f"Error adding/updating cluster(s) {', '.join(errors)}")
        return changed

    def _take(self, name: str, resource: Resource) -> bool:
        """Whether it changes anything.  Raises: ConfigError."""
        if resource.error:
            self._clusters.count_update(name)
            raise ConfigError("", resource.error)
        message, path = resource.value
        data = message.SerializeToString(deterministic=True)
        if self.data.get(name) == data:
            self.in_use.use(name, resource)
            return False
        existing = self._clusters.clusters.get(name)
        if existing is not None and not existing.config.added_via_api:
            return False  # one of the bootstrap's is not replaced
        self._clusters.count_update(name)
        self._clusters.update(self._make_cluster(message, path, resource.version))
        self.times[name] = time.time()
        self.data[name] = data
        self.in_use.use(name, resource)
        return True


class CdsApi:
    """The subscriber."""

    def __init__(self, taken: TakenClusters, scope: Any) -> None:
        """``scope`` is that of its stats."""
        self._taken = taken
        self.kind = ResourceKind(
            CLUSTER,
            "name",
            lambda message, path: (message, path),
            is_partial=True,
            incremental=taken.in_use,
        )
        self.answered = trio.Event()
        self._reload = scope.counter("config_reload")
        self._reload_time = scope.gauge("config_reload_time_ms")
        #: Of the last answer that was taken.
        self.version = ""

    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        gone = set(self._taken.data)
        gone.difference_update(resource.name for resource in resources)
        self.on_delta(resources, tuple(gone), version)

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        try:
            changed = self._taken.apply(added, removed, "cds")
        finally:
            self.answered.set()
        self.version = version
        if changed:
            self._reload.value += 1
            self._reload_time.set(int(time.time() * 1000))

    def on_failure(self) -> None:
        self.answered.set()


def _name(resource: Resource) -> str:
    """That of the cluster itself, whatever the Resource around it says."""
    if resource.value is UNCHANGED:
        return resource.name
    message = resource.message if resource.error else resource.value[0]
    return str(message.name)
