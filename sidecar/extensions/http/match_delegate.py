"""Filters behind a match tree (``ExtensionWithMatcher``), and the filter whose actions are other filters.

A tree is asked when the request's head is here.  One that wants to know the response's head is asked again
when that comes; what it finds then concerns the response alone.  Around any filter the tree may say to skip
it; around ``envoy.filters.http.composite``, or in it, it says which filters stand in this place of the chain
(``source/extensions/filters/http/match_delegate/config.cc``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.core.dataclass import dataclass
from sidecar.http.varying_chain import FilterHooks, VaryingChain, hooks_of

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply
    from sidecar.api.stream import Stream
    from sidecar.core.matching import Tree

__all__ = ["MOST_FILTERS", "SKIP", "Execute", "MatchDelegate", "NotYetKnown", "RouteTree"]

#: As many filters may stand in one action.
MOST_FILTERS = 16
#: The action that passes a filter over.
SKIP = object()


class NotYetKnown(Exception):
    """An input that there is nothing for yet."""


@dataclass(eq=False)
class Execute:
    """``ExecuteFilterAction``: the filters, and how often they are meant.

    ``chain`` names those of ``named_filter_chains`` that are meant instead, which a route does not know.
    """

    filters: tuple[HttpFilter, ...]
    is_meant: Callable[[], bool]
    chain: str = ""
    hooks: FilterHooks = field(init=False)

    def __post_init__(self) -> None:
        self.hooks = hooks_of(self.filters)

    def place(self, slot: int) -> None:
        """Let the filters keep what they keep from this slot on."""
        for number, each in enumerate(self.filters):
            each.slot = slot + number


@dataclass(frozen=True, slots=True)
class RouteTree:
    """``ExtensionWithMatcherPerRoute`` or ``CompositePerRoute``; ``tree`` is None where it says nothing."""

    tree: Tree[Any] | None
    of_composite: bool = False


_NOTHING = FilterHooks((), (), ())
#: Kept of a stream whose tree has to be asked again.
_ASK_AGAIN = FilterHooks((), (), ())


_NO_CHAINS: Mapping[str, Execute] = {}


class MatchDelegate(HttpFilter):
    """A place in the chain; ``inner`` is None for the composite filter."""

    uses_trio = False
    extra_slots = MOST_FILTERS

    def __init__(
        self,
        tree: Tree[Any] | None,
        inner: HttpFilter | None,
        stats: Any,
        chains: Mapping[str, Execute] = _NO_CHAINS,
        *,
        is_own: bool = False,
    ) -> None:
        """``stats``: the scope ``http.<prefix>.composite.``, of the composite filter.

        ``is_own``: the tree is the composite filter's, and counts whatever stands around it says.
        """
        self._tree = tree
        self._chains = chains
        #: Whose trees of a route replace it, as ``RouteTree.of_composite`` tells them apart.
        self._replaced_by = (False,) if inner is not None else (True,) if is_own else (False, True)
        self._inner = None if inner is None else Execute((inner,), _always)
        self._chain = _Chosen(self)
        if inner is None:
            self._success = stats.counter("filter_delegation_success")
            stats.counter("filter_delegation_error")

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        tree = self._tree
        route = stream.find_route()
        if route is not None:
            own: RouteTree | None = route.per_filter_config.get(self.config_name)
            if own is not None and own.of_composite in self._replaced_by:
                tree = own.tree
        if tree is None:
            hooks = _NOTHING
        else:
            try:
                hooks = self._hooks(tree.match((stream.request.headers, stream)))
            except NotYetKnown:
                hooks = _ASK_AGAIN if self._inner is None else self._inner_hooks()
                stream.set_slot(self.slot, (tree, hooks))
                return self._chain.decode(stream)
        stream.set_slot(self.slot, (None, hooks))
        return self._chain.decode(stream)

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        kept = stream.get_slot(self.slot)
        if kept is None:
            return None  # answered before it was this filter's turn
        tree, _ = kept
        if tree is not None:
            stream.set_slot(self.slot, (None, self._hooks(tree.match((stream.request.headers, stream)))))
        return self._chain.encode(stream)

    def on_complete(self, stream: Stream) -> None:
        if stream.get_slot(self.slot) is not None:
            self._chain.complete(stream)

    def chosen(self, stream: Stream) -> FilterHooks:
        """The hooks that stand in this place for a stream."""
        hooks: FilterHooks = stream.get_slot(self.slot)[1]
        return hooks

    def _hooks(self, action: Any) -> FilterHooks:
        if self._inner is not None:
            return _NOTHING if action is SKIP else self._inner_hooks()
        if action is None or action is SKIP or not action.is_meant():
            return _NOTHING
        if action.chain:
            action = self._chains.get(action.chain)
            if action is None:
                return _NOTHING
        self._success.value += 1
        action.place(self.first_extra_slot)
        found: FilterHooks = action.hooks
        return found

    def _inner_hooks(self) -> FilterHooks:
        assert self._inner is not None
        self._inner.place(self.first_extra_slot)
        return self._inner.hooks


class _Chosen(VaryingChain):
    """Runs what was chosen for a stream."""

    def __init__(self, owner: MatchDelegate) -> None:
        super().__init__((), _no_route, lambda stream, reply: stream.hcm.set_local_reply(stream, reply))
        self._owner = owner

    def _of(self, stream: Stream) -> FilterHooks:
        return self._owner.chosen(stream)


def _no_route(stream: Stream) -> None:
    """It was looked up."""


def _always() -> bool:
    return True
