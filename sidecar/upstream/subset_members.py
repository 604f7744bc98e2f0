"""Which hosts are in which subset; each subset has a load balancer of its own.

When something changes about a host only the subsets that it is in, or was in, are told.  Values of hosts are
compared as texts (:func:`sidecar.upstream.metadata_match.canonical`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.upstream.host_set import HostSet, part_hosts
from sidecar.upstream.metadata_match import NAMESPACE, canonical
from sidecar.upstream.subset_settings import SubsetSettings
from sidecar.upstream.subset_snapshot import Snapshot

if TYPE_CHECKING:
    from sidecar.upstream.host import Host, Locality
    from sidecar.upstream.load_balancer import LbContext
    from sidecar.upstream.load_balancer_policies import LbPolicy

__all__ = ["MakeBalancer", "SingleHost", "Subset", "SubsetMembers"]

MakeBalancer = Callable[["LbPolicy", "LbContext"], Any]
#: Envoy counts the subsets of every thread: of its main one, too, beside those of the workers.
_THREADS = 2


class _Whole:
    """What a subset has to know of the cluster's hosts."""

    __slots__ = ("counts", "local_locality")

    def __init__(self, sets: Sequence[HostSet], *, scales: bool) -> None:
        self.local_locality = sets[0].local_locality if sets else None
        #: How many hosts each locality has, by priority; None where that does not matter.
        self.counts: list[dict[Locality, int]] | None = None
        if scales:
            self.counts = [
                dict(zip(each.localities.keys, map(len, each.localities.hosts), strict=True)) for each in sets
            ]

    def scale(self, sets: Sequence[HostSet]) -> None:
        """Let localities weigh less the fewer of their hosts are in ``sets``."""
        assert self.counts is not None
        for each, counts in zip(sets, self.counts, strict=False):
            each.reweigh(
                lambda locality, weight, count, counts=counts: int(  # type: ignore[misc]
                    weight * count / counts[locality] + 0.5
                )
            )


class SingleHost:
    """A subset of which one host gets the requests: the first of the highest priority, well or not."""

    __slots__ = ("_host", "hosts")

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        self._host: Host | None = None

    def update(self, hosts: list[Host], of: _Whole) -> None:
        self.hosts = hosts
        self._host = min(hosts, key=lambda host: host.priority)

    def choose(self, stream: Any, attempt: int) -> Host | None:
        return self._host


class Subset:
    """Hosts with a load balancer of their own."""

    __slots__ = ("_sets", "balancer", "choose", "hosts")

    def __init__(self, balancer: Any) -> None:
        self.hosts: list[Host] = []
        self._sets: Sequence[HostSet] = ()
        self.balancer = balancer
        self.choose: Callable[[Any, int], Host | None] = balancer.choose

    def update(self, hosts: list[Host], of: _Whole) -> None:
        self.hosts = hosts
        self._sets = part_hosts(hosts, of.local_locality, self._sets)
        if of.counts is not None:
            of.scale(self._sets)
        self.balancer.update(self._sets)

    def take(self, hosts: list[Host], sets: Sequence[HostSet]) -> None:
        """Be all of the cluster, which has parted its hosts already."""
        self.hosts, self._sets = hosts, sets
        self.balancer.update(sets)


class _Place(NamedTuple):
    """Where a host is by its metadata."""

    #: The texts of its subsets, one as often as selectors lead there, and whether they are for one host.
    keys: tuple[tuple[str, bool], ...]
    is_default: bool


def _was_empty(old: list[Host], was_in: dict[Host, int], new: list[Host]) -> bool:
    """Whether a subset had no host for a moment.

    Envoy goes through the priorities one by one: all that it had went before any came.
    """
    return bool(was_in) and max(was_in[host] for host in old) < min(host.priority for host in new)


class SubsetMembers:
    """The subsets of one cluster."""

    __slots__ = (
        "_any",
        "_context",
        "_default",
        "_make_balancer",
        "_peers",
        "_places",
        "_seen",
        "_settings",
        "_whole",
        "subsets",
    )

    def __init__(self, settings: SubsetSettings, context: LbContext, make_balancer: MakeBalancer) -> None:
        self._settings = settings
        self._context = context
        self._make_balancer = make_balancer
        self._seen = Snapshot((), by_locality=False)
        self._whole = _Whole((), scales=False)
        self._peers = context.local.peers
        self._places: dict[Host, _Place] = {}
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
        before, seen = self._seen, Snapshot(sets, by_locality=self._settings.child.locality_weighted)
        self._seen = seen
        self._whole = _Whole(sets, scales=self._settings.scale_locality_weight)
        if not seen.has_members_of(before):
            self._move(before, sets)
            return
        changed = seen.changed_since(before)
        if self._context.local.peers is not self._peers:
            # Somebody moved among the proxies: what goes to which zone is to be seen anew.
            self._peers = self._context.local.peers
            changed = seen.hosts
        for subset in self._subsets_of(changed):
            subset.update(subset.hosts, self._whole)
        if changed and self._any is not None:
            self._any.take(seen.hosts, sets)

    def _subsets_of(self, hosts: Iterable[Host]) -> set[Subset | SingleHost]:
        found: set[Subset | SingleHost] = set()
        for host in hosts:
            place = self._places[host]
            found.update(self.subsets[key] for key, _ in place.keys)
            if self._default is not None and place.is_default:
                found.add(self._default)
        return found

    def _move(self, before: Snapshot, sets: Sequence[HostSet]) -> None:
        """Hosts came, left or changed their metadata or their priority."""
        seen = self._seen
        come, left, changed = seen.news_since(before)
        places = self._places
        #: Subsets of which something is new, and the hosts that come into them; single ones among them.
        touched: dict[str, list[Host]] = {}
        single: dict[str, bool] = {}
        for host in left:
            touched.update((key, []) for key, _ in places.pop(host).keys)
        for host in changed:
            touched.update((key, []) for key, _ in places[host].keys)
        moved = set(left)
        for host in come:
            was = places.get(host)
            if was is not None:
                moved.add(host)
                for key, _ in was.keys:
                    touched.setdefault(key, [])
            place = places[host] = self._place(host.metadata.get(NAMESPACE))
            for key, is_single in place.keys:
                touched.setdefault(key, []).append(host)
                single.setdefault(key, is_single)
        if self._any is not None:
            self._any.take(seen.hosts, sets)
        if self._default is not None:
            self._default.update([host for host in seen.hosts if places[host].is_default], self._whole)
        if self._settings.scale_locality_weight:
            touched = {key: touched.get(key, []) for key in (*self.subsets, *touched)}
        self._touch(touched, single, moved, before)
        self._count_duplicates(len(sets) - 1)

    def _touch(
        self,
        touched: dict[str, list[Host]],
        single: dict[str, bool],
        moved: set[Host],
        before: Snapshot,
    ) -> None:
        """``moved`` were elsewhere before, or are gone."""
        position: dict[Host, int] = {}
        if any(touched.values()):
            position = {host: number for number, host in enumerate(self._seen.hosts)}
        was_in: dict[Host, int] = {}
        if max(self._seen.priorities, default=0):
            was_in = dict(zip(before.hosts, before.priorities, strict=True))
        stats = self._context.stats
        subsets = dict(self.subsets)
        for key, come in touched.items():
            subset = subsets.get(key)
            hosts = [] if subset is None else subset.hosts
            if not moved.isdisjoint(hosts):
                hosts = [host for host in hosts if host not in moved]
            if come:
                hosts = sorted(dict.fromkeys([*hosts, *come]), key=position.__getitem__)
            if subset is not None and (not hosts or _was_empty(subset.hosts, was_in, hosts)):
                del subsets[key]
                stats.lb_subsets_removed.value += _THREADS
                single.setdefault(key, isinstance(subset, SingleHost))
                subset = None
            if not hosts:
                continue
            if subset is None:
                subset = subsets[key] = SingleHost() if single[key] else self._make()
                stats.lb_subsets_created.value += _THREADS
            subset.update(hosts, self._whole)
        stats.lb_subsets_active.value += _THREADS * (len(subsets) - len(self.subsets))
        self.subsets = subsets

    def _count_duplicates(self, priority: int) -> None:
        """Count hosts that are not the one of their subset.

        Envoy goes through the priorities one by one, and what it counts of the last one stays.
        """
        count = 0
        if any(selector.single_host for selector in self._settings.selectors):
            taken: set[str] = set()
            for host in self._seen.hosts:
                for key, _ in self._places[host].keys if host.priority == priority else ():
                    if key in taken:
                        count += 1
                    elif isinstance(self.subsets[key], SingleHost):
                        taken.add(key)
        self._context.stats.scope.gauge("lb_subsets_single_host_per_subset_duplicate").set(count)

    def _place(self, metadata: dict[str, Any] | None) -> _Place:
        known = metadata or {}
        return _Place(tuple(self._keys(known)), self._is_default(known))

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
