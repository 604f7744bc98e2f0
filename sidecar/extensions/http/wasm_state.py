"""Properties that guests set (``proxy_set_property``): they are kept in the filter state, as ``wasm.NAME``.

How one is kept a guest may declare before it sets it (foreign function ``declare_property``): whether it can
be set once alone, and how long it is kept.  One that was not declared can be set again, and ends with its
stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wasm_abi import Status

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from wasm_abi.context import Context

__all__ = ["Declaration", "Declared", "declare", "keep_state", "set_property"]

_PREFIX = "wasm."


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a guest said of a property."""

    is_readonly: bool = False
    #: Whether it is kept for all streams of the connection.
    is_of_connection: bool = False


#: By name.
Declared = dict[bytes, Declaration]
_PLAIN = Declaration()


class _ReadOnly(bytes):
    """A value that stays as it was set."""

    __slots__ = ()


def set_property(stream: Stream, declared: Declared, path: tuple[bytes, ...], value: bytes) -> Status:
    """Keep a value: OK, or BAD_ARGUMENT where one is kept that cannot be set again."""
    name = b"\0".join(path)
    key = _PREFIX + name.decode("utf-8", "replace")
    how = declared.get(name, _PLAIN)
    holder = stream.connection if how.is_of_connection else stream
    for each in (stream, stream.connection):
        if each.filter_state is not None and key in each.filter_state:
            holder = each  # where it is it stays
            break
    state = holder.filter_state
    if state is None:
        state = holder.filter_state = {}
    old = state.get(key)
    if isinstance(old, _ReadOnly):
        return Status.BAD_ARGUMENT
    state[key] = _ReadOnly(value) if how.is_readonly and old is None else value
    return Status.OK


def declare(context: Context, name: bytes, how: Declaration) -> bool:
    """Say how a property is kept; False where that was said before."""
    plugin = context.plugin
    if plugin is None:
        return True
    side: Any = plugin.host
    declared = side.declared
    if context is not plugin.root:
        # Of no effect, as in Envoy: properties are kept as the root context has declared.
        by_stream = side.declared_by_streams
        for number in [number for number in by_stream if number not in plugin.vm.contexts]:
            del by_stream[number]
        declared = by_stream.setdefault(context.id, {})
    if name in declared:
        return False
    declared[name] = how
    return True


def keep_state(context: Context, name: str, value: Any, *, of_connection: bool) -> Status:
    """Keep an object of Envoy's in the filter state; NOT_FOUND where there is no stream."""
    side: Any = context.stream
    stream = None if side is None else side.stateful_stream
    if stream is None:
        return Status.NOT_FOUND
    holder = stream.connection if of_connection else stream
    if holder.filter_state is None:
        holder.filter_state = {}
    holder.filter_state[name] = value
    return Status.OK
