"""What was seen of a cluster's hosts at one time, and what is new since: lists that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sidecar.upstream.host_set import HostSet, common_start

if TYPE_CHECKING:
    from sidecar.upstream.host import Host

__all__ = ["Snapshot"]

_flags_of = attrgetter("health_flags")
_priority_of = attrgetter("priority")
_metadata_of = attrgetter("metadata")
_weight_of = attrgetter("weight")
_weights_of = attrgetter("weight", "locality_weight")


class Snapshot:
    """What was seen of the hosts at one time."""

    __slots__ = ("flags", "hosts", "metadata", "priorities", "weights")

    def __init__(self, sets: Sequence[HostSet], *, by_locality: bool) -> None:
        hosts = [host for each in sets for host in each.hosts]
        self.hosts = hosts
        self.flags = list(map(_flags_of, hosts))
        #: With those of localities, where they count.
        self.weights: list[Any] = list(map(_weights_of if by_locality else _weight_of, hosts))
        self.priorities = list(map(_priority_of, hosts))
        self.metadata = list(map(_metadata_of, hosts))

    def has_members_of(self, other: Snapshot) -> bool:
        """Whether the hosts are the same, each in its priority, with the same metadata."""
        return (
            self.hosts == other.hosts
            and self.priorities == other.priorities
            and self.metadata == other.metadata
        )

    def changed_since(self, other: Snapshot) -> list[Host]:
        """The hosts whose health or weight is not the same; both have the same members."""
        if self.flags == other.flags and self.weights == other.weights:
            return []
        states = zip(self.hosts, self.flags, other.flags, self.weights, other.weights, strict=True)
        return [host for host, flags, before, weight, old in states if flags != before or weight != old]

    def news_since(self, other: Snapshot) -> tuple[list[Host], list[Host], list[Host]]:
        """Hosts that came, or whose metadata may be new; that left; of which something else is new.

        Fast where most of the list is as it was.
        """
        hosts, before = self.hosts, other.hosts
        start = common_start(hosts, before)
        end = common_start(hosts[start:][::-1], before[start:][::-1])
        come: list[Host] = []
        stayed = {host: number for number, host in enumerate(before[start : len(before) - end], start)}
        #: Where hosts that stayed are now and were before.
        pairs: list[tuple[int, int]] = []
        for number, host in enumerate(hosts[start : len(hosts) - end], start):
            was = stayed.pop(host, None)
            if was is None:
                come.append(host)
            else:
                pairs.append((number, was))
        for first, was, count in ((0, 0, start), (len(hosts) - end, len(before) - end, end)):
            if not self._is_like(other, slice(first, first + count), slice(was, was + count)):
                pairs += [(first + number, was + number) for number in range(count)]
        changed: list[Host] = []
        for number, was in pairs:
            if self.metadata[number] is not other.metadata[was]:
                come.append(hosts[number])
            elif not self._is_like(other, slice(number, number + 1), slice(was, was + 1)):
                changed.append(hosts[number])
        return come, list(stayed), changed

    def _is_like(self, other: Snapshot, mine: slice, theirs: slice) -> bool:
        return (
            self.flags[mine] == other.flags[theirs]
            and self.weights[mine] == other.weights[theirs]
            and self.priorities[mine] == other.priorities[theirs]
            and self.metadata[mine] == other.metadata[theirs]
        )
