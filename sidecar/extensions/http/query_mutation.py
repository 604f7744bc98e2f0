"""Changes of a query string (envoy.config.core.v3.KeyValueMutation), with what Envoy makes of all of it.

Where there are mutations Envoy writes the whole query anew: names and values without their percent-encoding,
sorted by name, each with a ``=``.  Only values that a mutation adds are encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes, unquote_to_bytes

from sidecar.core.dataclass import dataclass
from sidecar.router.header_mutation import ADD_IF_ABSENT, APPEND, OVERWRITE_IF_EXISTS

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["QueryAddition", "QueryRemoval", "mutate_query"]


@dataclass(frozen=True, slots=True)
class QueryAddition:
    """``append``."""

    name: bytes
    value: bytes | Callable[[Stream], bytes]
    action: int


@dataclass(frozen=True, slots=True)
class QueryRemoval:
    """``remove``."""

    name: bytes


def mutate_query(path: bytes, mutations: tuple[QueryAddition | QueryRemoval, ...], stream: Stream) -> bytes:
    """``path`` with its query changed."""
    plain, _, query = path.partition(b"?")
    parameters: dict[bytes, list[bytes]] = {}
    for pair in query.split(b"&") if query else ():
        name, _, value = pair.partition(b"=")
        parameters.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value))
    for mutation in mutations:
        if isinstance(mutation, QueryRemoval):
            parameters.pop(mutation.name, None)
        else:
            _add(parameters, mutation, stream)
    pairs = [name + b"=" + value for name in sorted(parameters) for value in parameters[name]]
    return plain + b"?" + b"&".join(pairs) if pairs else plain


def _add(parameters: dict[bytes, list[bytes]], addition: QueryAddition, stream: Stream) -> None:
    value = addition.value
    text = quote_from_bytes(value if isinstance(value, bytes) else value(stream), safe="").encode()
    name, action = addition.name, addition.action
    if action == APPEND or (action == ADD_IF_ABSENT and name not in parameters):
        parameters.setdefault(name, []).append(text)
    elif action != ADD_IF_ABSENT and (action != OVERWRITE_IF_EXISTS or name in parameters):
        parameters[name] = [text]
