"""One Lua state with one script in it, and what the script's objects ask of Python.

A state belongs to one script of one process (Envoy: one per script and worker), so globals are shared by
all streams of that script.  The script is trusted as Envoy trusts it: every standard library is open, it can
read files and it can loop for ever; what it cannot do is reach Python objects.

The callbacks work on "the stream that runs now" (``self.stream`` and friends, set before each step): Lua runs
synchronously between two waits, so no object has to be wrapped and passed.  Values are bytes both ways.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import FixedBody, LocalReply
from sidecar.core.errors import LuaError
from sidecar.extensions.http import lua_api
from sidecar.extensions.http.header_edits import (
    BAD_VALUE,
    SINGLE,
    header_name,
    invalid_name,
    invalid_value,
)
from sidecar.extensions.http.lua_tls import read_tls

if TYPE_CHECKING:
    from sidecar.api.message import Message
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["BODY", "CHUNK", "ERROR", "RESPONDED", "TRAILERS", "Script", "ScriptHost"]

#: What a step of a script that did not just end gives first: (ERROR, text), (BODY, handle), …
ERROR, BODY, CHUNK, TRAILERS, RESPONDED = 1, 2, 3, 4, 5


class ScriptHost:
    """What a script may reach beyond its stream: the filter's surroundings.

    ``stats`` is the Scope of ``handle:stats()``, ``find_cluster`` is FactoryContext's.
    """

    __slots__ = ("find_cluster", "stats", "vm_count")

    def __init__(self, stats: Any, find_cluster: Callable[[str], Any], vm_count: Any) -> None:
        self.stats = stats
        self.find_cluster = find_cluster
        #: Gauge ``lua.lua_vm_count``.
        self.vm_count = vm_count


class Script:
    """A compiled script.

    ``start_request(ended)`` and ``start_response(ended)`` run the script's entry functions up to the first
    wait (None where the script has no such function).  They, and the resume functions, give None when the
    script is through, else a pair as above.  The caller sets the ``stream`` … attributes first, with
    :meth:`enter`.

    Raises: LuaError (with ``line``) from the constructor for a script that does not load.
    """

    def __init__(self, source: bytes, host: ScriptHost) -> None:
        try:
            import lupa.luajit21 as lupa  # only a configuration with Lua pays for it
        except ImportError as error:
            # Scripts use jit, bit and ffi: another Lua would run them into errors later.
            raise LuaError("this installation of lupa comes without LuaJIT 2.1") from error
        self._lua = lupa.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
        )
        self._type_of = lupa.lua_type
        self._host = host
        self._lua_error: type[Exception] = lupa.LuaError
        self._stats: dict[tuple[bytes, bytes], Any] = {}
        self.stream: Stream = None  # type: ignore[assignment]  # set by enter() before any callback runs
        self.message: Message = None  # type: ignore[assignment]  # the same
        self.headers: HeaderMap = None  # type: ignore[assignment]  # the same
        self.is_request = True
        self.clears_route = False
        self.limit_bytes = 0
        self.filter_context: dict[str, Any] | None = None
        self.metadata_names: tuple[str, ...] = ()
        #: What respond() made.
        self.reply: LocalReply | None = None
        #: A field that may not be sent, as Envoy's router would say it; the request is answered with 503.
        self.invalid = ""
        entry = self._lua.execute(lua_api.prelude(), self._lua.table_from(self._callbacks()))
        self._load(entry, source)
        self.start_request, self.start_response = entry[b"starters"]()
        self.resume_body = entry[b"resume_body"]
        self.resume_chunk = entry[b"resume_chunk"]
        self.resume_trailers = entry[b"resume_trailers"]
        self.changed = entry[b"changed"]
        self.saw_body = entry[b"saw_body"]
        host.vm_count.inc()

    def enter(self, stream: Stream, message: Message, headers: HeaderMap) -> None:
        """Make this the stream that runs now."""
        self.stream = stream
        self.message = message
        self.headers = headers

    def close(self) -> None:
        """The configuration with this script has ended."""
        self._host.vm_count.dec()

    def _load(self, entry: Any, source: bytes) -> None:
        problem = entry[b"load"](source)
        if problem is None:
            return
        text, line = problem if isinstance(problem, tuple) else (problem, None)
        error = LuaError("script load error: " + lua_api.printable(text))
        raise lua_api.with_line(error, int(line) if line else None)

    def _tls(self, name: bytes) -> Any:
        """What is known of the client's TLS; a list becomes a table."""
        value = read_tls(name, self.stream.connection.tls)
        return self._lua.table_from(value) if isinstance(value, list) else value

    def _callbacks(self) -> dict[bytes, Callable[..., Any]]:
        """The table of Python functions that the prelude gets."""
        callbacks: dict[bytes, Callable[..., Any]] = {
            b"all": lambda: self._flat(self.headers),
            b"base64": base64.b64encode,
            b"body_now": self._body_now,
            b"clear_route_cache": self._clear_route_cache,
            b"drain": self._drain,
            b"filter_state_get": lambda name: lua_api.filter_state(self.stream, name),
            b"filter_state_set": lambda *args: lua_api.set_filter_state(self.stream, *args),
            b"has_trailers": lambda: self.message.body is not None and self.message.body.trailers is not None,
            b"http_call": self._http_call,
            b"info": lambda name: lua_api.STREAM_INFO[name](self.stream),
            b"log": lua_api.log,
            b"make_body": self._make_body,
            b"map": self._map,
            b"metadata_all": lambda: lua_api.to_lua(self._lua, self.stream.dynamic_metadata or {}),
            b"metadata_get": self._metadata_get,
            b"metadata_set": self._metadata_set,
            b"reason": self._reason,
            b"respond": self._respond,
            b"set_body": self._set_body,
            b"stat": self._stat,
            b"timestamp": _timestamp,
            b"tls": self._tls,
            b"unsupported": lua_api.unsupported,
        }
        callbacks.update(self._header_callbacks())
        trailers = lua_api.trailer_callbacks(self._trailers)
        trailers[b"t_all"] = lambda: self._flat(self._trailers())
        callbacks.update(trailers)
        return callbacks

    def _header_callbacks(self) -> dict[bytes, Callable[..., Any]]:
        """``get``, ``add`` … on the head: closures, because they are the calls that scripts make most."""
        #: Names as scripts write them → lower case, for those without anything special about them.
        plain: dict[bytes, bytes] = {}
        #: The others.
        special: dict[bytes, bytes] = {}
        join = b",".join
        is_bad = BAD_VALUE.search
        script = self

        def look_at(key: bytes) -> bytes:
            """The name for ``key``; ``b"\\0"`` for one that cannot be sent."""
            name = special.get(key)
            if name is None:
                name = header_name(key)
                kept = special if name[0] in b"\0:" or name in SINGLE or name == b"host" else plain
                if len(kept) < 1024:
                    kept[key] = name
            return b":authority" if name == b"host" and script.is_request else name

        def get(key: bytes) -> bytes | None:
            headers = script.headers
            name = plain.get(key)
            if name is None:
                name = look_at(key)
                if name[0] == 58:
                    return headers.get(name)
            if name not in headers.index():
                return None
            found = [value for field, value in headers.fields if field == name]
            return found[0] if len(found) == 1 else join(found)

        def values(key: bytes, index: int) -> bytes | int | None:
            found = script.headers.get_all(plain.get(key) or look_at(key))
            if index < 0:
                return len(found)
            return found[index] if index < len(found) else None

        def add(key: bytes, value: bytes) -> bytes | None:
            name = plain.get(key)
            if name is None or is_bad(value):
                name = look_at(key)
                if name[0] == 0 or is_bad(value):
                    return script._refuse(name, key)
                script.touch()
                script.headers.append(name, value)
                if name[0] == 58:
                    script._check_status(name, b"")
                return None
            if script.clears_route:
                script.stream.clear_route_cache()
            script.headers.add(name, value)
            return None

        def replace(key: bytes, value: bytes) -> bytes | None:
            name = plain.get(key)
            if name is None or is_bad(value):
                name = look_at(key)
                if name[0] == 0 or is_bad(value):
                    return script._refuse(name, key)
            script.touch()
            headers = script.headers
            if name[0] == 58:
                headers.set(name, value)
                script._check_status(name, value)
            else:
                headers.remove(name)
                headers.add(name, value)
            return None

        def remove(key: bytes) -> None:
            name = plain.get(key) or look_at(key)
            script.touch()
            script.headers.remove(name)
            if name[0] == 58:
                script._check_status(name, b"")

        return {b"get": get, b"values": values, b"add": add, b"replace": replace, b"remove": remove}

    # -- headers ------------------------------------------------------------------------------
    def touch(self) -> None:
        """The request's head changes: have the route looked up again, unless the filter is not to."""
        if self.clears_route:
            self.stream.clear_route_cache()

    def _refuse(self, name: bytes, key: bytes) -> bytes | None:
        """A field that would break the message's framing is never added.

        In a request Envoy's router answers 503 for it; in a response Envoy sends it, which lets whoever
        controls the value inject headers: here it is a script error.
        """
        problem = invalid_name(key.lower()) if name[0] == 0 else invalid_value(name)
        if not self.is_request:
            return problem.encode()
        self.invalid = self.invalid or problem
        return None

    def _check_status(self, name: bytes, value: bytes) -> None:
        """A response whose status was removed or is no number has status 0, which the filter answers."""
        if name == b":status" and not self.is_request and len(value) != 3:
            is_number = value.isdigit() and len(value) < 3
            self.headers.status = int(value) if is_number else 0  # type: ignore[attr-defined]  # a response's head
        elif name == b":status" and not self.is_request and not value.isdigit():
            self.headers.status = 0  # type: ignore[attr-defined]  # the same

    def _flat(self, headers: HeaderMap) -> Any:
        flat: list[bytes] = []
        for field in headers:
            flat += field
        return self._lua.table_from(flat)

    def _trailers(self) -> HeaderMap:
        body = self.message.body
        assert body is not None
        assert body.trailers is not None
        return body.trailers

    def _reason(self, phrase: bytes) -> bytes | None:
        if self.is_request or self.stream.response is None:
            return None
        if b"\n" in phrase or b"\r" in phrase or b"\0" in phrase:
            return b"invalid reason phrase"
        self.stream.response.reason = phrase
        return None

    # -- bodies -------------------------------------------------------------------------------
    def _body_now(self) -> bytes | None:
        body = self.message.body
        assert body is not None
        whole = body.whole
        if whole is None or len(whole) > self.limit_bytes:
            return None
        if body.__class__ is not FixedBody:
            self.message.body = FixedBody(whole)  # it is read: an answer need not end the connection
        return whole

    def _make_body(self) -> None:
        self.message.body = FixedBody(b"")

    def _set_body(self, data: bytes) -> None:
        body = self.message.body
        self.message.body = FixedBody(data, None if body is None else body.trailers)
        self.headers.set(b"content-length", b"%d" % len(data))

    # -- the rest -----------------------------------------------------------------------------
    def _respond(self, flat: Any, count: int, body: bytes | None) -> bytes | None:
        if not self.is_request:
            return b"respond not currently supported in the response path"
        try:
            self.reply = lua_api.make_reply([flat[n] for n in range(1, count + 1)], body)
        except LuaError as error:
            return str(error).encode()
        return None

    def _map(self, which: bytes) -> Any:
        """Route metadata, virtual host metadata or the filter context as a Lua table."""
        found: dict[str, Any] | None = None
        if which == b"filter_context":
            found = self.filter_context
        else:
            route = self.stream.find_route()
            if route is not None:
                metadata = route.metadata if which == b"metadata" else route.virtual_host_metadata
                found = next((metadata[name] for name in self.metadata_names if name in metadata), None)
        return lua_api.to_lua(self._lua, found or {})

    def _metadata_get(self, name: bytes) -> Any:
        found = (self.stream.dynamic_metadata or {}).get(lua_api.printable(name))
        return None if found is None else lua_api.to_lua(self._lua, found)

    def _metadata_set(self, name: bytes, key: bytes, value: Any) -> bytes | None:
        try:
            plain = lua_api.from_lua(value, self._type_of)
        except LuaError as error:
            return str(error).encode()
        self.stream.metadata_namespace(lua_api.printable(name))[lua_api.printable(key)] = plain
        return None

    def _stat(self, kind: bytes, name: bytes, verb: bytes, number: int, unit: Any = None) -> Any:
        stat = self._stats.get((kind, name))
        if stat is None:
            try:
                stat = lua_api.make_stat(self._host.stats, kind, name, unit)
            except LuaError as error:
                return str(error).encode()
            self._stats[kind, name] = stat
        return None if verb == b"make" else lua_api.STAT_VERBS[verb](stat, number)

    def _clear_route_cache(self) -> None:
        self.stream.clear_route_cache()

    def _drain(self) -> None:
        self.stream.drain_connection = True

    def _http_call(self, cluster: bytes) -> bytes:
        if self._host.find_cluster(lua_api.printable(cluster)) is None:
            return b"http call cluster invalid. Must be configured"
        return lua_api.unsupported(b"httpCall")


def _no_attributes(target: Any, name: Any, setting: bool) -> Any:
    raise AttributeError("Python objects have no attributes for Lua")


def _timestamp(form: int) -> int | bytes:
    if form == 0:
        return time.time_ns() // 1_000_000
    return b"%d" % (time.time_ns() // (1_000_000 if form == 1 else 1_000))
