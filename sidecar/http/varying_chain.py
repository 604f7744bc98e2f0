"""Filters that are on for some routes and off for others.

``HttpFilter.disabled`` turns a filter off, an entry in ``typed_per_filter_config`` turns it on for a route,
and ``FilterConfig.disabled`` off.  Envoy builds the chain of a stream when its route has been found, so
which filters see a stream does not change with the route later.  Here a chain with such filters has one hook
for each direction, which runs the hooks of what is on; a chain where nothing varies has none of this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.net.reactor import run_adopted

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["FilterHooks", "VaryingChain", "hooks_of"]

#: Hooks in the order in which they run, each with whether what it returns uses trio.
Hooks = tuple[tuple[Callable[["Stream"], Any], bool], ...]


class FilterHooks:
    """The hooks of some filters, in the order in which they run."""

    __slots__ = ("complete", "decode", "encode", "finds_route")

    def __init__(
        self,
        decode: Hooks,
        encode: Hooks,
        complete: tuple[Callable[[Stream], None], ...],
        *,
        finds_route: bool = False,
    ) -> None:
        #: Whether the filters have the route looked up themselves.
        self.finds_route = finds_route
        self.decode = decode
        self.encode = encode
        self.complete = complete


def hooks_of(filters: Iterable[HttpFilter]) -> FilterHooks:
    """The hooks of ``filters`` that are overridden."""
    decode: list[tuple[Callable[[Stream], Any], bool]] = []
    encode: list[tuple[Callable[[Stream], Any], bool]] = []
    complete: list[Callable[[Stream], None]] = []
    finds_route = True
    for each in filters:
        active = _active_hooks(each)
        if "decode_headers" in active:
            decode.append((each.decode_headers, each.uses_trio))
            finds_route = finds_route and getattr(each, "finds_route", False)
        if "encode_headers" in active:
            encode.insert(0, (each.encode_headers, each.uses_trio))
        if "on_complete" in active:
            complete.append(each.on_complete)
    return FilterHooks(tuple(decode), tuple(encode), tuple(complete), finds_route=finds_route)


class VaryingChain:
    """The filters of a chain, and which of them are on for a stream."""

    def __init__(
        self,
        filters: tuple[HttpFilter, ...],
        resolve_route: Callable[[Stream], None],
        set_local_reply: Callable[[Stream, LocalReply], None],
    ) -> None:
        self._filters = filters
        self._resolve_route = resolve_route
        self._set_local_reply = set_local_reply
        #: By the filters that are on: as many as the configuration tells apart.
        self._hooks: dict[tuple[HttpFilter, ...], FilterHooks] = {}

    def hooks(self) -> FilterHooks:
        """The hooks that stand for the whole chain."""
        return FilterHooks(((self.decode, False),), ((self.encode, False),), (self.complete,))

    def decode(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        """Find the route, decide what is on, and run it."""
        self._resolve_route(stream)
        hooks = self._of(stream).decode
        for number, (hook, uses_trio) in enumerate(hooks):
            reply: Any = hook(stream)
            if reply is not None:
                if reply.__class__ is LocalReply:
                    return reply
                return self._decode_rest(stream, reply, uses_trio, hooks[number + 1 :])
        return None

    async def _decode_rest(
        self, stream: Stream, waiting: Awaitable[Any], uses_trio: bool, rest: Hooks
    ) -> LocalReply | None:
        reply = await (run_adopted(waiting) if uses_trio else waiting)
        for hook, uses_trio in rest:
            if reply is not None:
                break
            reply = hook(stream)
            if reply is not None and reply.__class__ is not LocalReply:
                reply = await (run_adopted(reply) if uses_trio else reply)
        return reply  # type: ignore[no-any-return]

    def encode(self, stream: Stream) -> Awaitable[None] | None:
        """Run what is on; a local reply takes the response's place and passes the rest."""
        hooks = self._of(stream).encode
        for number, (hook, uses_trio) in enumerate(hooks):
            reply: Any = hook(stream)
            if reply is not None:
                if reply.__class__ is not LocalReply:
                    return self._encode_rest(stream, reply, uses_trio, hooks[number + 1 :])
                self._set_local_reply(stream, reply)
        return None

    async def _encode_rest(
        self, stream: Stream, waiting: Awaitable[Any], uses_trio: bool, rest: Hooks
    ) -> None:
        reply = await (run_adopted(waiting) if uses_trio else waiting)
        if reply is not None:
            self._set_local_reply(stream, reply)
        for hook, uses_trio in rest:
            reply = hook(stream)
            if reply is not None and reply.__class__ is not LocalReply:
                reply = await (run_adopted(reply) if uses_trio else reply)
            if reply is not None:
                self._set_local_reply(stream, reply)

    def complete(self, stream: Stream) -> None:
        """Tell those that were on."""
        for hook in self._of(stream).complete:
            hook(stream)

    def _of(self, stream: Stream) -> FilterHooks:
        """What is on for a stream: decided once, by the route that it has then."""
        hooks: FilterHooks | None = stream.filter_hooks
        if hooks is None:
            route = stream.route
            switches = {} if route is None else route.filter_switches
            filters = tuple(
                each for each in self._filters if not switches.get(each.config_name, each.is_disabled)
            )
            hooks = self._hooks.get(filters)
            if hooks is None:
                hooks = self._hooks[filters] = hooks_of(filters)
            stream.filter_hooks = hooks
        return hooks


def _active_hooks(each: HttpFilter) -> frozenset[str]:
    own = getattr(each, "active_hooks", None)
    if own is not None:
        return frozenset(own())
    kind = type(each)
    return frozenset(
        name
        for name in ("decode_headers", "encode_headers", "on_complete")
        if getattr(kind, name) is not getattr(HttpFilter, name)
    )
