"""Which hosts are in which subset; each subset has a load balancer of its own.

When somebody's health changes only the subsets that the host is in are told; when the membership changes,
those whose hosts are not the same as before.  Values of hosts are compared as texts
(:func:`sidecar.upstream.metadata_match.canonical`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.upstream.host_set import HostSet, part_hosts
from sidecar.upstream.metadata_match import NAMESPACE, canonical
from sidecar.upstream.subset_settings import SubsetSettings

if TYPE_CHECKING:
    from sidecar.upstream.host import Host, Locality
    from sidecar.upstream.load_balancer import LbContext
    from sidecar.upstream.load_balancer_policies import LbPolicy

__all__ = ["MakeBalancer", "SingleHost", "Subset", "SubsetMembers"]

MakeBalancer = Callable[["LbPolicy", "LbContext"], Any]
#: Envoy counts the subsets of every thread: of its main one, too, beside those of the workers.
_THREADS = 2


class SingleHost:
    """A subset of one host, which gets the requests whatever its health is; those of lower priority wait."""

    __slots__ = ("hosts",)

    def __init__(self) -> None:
        self.hosts: list[Host] = []

    def update(self, hosts: list[Host], locality: Locality | None) -> None:
        self.hosts = hosts

    def choose(self, stream: Any, attempt: int) -> Host | None:
        return self.hosts[0]


class Subset:
    """Hosts with a load balancer of their own."""

    __slots__ = ("_sets", "balancer", "choose", "hosts")

    def __init__(self, balancer: Any) -> None:
        self.hosts: list[Host] = []
        self._sets: Sequence[HostSet] = ()
        self.balancer = balancer
        self.choose: Callable[[Any, int], Host | None] = balancer.choose

    def update(self, hosts: list[Host], locality: Locality | None) -> None:
        self.hosts = hosts
        self._sets = part_hosts(hosts, locality, self._sets)
        self.balancer.update(self._sets)


class _Known:
    """What was known of a host when it was last looked at."""

    __slots__ = ("_state", "is_default", "keys", "metadata")

    def __init__(
        self, host: Host, metadata: Any, keys: tuple[tuple[str, bool], ...], is_default: bool
    ) -> None:
        self.metadata = metadata
        #: The texts of the subsets that it is in, and whether they are for a single host.
        self.keys = keys
        self.is_default = is_default
        self._state = (host.availability, host.excluded, host.weight)

    def has_changed(self, host: Host) -> bool:
        """Whether the host is not as it was; from now on this is how it was."""
        before = self._state
        self._state = (host.availability, host.excluded, host.weight)
        return self._state != before


class SubsetMembers:
    """The subsets of one cluster."""

    __slots__ = (
        "_any",
        "_context",
        "_default",
        "_known",
        "_make_balancer",
        "_sets",
        "_settings",
        "subsets",
    )

    def __init__(self, settings: SubsetSettings, context: LbContext, make_balancer: MakeBalancer) -> None:
        self._settings = settings
        self._context = context
        self._make_balancer = make_balancer
        self._sets: list[tuple[Host, ...]] = []
        self._known: dict[Host, _Known] = {}
        self._any: Subset | None = None
        self._default: Subset | None = None
        #: Those that have a host, by the text of the criteria that lead to them.
        self.subsets: dict[str, Subset | SingleHost] = {}

    def keep_any(self) -> Subset:
        """The subset of all hosts, kept from now on."""
        self._any = self._make()
        return self._any

    def keep_default(self) -> Subset:
        """That of ``default_subset``."""
        self._default = self._make()
        return self._default

    def _make(self) -> Subset:
        return Subset(self._make_balancer(self._settings.child, self._context))

    def update(self, sets: Sequence[HostSet]) -> None:
        """Go on with these hosts (the membership, or somebody's health or weight changed)."""
        before, now = self._known, {}
        changed: set[Host] = set()
        members = [each.hosts for each in sets]
        is_as_before = members == self._sets
        self._sets = members
        for hosts in members:
            for host in hosts:
                known = before.get(host)
                metadata = host.metadata.get(NAMESPACE)
                if known is None or known.metadata is not metadata:
                    is_as_before = False
                    keys = tuple(self._keys(metadata or {}))
                    known = _Known(host, metadata, keys, self._is_default(metadata or {}))
                    changed.add(host)
                elif known.has_changed(host):
                    changed.add(host)
                now[host] = known
        self._known = now
        locality = sets[0].local_locality if sets else None
        if is_as_before:
            for subset in {each for host in changed for each in self._subsets_of(now[host])}:
                subset.update(subset.hosts, locality)
        else:
            self._part(changed, locality)

    def _subsets_of(self, known: _Known) -> Iterator[Subset | SingleHost]:
        for key, _ in known.keys:
            yield self.subsets[key]
        if self._any is not None:
            yield self._any
        if self._default is not None and known.is_default:
            yield self._default

    def _part(self, changed: set[Host], locality: Locality | None) -> None:
        def refresh(subset: Subset | SingleHost, hosts: list[Host]) -> None:
            if hosts != subset.hosts or not changed.isdisjoint(hosts):
                subset.update(hosts, locality)

        known = self._known
        if self._any is not None:
            refresh(self._any, list(known))
        if self._default is not None:
            refresh(self._default, [host for host, each in known.items() if each.is_default])
        members: dict[str, dict[Host, None]] = {}
        single: dict[str, bool] = {}
        duplicates: dict[int, int] = {}
        for host, each in known.items():
            for key, is_single in each.keys:
                mine = members.setdefault(key, {})
                if single.setdefault(key, is_single) and any(one.priority == host.priority for one in mine):
                    duplicates[host.priority] = duplicates.get(host.priority, 0) + 1
                else:
                    mine[host] = None
        stats, before = self._context.stats, self.subsets
        # Envoy goes through the priorities one by one, and what it counts of the last one stays.
        gauge = stats.scope.gauge("lb_subsets_single_host_per_subset_duplicate")
        gauge.set(duplicates.get(len(self._sets) - 1, 0))
        now: dict[str, Subset | SingleHost] = {}
        for key, mine in members.items():
            subset = before.get(key)
            if subset is None:
                subset = SingleHost() if single[key] else self._make()
                stats.lb_subsets_created.value += _THREADS
            now[key] = subset
            refresh(subset, list(mine))
        removed = sum(1 for key in before if key not in now)
        stats.lb_subsets_removed.value += _THREADS * removed
        stats.lb_subsets_active.value += _THREADS * (len(now) - len(before))
        self.subsets = now

    def _keys(self, metadata: dict[str, Any]) -> Iterator[tuple[str, bool]]:
        for selector in self._settings.selectors:
            if not all(name in metadata for name in selector.keys):
                continue
            combinations: list[dict[str, Any]] = []
            for name in selector.keys:
                values = self._values(metadata[name])
                # As in Envoy an empty list makes the combinations begin anew with the next key.
                combinations = [{**each, name: value} for each in combinations or ({},) for value in values]
            for each in combinations:
                yield canonical(each), selector.single_host

    def _is_default(self, metadata: dict[str, Any]) -> bool:
        """Whether such a host is of the default subset."""
        for name, value in self._settings.default_subset.items():
            if name not in metadata or canonical(value) not in map(canonical, self._values(metadata[name])):
                return False
        return True

    def _values(self, value: Any) -> Sequence[Any]:
        """What a value stands for: each of a list with ``list_as_any``."""
        return value if self._settings.list_as_any and isinstance(value, (list, tuple)) else (value,)
