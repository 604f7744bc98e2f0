"""What the Lua filter's objects mean in terms of streams: values, names, replies, stream info, stats.

Plain functions that :class:`sidecar.extensions.http.lua_script.Script` calls.  No Lua state is held here.
Reference: Envoy's Lua filter documentation; the exact texts and corner cases were seen on Envoy 1.40.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from sidecar.api.message import LocalReply
from sidecar.core.address import is_ip
from sidecar.core.errors import LuaError
from sidecar.core.filter_state import FACTORIES, field_of, text_of
from sidecar.extensions.http.header_edits import BAD_VALUE, header_name
from sidecar.observability.attributes import filter_state as state_object

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import Field, HeaderMap

__all__ = [
    "STAT_VERBS",
    "STREAM_INFO",
    "filter_state",
    "from_lua",
    "log",
    "lua_file",
    "make_reply",
    "make_stat",
    "map_callbacks",
    "override_host",
    "printable",
    "set_filter_state",
    "to_lua",
    "weight",
    "with_line",
]

logger = logging.getLogger("sidecar.lua")

_MAX_DEPTH = 64
_MOST_INTEGER = 1 << 53
_MAX_LIST = 100_000


@cache
def lua_file(name: str) -> bytes:
    """One of the files that are the Lua half."""
    return resources.files(__package__).joinpath(name).read_bytes()


def printable(text: bytes) -> str:
    """Script bytes as text; what is not UTF-8 becomes escapes."""
    return text.decode("utf-8", "backslashreplace")


def with_line(error: LuaError, line: int | None) -> LuaError:
    """The error with the script's line number in its ``line`` attribute."""
    error.line = line  # type: ignore[attr-defined]  # read by the compile half alone
    return error


def log(level: int, message: bytes) -> None:
    """A script's own log line; 5 is Envoy's trace."""
    if logger.isEnabledFor(level):
        logger.log(level, "script log: %s", printable(message))


# -- headers ----------------------------------------------------------------------------------


#: What the connection says, not the answer.
_OWN_FIELDS = (b"content-length", b"connection", b"transfer-encoding", b"upgrade")


def make_reply(flat: list[bytes], body: bytes | None) -> LocalReply:
    """The reply of ``respond()`` from names and values in turn.

    A field that would break the framing is left out and logged: failing here would let the request pass.
    Raises: LuaError.
    """
    status = 0
    fields: list[Field] = []
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        name = header_name(key)
        if name == b":status":
            status = int(value) if value.isdigit() else 0
        elif name[0] in b"\0:" or BAD_VALUE.search(value):
            logger.error("script log: respond() header %s cannot be sent and is left out", printable(key))
        elif name not in _OWN_FIELDS:
            fields.append((name, value))
    if not 200 <= status < 600:
        raise LuaError(":status must be between 200-599")
    if body:
        fields.append((b"content-length", b"%d" % len(body)))
    return LocalReply(status, body or b"", "lua_response", headers=fields)


def map_callbacks(prefix: bytes, headers: Callable[[], HeaderMap]) -> dict[bytes, Callable[..., Any]]:
    """The same calls as on the head, for trailers and the request's head in the response."""

    def get(key: bytes) -> bytes | None:
        name = key.lower()
        return headers().get(name) if name[:1] == b":" or name == b"host" else headers().get_joined(name)

    def values(key: bytes, index: int) -> bytes | int | None:
        found = headers().get_all(key.lower())
        if index < 0:
            return len(found)
        return found[index] if index < len(found) else None

    def change(method: str) -> Callable[[bytes, bytes], bytes | None]:
        def changed(key: bytes, value: bytes) -> bytes | None:
            name = header_name(key)
            if name[0] in b"\0:":
                return b"invalid header name: " + key
            if BAD_VALUE.search(value):
                return b"invalid header value for: " + key
            getattr(headers(), method)(name, value)
            return None

        return changed

    return {
        prefix + b"get": get,
        prefix + b"values": values,
        prefix + b"add": change("add"),
        prefix + b"replace": change("set"),
        prefix + b"remove": lambda key: headers().remove(key.lower()) and None,
    }


# -- values -----------------------------------------------------------------------------------


def to_lua(lua: Any, value: Any) -> Any:
    """Plain metadata (dict, list, str, bool, number, None) as a Lua value."""
    if isinstance(value, dict):
        return lua.table_from(
            {key.encode() if isinstance(key, str) else key: to_lua(lua, item) for key, item in value.items()}
        )
    if isinstance(value, list | tuple):
        return lua.table_from([to_lua(lua, item) for item in value])
    if isinstance(value, int) and abs(value) > _MOST_INTEGER:
        return float(value)  # Lua's numbers are; lupa takes no longer ones
    return value.encode() if isinstance(value, str) else value


def weight(value: Any, depth: int = 0) -> int:
    """About how many bytes plain data takes in a Lua state."""
    if isinstance(value, str | bytes):
        return len(value) + 24
    if isinstance(value, dict):
        return 64 + sum(len(key) + 64 + weight(each, depth + 1) for key, each in value.items())
    if isinstance(value, list | tuple):
        return 64 + sum(16 + weight(each, depth + 1) for each in value)
    return 16


def from_lua(value: Any, type_of: Callable[[Any], str | None], depth: int = 0) -> Any:
    """A Lua value as plain metadata; a table with keys 1 to n is a list.

    Raises: LuaError with Envoy's text for what metadata cannot hold.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        return printable(value)
    kind = type_of(value)
    if kind != "table":
        raise LuaError(f"unexpected type '{kind or 'userdata'}' in dynamicMetadata")
    if depth >= _MAX_DEPTH:
        raise LuaError("tables in dynamicMetadata are nested too deeply")
    keys = list(value.keys())
    if keys and all(type(key) is int and key >= 1 for key in keys):
        if max(keys) > _MAX_LIST:
            raise LuaError("a list in dynamicMetadata is too long")
        return [from_lua(value[n], type_of, depth + 1) for n in range(1, max(keys) + 1)]
    plain = {}
    for key in keys:
        if not isinstance(key, bytes):
            is_number = isinstance(key, int | float) and not isinstance(key, bool)
            found = "number" if is_number else type_of(key) or "boolean"
            raise LuaError(f"unexpected type {found} in table key (only string keys are supported)")
        plain[printable(key)] = from_lua(value[key], type_of, depth + 1)
    return plain


# -- the stream -------------------------------------------------------------------------------


def _route_name(stream: Stream) -> str:
    route = stream.route
    return "" if route is None else route.name


#: Methods of streamInfo() by name; all give text.
STREAM_INFO: dict[bytes, Callable[[Stream], bytes]] = {
    b"protocol": lambda stream: stream.protocol.encode(),
    b"routeName": lambda stream: _route_name(stream).encode(),
    b"virtualClusterName": lambda stream: stream.virtual_cluster_name.encode(),
    b"downstreamLocalAddress": lambda stream: stream.connection.local_address.encode(),
    b"downstreamDirectLocalAddress": lambda stream: stream.connection.local_address.encode(),
    b"downstreamRemoteAddress": lambda stream: (
        stream.remote_address or stream.connection.remote_address
    ).encode(),
    b"downstreamDirectRemoteAddress": lambda stream: stream.connection.direct_remote_address.encode(),
    b"requestedServerName": lambda stream: stream.connection.requested_server_name.encode(),
}


def filter_state(stream: Stream, name: bytes, field: bytes | None = None) -> Any:
    """A filter state object as text, or a field of it: text or a number."""
    value = state_object(stream, printable(name))
    found = text_of(value) if field is None else field_of(value, printable(field))
    if isinstance(found, bool):
        return None  # an object's field is text or a number
    return found.encode("utf-8", "surrogateescape") if isinstance(found, str) else found


def set_filter_state(stream: Stream, name: bytes, factory: bytes, value: bytes) -> bytes | None:
    """Keep a filter state object, made from text as Envoy's factories make theirs; what is wrong with it."""
    make = FACTORIES.get(printable(factory))
    if make is None:
        return b"'" + factory + b"' does not have an object factory"
    made = make(value.decode("utf-8", "surrogateescape"))
    if made is None:
        return b"failed to create an object '" + name + b"' from value '" + value + b"'"
    if stream.filter_state is None:
        stream.filter_state = {}
    stream.filter_state[printable(name)] = made
    return None


_WITH_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::(\d{1,5}))?\Z", re.ASCII)


def override_host(stream: Stream, is_request: bool, host: bytes, strict: bool) -> bytes | None:
    """Keep the host that the stream is to go to: an address with or without a port."""
    match = _WITH_PORT.match(host.decode("latin-1"))
    if match is not None:
        bracketed, plain, port = match.groups()
        address = plain if bracketed is None else bracketed
        if is_ip(address) and (":" in address) is (bracketed is not None) and int(port or 0) <= 65535:
            if is_request:
                stream.override_host = (host.decode("latin-1"), strict)
            return None
    return b"host is not a valid IP address"


# -- stats ------------------------------------------------------------------------------------

#: Names that scripts may give, with the store's.
_UNITS = {
    "ms": "ms",
    "milliseconds": "ms",
    "microseconds": "us",
    "nanoseconds": "ns",
    "bytes": "bytes",
    "unspecified": "unspecified",
}


def make_stat(scope: Any, kind: bytes, name: bytes, unit: bytes | None) -> Any:
    """The counter, gauge or histogram.  Raises: LuaError for an unknown unit."""
    if kind == b"counter":
        return scope.counter(printable(name))
    if kind == b"gauge":
        return scope.gauge(printable(name))
    text = "unspecified" if unit is None else printable(unit)
    if text not in _UNITS:
        raise LuaError(
            f"invalid histogram unit '{text}', expected 'ms', 'milliseconds', 'microseconds', 'nanoseconds', "
            "'bytes', or 'unspecified'"
        )
    return scope.histogram(printable(name), _UNITS[text])


#: What a gauge that falls below zero goes on from, as Envoy's unsigned ones do.
_WRAP = (1 << 64) - 1


def _sub(stat: Any, number: int) -> None:
    stat.set((stat.value - number) & _WRAP)


STAT_VERBS: dict[bytes, Callable[[Any, int], Any]] = {
    b"inc": lambda stat, number: stat.inc(),
    b"dec": lambda stat, number: _sub(stat, 1),
    b"add": lambda stat, number: stat.inc(number),
    b"sub": _sub,
    b"set": lambda stat, number: stat.set(number),
    b"value": lambda stat, number: float(stat.value),
    b"recordValue": lambda stat, number: stat.record(number),
}
