"""Foreign functions for expressions in CEL: ``expr_create``, ``expr_evaluate``, ``expr_delete``.

An expression belongs to the root context that created it and is known by its number there.  It is evaluated
for the stream that the guest is called for, over what is told of it in this phase, the plugin's own names and
what guests have set; its value has the form of a property.  Envoy has more of the language on than in its
configurations: ``string()``, ``+`` of texts, loops.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sidecar.api.plain_connection import PlainConnection, make_stream
from sidecar.core.cel_options import CelOptions
from sidecar.core.headers import RequestHeaders
from sidecar.extensions.http.wasm_properties import NO_MAPS, find_value
from sidecar.extensions.http.wasm_values import serialize
from wasm_abi import Status

if TYPE_CHECKING:
    from sidecar.observability.cel import Cel
    from wasm_abi import Vm

__all__ = ["EXPRESSION_FUNCTIONS", "Expressions"]

_OPTIONS = CelOptions(string_conversion=True, string_concat=True, for_guests=True)
_NAME = re.compile(r"[A-Za-z_]\w*")
_TOKEN_BYTES = 4
_NO_HEADERS = RequestHeaders()


class Expressions:
    """Those of one plugin, by number, each with the names in it."""

    __slots__ = ("_next", "by_token")

    def __init__(self) -> None:
        self.by_token: dict[int, tuple[Cel, frozenset[str]]] = {}
        self._next = 0

    def skip(self) -> None:
        """One that could be read and not be compiled has had a number, as in Envoy."""
        self._next += 1

    def add(self, cel: Cel, text: str) -> int:
        """Its number."""
        token = self._next
        self._next += 1
        self.by_token[token] = (cel, frozenset(_NAME.findall(text)))
        return token


class _Message:
    """A request or a response that shows the headers that a guest may read now."""

    __slots__ = ("body", "headers")

    def __init__(self, headers: Any) -> None:
        self.headers = headers
        self.body = None


class _Phase:
    """A stream as it is told of in this phase."""

    def __init__(self, stream: Any, maps: Any) -> None:
        self._stream = stream
        self.request = _Message(maps[0] if maps[0] is not None else _NO_HEADERS)
        self.response = None if maps[2] is None else _Message(maps[2])
        self.response_headers = maps[2]
        self.response_trailers = maps[3]
        answer = stream.response
        self.response_code = stream.response_code or (0 if answer is None else answer.headers.status)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _expressions(vm: Vm) -> Expressions | None:
    plugin = vm.called_context.plugin
    if plugin is None:
        return None
    side: Any = plugin.host
    found: Expressions | None = side.expressions
    if found is None:
        found = side.expressions = Expressions()
    return found


def _create(arguments: bytes, vm: Vm) -> bytes | Status:
    from sidecar.observability.cel import CelFault, compile_cel  # 16 MB, for who has an expression

    known = _expressions(vm)
    text = arguments.decode("utf-8", "replace")
    if known is None:
        return Status.BAD_ARGUMENT
    try:
        cel = compile_cel(text, _OPTIONS)
    except CelFault as error:
        if not str(error).startswith("Not able to parse"):
            known.skip()
        return Status.BAD_ARGUMENT
    return known.add(cel, text).to_bytes(_TOKEN_BYTES, "little")


def _evaluate(arguments: bytes, vm: Vm) -> bytes | Status:
    from sidecar.observability.cel import FAILED

    known = _expressions(vm)
    if len(arguments) != _TOKEN_BYTES:
        return Status.BAD_ARGUMENT
    found = None if known is None else known.by_token.get(int.from_bytes(arguments, "little"))
    if found is None:
        return Status.NOT_FOUND
    cel, names = found
    context = vm.called_context
    plugin: Any = context.plugin
    side: Any = context.stream
    stream = None if side is None else side.shown_stream
    maps = getattr(side, "maps", NO_MAPS)
    more = {}
    for name in names:
        value = find_value(stream, maps, plugin.host.facts, (name.encode(),))
        if isinstance(value, str | bytes | int):
            more[name] = value
    shown: Any = make_stream(PlainConnection(0, "", "")) if stream is None else _Phase(stream, maps)
    value = cel.value(shown, more)
    if value is FAILED:
        return Status.INTERNAL_FAILURE
    if hasattr(value, "SerializeToString"):
        data: bytes = value.SerializeToString()
        return data
    given = serialize(value)
    return Status.SERIALIZATION_FAILURE if given is None else given


def _delete(arguments: bytes, vm: Vm) -> bytes | Status:
    known = _expressions(vm)
    if len(arguments) != _TOKEN_BYTES:
        return Status.BAD_ARGUMENT
    if known is not None:
        known.by_token.pop(int.from_bytes(arguments, "little"), None)
    return b""


EXPRESSION_FUNCTIONS = {b"expr_create": _create, b"expr_evaluate": _evaluate, b"expr_delete": _delete}
