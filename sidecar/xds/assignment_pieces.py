"""What is known of the assignment that a cluster had last, by the bytes of its endpoints.

Of a hundred thousand endpoints mostly one is new: only that one is checked and compiled.  The others are the
same objects as before, which the cluster's hosts are not compared with again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from sidecar.config.messages import message_class
from sidecar.config.pieces import split

if TYPE_CHECKING:
    from sidecar.config.errors import Path
    from sidecar.upstream.discovery import Endpoint
    from sidecar.xds.eds import Assignment

__all__ = ["AssignmentPieces"]

_ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
#: ``ClusterLoadAssignment.endpoints`` and ``LocalityLbEndpoints.lb_endpoints``.
_LOCALITIES = _ENDPOINTS = 2
#: Of an assignment that is no longer, all bytes are kept: one that comes again as it was is not even cut.
_MOST_KEPT = 1 << 16


class AssignmentPieces:
    """See the module (:class:`sidecar.xds.subscription.Incremental`)."""

    def __init__(self) -> None:
        self._last: Assignment | None = None
        #: All of it, where that is not much.
        self._data = b""
        #: All of it but the localities.
        self._rest = b""
        #: By all of a locality but its endpoints: the endpoints.
        self._known: dict[bytes, dict[bytes, Endpoint]] = {}

    def again(
        self, packed: Any, path: Path, judge: Callable[[Any], Assignment | None]
    ) -> tuple[str, Assignment] | None:
        """The assignment in an Any that is much like the last."""
        last = self._last
        if last is None:
            return None
        data = packed.value
        if data and data == self._data:
            return last.cluster_name, last
        try:
            rest, localities = split(data, _LOCALITIES)
            parts = [split(each, _ENDPOINTS) for each in localities]
        except ValueError:
            return None
        if rest != self._rest:
            return None
        new: list[tuple[bytes, list[bytes]]] = []
        for head, pieces in parts:
            known = self._known.get(head, {})
            new.append((head, [piece for piece in pieces if piece not in known]))
        is_new = any(pieces for _, pieces in new) or [head for head, _ in parts] != list(self._known)
        priorities = last.priorities
        if is_new:
            found = self._learn(new, judge)
            if found is None:
                return None
            priorities = found.priorities
        endpoints = tuple(
            chain.from_iterable(map(self._known[head].__getitem__, each) for head, each in parts)
        )
        self._last = replace(last, endpoints=endpoints, priorities=priorities)
        self._data = data if len(data) < _MOST_KEPT else b""
        self._forget(parts)
        return last.cluster_name, self._last

    def remember(self, packed: Any, message: Any, value: Assignment) -> None:
        """This was checked, and compiled to ``value``."""
        self._last, self._data = None, b""
        try:
            rest, localities = split(packed.value, _LOCALITIES)
            parts = [split(each, _ENDPOINTS) for each in localities]
        except ValueError:
            return
        if not _are_apart(message):
            return
        self._rest, self._last = rest, value
        endpoints = iter(value.endpoints)
        self._known = {head: dict(zip(pieces, endpoints, strict=False)) for head, pieces in parts}
        if sum(len(pieces) for _, pieces in parts) != len(value.endpoints):
            self._last = None

    def _learn(
        self, new: list[tuple[bytes, list[bytes]]], judge: Callable[[Any], Assignment | None]
    ) -> Assignment | None:
        """Have an assignment of what is new looked at, in all localities; None where it is not right."""
        cls = message_class(_ASSIGNMENT)
        assert cls is not None  # one was decoded before
        message: Any = cls()
        message.MergeFromString(self._rest)
        for head, pieces in new:
            locality = message.endpoints.add()
            locality.MergeFromString(head)
            for piece in pieces:
                locality.lb_endpoints.add().MergeFromString(piece)
        # Two entries for one locality weigh each other's endpoints.
        found = judge(message) if _are_apart(message) else None
        if found is None:
            return None
        endpoints = iter(found.endpoints)
        for head, pieces in new:
            self._known.setdefault(head, {}).update(zip(pieces, endpoints, strict=False))
        return found

    def _forget(self, parts: list[tuple[bytes, list[bytes]]]) -> None:
        """Know only what is there now."""
        known = self._known
        if len(known) != len(parts) or any(len(known[head]) != len(pieces) for head, pieces in parts):
            self._known = {
                head: dict(zip(pieces, map(known[head].__getitem__, pieces), strict=True))
                for head, pieces in parts
            }


def _are_apart(message: Any) -> bool:
    """Whether no two entries of an assignment are for one locality at one priority."""
    places = {
        (each.priority, each.locality.region, each.locality.zone, each.locality.sub_zone)
        for each in message.endpoints
    }
    return len(places) == len(message.endpoints)
