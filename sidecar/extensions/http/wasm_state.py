"""Properties that guests set (``proxy_set_property``): they are kept in the filter state, as ``wasm.NAME``.

How one is kept a guest may declare before it sets it (foreign function ``declare_property``): whether it can
be set once alone, how long it is kept, and of which message it is.  One that was not declared can be set
again, and ends with its stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.message_values import message_value
from sidecar.config.messages import unpack
from sidecar.core.dataclass import dataclass
from wasm_abi import Status

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from wasm_abi.context import Context

__all__ = ["Declaration", "Declared", "KeptBytes", "declare", "keep_state", "set_property"]

_PREFIX = "wasm."


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a guest said of a property."""

    is_readonly: bool = False
    #: Whether it is kept for all streams of the connection.
    is_of_connection: bool = False
    #: Of which message its values are, where they are to be looked into.
    type_url: str = ""


#: By name.
Declared = dict[bytes, Declaration]
_PLAIN = Declaration()


class KeptBytes(bytes):
    """A value that was declared before it was set."""

    #: Whether it stays as it was set.
    is_readonly = False
    type_url = ""

    def message(self) -> Any:
        """What it holds, to be looked into; None where it is no message of a type that is known."""
        found = unpack(self)
        return None if found is None else message_value(found)

    @property
    def value(self) -> bytes:
        """With ``type_url`` what a ``google.protobuf.Any`` has."""
        return bytes(self)


def _keep(value: bytes, how: Declaration, old: Any) -> bytes:
    """What is kept of a value; the first one says what it is."""
    if old is not None:
        type_url, is_readonly = getattr(old, "type_url", ""), False
    else:
        type_url, is_readonly = how.type_url, how.is_readonly
    if not (type_url or is_readonly):
        return value
    kept = KeptBytes(value)
    kept.type_url, kept.is_readonly = type_url, is_readonly
    return kept


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
    if isinstance(old, KeptBytes) and old.is_readonly:
        return Status.BAD_ARGUMENT
    state[key] = _keep(value, how, old)
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
