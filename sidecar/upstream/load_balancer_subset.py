"""Subset load balancing: the host among those whose metadata is as the request wants it.

Hosts are parted when the membership or somebody's health changes (:mod:`sidecar.upstream.subset_members`),
each part with a load balancer of its own, so that a request's part is one look-up of a text
(:mod:`sidecar.upstream.metadata_match`).  What is done where there is none is the settings'
(Envoy's ``SubsetLoadBalancer``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sidecar.upstream.host_set import NO_HOSTS, HostSet
from sidecar.upstream.metadata_match import MetadataMatch, criteria_of
from sidecar.upstream.subset_members import MakeBalancer, SingleHost, Subset, SubsetMembers
from sidecar.upstream.subset_settings import Fallback, SubsetSettings, selector_fallbacks

if TYPE_CHECKING:
    from sidecar.upstream.host import Host
    from sidecar.upstream.load_balancer import LbContext
    from sidecar.upstream.load_balancer_pickers import Picker

__all__ = ["SubsetLoadBalancer"]


class SubsetLoadBalancer:
    """See the module."""

    __slots__ = (
        "_any",
        "_context",
        "_default",
        "_fallback",
        "_fallbacks",
        "_has_list",
        "_is_nested",
        "_members",
        "_panic",
        "_selected",
        "_selectors",
        "_stats",
        "_subsets",
        "loads",
        "only",
    )

    def __init__(self, settings: SubsetSettings, context: LbContext, make_balancer: MakeBalancer) -> None:
        """``make_balancer(policy, context)`` makes a load balancer for the hosts of one subset."""
        self._context = context
        self._stats = context.stats
        self._selected = context.stats.lb_subsets_selected
        self._has_list = settings.has_fallback_list
        self._is_nested = settings.child.subset is not None
        #: The keys of selectors, the longest first, where a request may have more names than those.
        self._selectors: tuple[frozenset[str], ...] = ()
        if settings.allow_redundant_keys:
            self._selectors = tuple(frozenset(each.keys) for each in settings.selectors)
        self._fallbacks = selector_fallbacks(settings.selectors)
        self._members = SubsetMembers(settings, context, make_balancer)
        #: By the text of the criteria; those that have a host.
        self._subsets: dict[str, Subset | SingleHost] = self._members.subsets
        used = {settings.fallback, *(each.fallback for each in self._fallbacks.values())}
        self._any = self._members.keep_any() if Fallback.ANY in used or settings.panic_mode_any else None
        self._default = self._members.keep_default() if Fallback.DEFAULT in used else None
        self._fallback = self._of(settings.fallback)
        self._panic = self._any if settings.panic_mode_any else None
        #: Without a request there is no host: the router has to ask :meth:`choose`.
        self.only: Picker | None = None
        self.update([NO_HOSTS])

    def update(self, sets: Sequence[HostSet]) -> None:
        self.loads = self._context.loads(sets)
        self._members.update(sets)
        self._subsets = self._members.subsets

    def choose(self, stream: Any = None, attempt: int = 0) -> Host | None:
        return self.choose_by(None if stream is None else criteria_of(stream), stream, attempt)

    def choose_by(self, criteria: MetadataMatch | None, stream: Any, attempt: int) -> Host | None:
        """The host for a request with these criteria, whatever it says itself."""
        if criteria is not None:
            if self._has_list and criteria.fallbacks is not None:
                for each in criteria.fallbacks:
                    host = self._choose(each, stream, attempt)
                    if host is not None:
                        return host
                return None
            subset = self._subsets.get(criteria.key)
            if subset is not None and not self._is_nested:
                self._selected.value += 1
                return subset.choose(stream, attempt)
        return self._choose(criteria, stream, attempt)

    def _choose(self, criteria: MetadataMatch | None, stream: Any, attempt: int) -> Host | None:
        asked = criteria
        while criteria is not None:
            for names in self._selectors:
                narrowed = criteria.only(names)
                if narrowed is not None and len(narrowed.names) == len(names):
                    criteria = narrowed
                    break
            subset = self._subsets.get(criteria.key)
            if subset is not None:
                self._selected.value += 1
                return self._of_subset(subset, criteria, stream, attempt)
            selector = self._fallbacks.get(criteria.names)
            if selector is None or selector.fallback == Fallback.NOT_DEFINED:
                break
            if selector.fallback != Fallback.KEYS:
                return self._of_subset(self._of(selector.fallback), criteria, stream, attempt)
            asked = criteria = criteria.only(selector.fallback_keys)
        host = self._of_subset(self._fallback, asked, stream, attempt)
        if host is not None:
            self._stats.lb_subsets_fallback.value += 1
        elif self._fallback is not None and self._panic is not None:
            host = self._of_subset(self._panic, asked, stream, attempt)
            if host is not None:
                self._stats.lb_subsets_fallback_panic.value += 1
        return host

    def _of_subset(
        self, subset: Subset | SingleHost | None, criteria: MetadataMatch | None, stream: Any, attempt: int
    ) -> Host | None:
        if subset is None:
            return None
        if self._is_nested and isinstance(subset, Subset):
            # What is left of the criteria is all that the load balancer inside sees.
            inner: SubsetLoadBalancer = subset.balancer
            return inner.choose_by(criteria, stream, attempt)
        return subset.choose(stream, attempt)

    def _of(self, fallback: str) -> Subset | None:
        if fallback == Fallback.ANY:
            return self._any
        return self._default if fallback == Fallback.DEFAULT else None
