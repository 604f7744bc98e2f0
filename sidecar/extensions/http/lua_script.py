"""One Lua state with one script in it, and what the script's objects ask of Python.

A state belongs to one script of one process (Envoy: one per script and worker), so globals are shared by
all streams of that script.  What a script may use, and how much, is lua_sandbox.lua's; it cannot reach Python
objects.  :class:`Source` is a script whose state can be made anew.

The callbacks work on "the stream that runs now" (``self.stream`` and friends, set before each step): Lua runs
synchronously between two waits, so no object has to be wrapped and passed.  Values are bytes both ways.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sidecar.api.message import FixedBody, LocalReply, ReadBody
from sidecar.core.errors import LuaError
from sidecar.extensions.http import lua_api, lua_crypto, lua_patterns
from sidecar.extensions.http.header_edits import (
    BAD_VALUE,
    SINGLE,
    header_name,
    invalid_name,
    invalid_value,
)
from sidecar.extensions.http.lua_call import LuaCall
from sidecar.extensions.http.lua_modules import module_callbacks
from sidecar.extensions.http.lua_tls import read_tls

if TYPE_CHECKING:
    from sidecar.api.message import Message
    from sidecar.api.stream import AnyStream
    from sidecar.core.headers import HeaderMap

__all__ = [
    "BODY",
    "CALL",
    "CHUNK",
    "EDITS",
    "ERROR",
    "RESPONDED",
    "TRAILERS",
    "Limits",
    "Script",
    "ScriptOptions",
    "Source",
]

#: What a step of a script that did not just end gives first: (ERROR, text), (BODY, handle), …; of one that
#: ended and edited, (EDITS, what, name, value, …), which :meth:`Script.edit` does.
EDITS, ERROR, BODY, CHUNK, TRAILERS, RESPONDED, CALL = 0, 1, 2, 3, 4, 5, 6

#: Between the memory that a script may use and that which a state may: room for what Python hands in.
_ROOM_BYTES = 64 * 1024 * 1024
#: Of that, what stays free whatever a body needs.
_SPARE_BYTES = 16 * 1024 * 1024
#: Stats of scripts that one filter remembers (the store has them all).
_MOST_STATS = 4096
#: Bytes that there is always room for.
_LONG = 1024 * 1024
#: Functions that give little, or look themselves.
_SHORT = frozenset(
    b"all get values add replace remove log info stat timestamp tls reason respond set_body make_body "
    b"drain body_now editable edit".split()
)
#: What lua_prelude.lua gathers: the numbers of its edits.
_ADD, _REPLACE, _REMOVE, _SET_BODY = 1, 2, 3, 4
#: Names of which it may know how they are edited.
_MOST_NAMES = 1024
_MOST_KEY = 256
#: The functions on the head of a message.
_ON_HEAD = frozenset((b"get", b"values", b"add", b"replace", b"remove"))
#: Names that `add` and `get` have to look at.
_SPECIAL = (b"host", b"transfer-encoding", b"connection", b"upgrade", b"proxy-connection")
#: What a script may not add, since it frames the message or is the connection's.
_REQUEST_DROPS = (b"transfer-encoding",)
_RESPONSE_DROPS = (b"transfer-encoding", b"connection", b"upgrade", b"proxy-connection")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one step of a script, from one wait to the next, may use."""

    instructions: int = 20_000_000
    #: CPU time of the process.
    seconds: float = 1.0
    #: Of the whole state.
    memory_bytes: int = 64 * 1024 * 1024
    #: In how many ways Lua's own matcher may try a pattern, before RE2 takes it.
    ways: int = 20_000_000


@dataclass(frozen=True, slots=True)
class ScriptOptions:
    """How a script is compiled and run."""

    limits: Limits = Limits()
    #: Where it stands, for texts of errors; empty for Envoy's way, by its first line.
    file: str = ""
    #: The line of the file that it begins at.
    line: int = 1
    #: Whether it may require the modules of lua_modules.lua.
    has_modules: bool = False
    #: Whether errors have a stack trace.
    has_traces: bool = False


class Source:
    """A script, whose state is made anew when it cannot go on (its memory is used up)."""

    def __init__(self, code: bytes, options: ScriptOptions | None = None) -> None:
        """Raises: LuaError (with ``line``) for a script that does not load."""
        self._code = code
        self._options = options or ScriptOptions()
        self.script = Script(code, self._options)

    def renew(self) -> None:
        """Go on with a new state; streams that wait go on in the old one.  Raises: LuaError."""
        self.script = Script(self._code, self._options)


class Script:
    """A compiled script.

    ``start_request(ended)`` and ``start_response(ended)`` run the script's entry functions up to the first
    wait (None where the script has no such function).  They, and the resume functions, give None when the
    script is through, else a pair as above.  The caller sets the ``stream`` … attributes first.

    Raises: LuaError (with ``line``) from the constructor for a script that does not load.
    """

    def __init__(self, source: bytes, options: ScriptOptions | None = None) -> None:
        try:
            import lupa.luajit21 as lupa  # only a configuration with Lua pays for it
        except ImportError as error:
            # Scripts use jit and bit: another Lua would run them into errors later.
            raise LuaError("this installation of lupa comes without LuaJIT 2.1") from error
        options = options or ScriptOptions()
        limits = options.limits
        self._most_bytes = limits.memory_bytes + _ROOM_BYTES
        self._lua = lupa.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
            max_memory=self._most_bytes,
        )
        self._type_of = lupa.lua_type
        #: What lupa raises where a step fails outside of the script (no memory, for one).
        self.lua_error: type[Exception] = lupa.LuaError
        self.stream: AnyStream = None  # set before any callback runs
        self.message: Message = None  # type: ignore[assignment]  # the same
        self.headers: HeaderMap = None  # type: ignore[assignment]  # the same
        #: The filter that runs it now: its stats, clusters and client.
        self.host: Any = None
        self.is_request = True
        self.filter_context: dict[str, Any] | None = None
        #: What respond() made.
        self.reply: LocalReply | None = None
        #: What httpCall() made.
        self.call: LuaCall | None = None
        #: Keys that the stream's script imported.
        self.keys: dict[bytes, Any] = {}
        #: Whether one of what stands around this is set, or the head holds what no codec sends.
        self.needs_look = False
        #: Fields that may not be sent, by their names as scripts write them in lower case, and what Envoy's
        #: router would say of each: while there are any, the request is answered with 503.
        self.refused: dict[bytes, str] = {}
        #: The state has no memory left.
        self.is_spent = False
        #: Whether scripts asked for the whole body of a response while it was at hand.
        self.reads_response = False
        #: Names as scripts write them → lower case, of those whose edits are gathered.
        self._names: dict[bytes, bytes] = {}
        #: ``get``, ``add`` … on the head, once one of them was asked for.
        self._on_head: dict[bytes, Callable[..., Any]] | None = None
        shared = self._lua.table()
        soft_kib = limits.memory_bytes // 1024
        entry = self._lua.execute(_compiled("lua_prelude.lua"), self._fetch, shared, soft_kib)
        allowed = self._lua.table_from(
            {
                b"instructions": limits.instructions,
                b"seconds": limits.seconds,
                b"ways": limits.ways,
                b"memory_kib": soft_kib,
            }
        )
        self._lua.execute(_compiled("lua_sandbox.lua"), shared[b"py"], allowed, shared)
        if options.has_modules:
            self._lua.execute(_compiled("lua_modules.lua"), shared[b"py"], shared[b"preload"])
        if options.has_traces:
            entry[b"trace"]()
        self._load(entry, source, options)
        self.start_request, self.start_response = entry[b"starters"]()
        #: ``answering(name, is_route)``: the script's function of that name, which takes a value and gives
        #: whether it answered, and what; None without one.
        self.answering = entry[b"answering"]
        self.resume_body = entry[b"resume_body"]
        self.resume_call = entry[b"resume_call"]
        self.resume_chunk = entry[b"resume_chunk"]
        self.resume_trailers = entry[b"resume_trailers"]
        self.changed = entry[b"changed"]
        self.saw_body = entry[b"saw_body"]

    def forget(self) -> None:
        """Leave nothing to the next stream of what the last one made."""
        self.keys, self.refused = {}, {}
        self.needs_look = self.is_spent

    def step(self, call: Callable[..., Any], *args: Any) -> Any:
        """What a resume function gives; its failure is the script's."""
        try:
            outcome = call(*args)
        except self.lua_error as error:
            return self.broke(error)
        if outcome is not None and outcome[0] == EDITS:
            self.edit(outcome)
            return None
        return outcome

    def broke(self, error: Exception) -> tuple[int, bytes]:
        """The outcome of a step that Lua itself could not finish; nobody knows how the state is."""
        self.is_spent = self.needs_look = True
        return ERROR, str(error).encode()

    def edit(self, edits: tuple[Any, ...]) -> None:
        """Do what a step gathered: (EDITS, what, name, value, …); nothing of it can fail."""
        headers = self.headers
        names = self._names
        if len(edits) == 4:  # the commonest
            what = edits[1]
            if what == _ADD:
                if self.is_request and self.host.clears_route:
                    self.stream.clear_route_cache()
                field = (names[edits[2]], edits[3])
                headers.fields.append(field)
                index = headers._index
                if index is not None:
                    index[field[0]] = field[1]
                return
            if what == _SET_BODY:
                self._set_body(edits[3])
                return
        for n in range(1, len(edits), 3):
            what = edits[n]
            if what > _REMOVE:
                if what == _SET_BODY:
                    self._set_body(edits[n + 2])
                else:
                    self._keep_body()
                continue
            name = names[edits[n + 1]]
            if self.is_request and self.host.clears_route:
                self.stream.clear_route_cache()
            if what != _ADD:
                if self.refused:
                    self.refused.pop(name, None)
                headers.remove(name)
                if what == _REMOVE:
                    continue
            headers.add(name, edits[n + 2])

    def _edit_now(self, *edits: Any) -> None:
        """Do what was gathered, because the script is about to look, or to wait."""
        self._find_route()
        self.edit((EDITS, *edits))

    def _editable(self, key: bytes) -> tuple[int | bool, bool]:
        """What may be gathered of a name's edits (2: all; 1: all but adding; False); whether for good."""
        name = header_name(key)
        if name[0] in b"\0:" or name in _SPECIAL:
            return False, len(key) < _MOST_KEY
        if key not in self._names:
            if len(self._names) == _MOST_NAMES or len(key) > _MOST_KEY:
                return False, False
            self._names[key] = name
        return 1 if name in SINGLE else 2, True

    def _find_route(self) -> None:
        """A script sees the route as it was before its edits."""
        if self.stream.resolve_route is True:
            self.stream.find_route()

    def _bounded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which fails where what it gives has no room in the state."""

        def called(*args: Any) -> Any:
            result = call(*args)
            size = 0
            if result.__class__ is bytes:
                size = len(result)
            elif result.__class__ is tuple:
                size = sum(len(each) for each in result if each.__class__ is bytes)
            if size > _LONG and not self.has_room(size):
                raise LuaError("what this gives is too long")
            return result

        return called

    def table(self, value: Any) -> Any:
        """Plain data as a Lua value.  Raises: LuaError where there is no room for it."""
        size = lua_api.weight(value)
        if size > _LONG and not self.has_room(size):
            raise LuaError("what this gives is too long")
        return lua_api.to_lua(self._lua, value)

    def has_room(self, size: int) -> bool:
        """Whether that many bytes can be handed in: where they cannot, lupa would end the process."""
        return bool(self._lua.get_memory_used() + size + _SPARE_BYTES < self._most_bytes)

    def headers_table(self, fields: list[tuple[bytes, bytes]], *, keeps_all: bool) -> Any:
        """Headers of an answer by name: the last value of each, or lists of those that have several."""
        table: dict[bytes, Any] = {}
        for name, value in fields:
            if keeps_all and name in table:
                before = table[name]
                table[name] = [*before, value] if isinstance(before, list) else [before, value]
            else:
                table[name] = value
        return lua_api.to_lua(self._lua, table)

    def _load(self, entry: Any, source: bytes, options: ScriptOptions) -> None:
        name = None
        before = options.line - 1 if options.file else 0
        if options.file:
            # Lines ahead of the script make Lua count as the file does.
            name, source = b"@" + options.file.encode(), b"\n" * before + source
        problem = entry[b"load"](source, name)
        if problem is None:
            return
        text, line = problem if isinstance(problem, tuple) else (problem, None)
        error = LuaError("script load error: " + lua_api.printable(text))
        raise lua_api.with_line(error, int(line) - before if line else None)

    def _tls(self, name: bytes) -> Any:
        """What is known of the client's TLS; a list becomes a table."""
        value = read_tls(name, self.stream.connection.tls)
        return self._lua.table_from(value) if isinstance(value, list) else value

    def _fetch(self, name: bytes) -> Callable[..., Any]:
        """The Python function of a name, when the prelude first calls it: a script uses few of them."""
        prefix = name[:2]
        found: dict[bytes, Callable[..., Any]]
        if prefix == b"t_":
            found = lua_api.map_callbacks(b"t_", self._trailers)
            found[b"t_all"] = lambda: self._flat(self._trailers())
        elif prefix == b"q_":
            found = lua_api.map_callbacks(b"q_", lambda: self.stream.request.headers)
            found[b"q_all"] = lambda: self._flat(self.stream.request.headers)
        elif name in _ON_HEAD:
            if self._on_head is None:
                self._on_head = self._header_callbacks()
            found = self._on_head
        else:
            found = self._callbacks()
            if name not in found:
                found = module_callbacks(self, self._lua)
        call = found[name]
        return call if name in _SHORT else self._bounded(call)

    def _callbacks(self) -> dict[bytes, Callable[..., Any]]:
        """The Python functions that the prelude may ask for, but those on headers and trailers."""
        return {
            b"all": lambda: self._flat(self.headers),
            b"base64": base64.b64encode,
            b"base64_decode": lua_crypto.base64_decode,
            b"body_now": self._body_now,
            b"clear_route_cache": self._clear_route_cache,
            b"cluster_use": lambda *args: self.host.cluster_use(*args),
            b"connection_metadata": self._connection_metadata,
            b"drain": self._drain,
            b"edit": self._edit_now,
            b"editable": self._editable,
            b"filter_state_get": lambda *args: lua_api.filter_state(self.stream, *args),
            b"filter_state_set": self._filter_state_set,
            b"give_up": self._give_up,
            b"has_key": lambda key: self.keys.get(lua_crypto.key_name(key)) is not None,
            b"has_trailers": lambda: self.message.body is not None and self.message.body.trailers is not None,
            b"http_call": self._http_call,
            b"import_key": self._import_key,
            b"info": self._info,
            b"log": lua_api.log,
            b"make_body": self._make_body,
            b"map": self._map,
            b"metadata_all": lambda: self.table(self.stream.dynamic_metadata or {}),
            b"metadata_get": self._metadata_get,
            b"metadata_set": self._metadata_set,
            b"override_host": lambda *args: lua_api.override_host(self.stream, self.is_request, *args),
            b"pattern_degree": lua_patterns.degree,
            b"pattern_find": _or_problem(lua_patterns.find),
            b"pattern_some": self._pattern_some,
            b"plain_find": lua_patterns.plain_find,
            b"read_source": _read_source,
            b"reason": self._reason,
            b"respond": self._respond,
            b"set_body": self._set_body,
            b"stat": self._stat,
            b"timestamp": _timestamp,
            b"tls": self._tls,
            b"typed_metadata": self._typed_metadata,
            b"verify_signature": lambda name, key, *args: lua_crypto.verify(
                name, self.keys[lua_crypto.key_name(key)], *args
            ),
        }

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
                is_special = name[0] in b"\0:" or name in SINGLE or name in _SPECIAL
                kept = special if is_special else plain
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
            if len(found) == 1 and len(found[0]) < _LONG:
                return found[0]
            whole = join(found)
            if len(whole) > _LONG and not script.has_room(len(whole)):
                raise LuaError("headers are too long")
            return whole

        def values(key: bytes, index: int) -> bytes | int | None:
            name = plain.get(key) or look_at(key)
            headers = script.headers
            found = headers.get_all(name)
            if not found and name[0] == 58 and (value := headers.get(name)) is not None:
                found = [value]
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
                script.needs_look = True
                script.headers.append(name, value)
                if name[0] == 58:
                    script._check_status(name, b"")
                return None
            script.touch()
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
            if script.refused:
                script.refused.pop(key.lower(), None)
            if name in _SPECIAL:
                script.needs_look = True
            if name[0] == 58:
                script.needs_look = True
                headers.set(name, value)
                script._check_status(name, value)
            else:
                headers.remove(name)
                headers.add(name, value)
            return None

        def remove(key: bytes) -> None:
            name = plain.get(key) or look_at(key)
            script.touch()
            if script.refused:
                script.refused.pop(key.lower(), None)
            script.headers.remove(name)
            if name[0] == 58:
                script._check_status(name, b"")

        return {b"get": get, b"values": values, b"add": add, b"replace": replace, b"remove": remove}

    # -- headers ------------------------------------------------------------------------------
    def touch(self) -> None:
        """The request's head changes: have the route looked up again, unless the filter is not to."""
        if self.is_request:
            self._find_route()
            if self.host.clears_route:
                self.stream.clear_route_cache()

    def _refuse(self, name: bytes, key: bytes) -> bytes | None:
        """A field that would break the message's framing is never added.

        In a request Envoy's router answers 503 for it; in a response Envoy sends it, which lets whoever
        controls the value inject headers: here it is a script error.
        """
        problem = invalid_name(key.lower()) if name[0] == 0 else invalid_value(name)
        if not self.is_request:
            return problem.encode()
        self.refused.setdefault(key.lower(), problem)
        self.needs_look = True
        return None

    def drop_odd(self) -> None:
        """Take out what was added to the head and is not a script's: Envoy does not send it either."""
        headers = self.headers
        drops = _REQUEST_DROPS if self.is_request or self.stream.upgrade is not None else _RESPONSE_DROPS
        for name in {name for name, _ in headers.fields if name[:1] == b":" or name in drops}:
            headers.remove(name)

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
        size = sum(map(len, flat)) + 64 * len(flat)
        if size > _LONG and not self.has_room(size):
            raise LuaError("headers are too long")
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
        if whole is None:
            return None
        size = len(whole)
        if size > self.host.limit_of(self.stream) or (size > _LONG and not self.has_room(size)):
            return None
        if not self.is_request:
            self.reads_response = True
        self._keep_body()
        return whole

    def _keep_body(self) -> None:
        """The body is read: an answer need not end the connection."""
        body = self.message.body
        if body.__class__ is not ReadBody and body is not None and body.whole is not None:
            self.message.body = ReadBody(body.whole)

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
                metadata = route.virtual_host_metadata if which == b"virtual_host" else route.metadata
                # The extension's name stands in for the filter's in metadata() alone.
                names: tuple[str, ...] = (self.host.config_name,)
                if which == b"metadata":
                    names = (*names, "envoy.filters.http.lua")
                found = next((metadata[name] for name in names if name in metadata), None)
        return self.table(found or {})

    def _info(self, name: bytes) -> bytes:
        self._find_route()
        return lua_api.STREAM_INFO[name](self.stream)

    def _metadata_get(self, name: bytes) -> Any:
        found = (self.stream.dynamic_metadata or {}).get(lua_api.printable(name))
        return None if found is None else self.table(found)

    def _filter_state_set(self, name: bytes, factory: bytes, value: bytes) -> bytes | None:
        self._find_route()
        return lua_api.set_filter_state(self.stream, name, factory, value)

    def _metadata_set(self, name: bytes, key: bytes, value: Any) -> Any:
        self._find_route()
        try:
            plain = lua_api.from_lua(value, self._type_of)
        except LuaError as error:
            return str(error).encode()
        self.stream.metadata_namespace(lua_api.printable(name))[lua_api.printable(key)] = plain
        return None, lua_api.weight(plain)

    def _stat(self, kind: bytes, name: bytes, verb: bytes, number: int, unit: Any = None) -> Any:
        stats = self.host.script_stats
        stat = stats.get((kind, name))
        if stat is None:
            try:
                stat = lua_api.make_stat(self.host.scope, kind, name, unit)
            except LuaError as error:
                return str(error).encode()
            if len(stats) < _MOST_STATS:
                stats[kind, name] = stat
        return None if verb == b"make" else lua_api.STAT_VERBS[verb](stat, int(number))

    def _clear_route_cache(self) -> None:
        self.stream.clear_route_cache()

    def _drain(self) -> None:
        self.stream.drain_connection = True

    def _give_up(self) -> None:
        self.is_spent = self.needs_look = True

    def _http_call(
        self,
        cluster: bytes,
        flat: Any,
        body: bytes | None,
        timeout_ms: float,
        asynchronous: bool,
        keeps_all: bool,
        send_xff: bool,
        sampled: Any,
    ) -> bytes | None:
        name = lua_api.printable(cluster)
        if self.host.find_cluster(name) is None:
            return b"http call cluster invalid. Must be configured"
        try:
            call = LuaCall(list(flat.values()), body, keeps_all=keeps_all)
        except LuaError as error:
            return str(error).encode()
        call.start(
            self.host.get_client, name, int(timeout_ms), send_xff=send_xff, span=self._span(cluster, sampled)
        )
        if not asynchronous:
            self.call = call
        return None

    def _span(self, cluster: bytes, sampled: Any) -> Any:
        """The call's own span in the request's trace; None where there is none."""
        span = self.stream.span
        if span is None:
            return None
        span = span.spawn(f"async {lua_api.printable(cluster)} egress")
        if sampled is not None:
            span.is_sampled = bool(sampled)
        return span

    def _import_key(self, der: bytes, key: bytes) -> bytes | None:
        name = lua_crypto.key_name(der)
        if name not in self.keys:
            self.keys[name] = lua_crypto.import_key(der)
            self.needs_look = True
        return lua_crypto.key_name(key) if self.keys[name] is not None else None

    def _connection_metadata(self, name: bytes | None = None) -> Any:
        metadata = self.stream.connection.dynamic_metadata or {}
        if name is None:
            return self.table(metadata)
        found = metadata.get(lua_api.printable(name))
        return None if found is None else self.table(found)

    def _typed_metadata(self, name: bytes, of_connection: bool) -> Any:
        holder: Any = self.stream.connection if of_connection else self.stream
        found = (getattr(holder, "typed_metadata", None) or {}).get(lua_api.printable(name))
        return None if found is None else self.table(found)

    def _pattern_some(self, text: bytes, pattern: bytes, position: int) -> Any:
        try:
            flat, width, after = lua_patterns.some(text, pattern, int(position))
        except lua_patterns.PatternError as error:
            return str(error).encode()
        return None, self._lua.table_from(flat), width, after


@cache
def _compiled(name: str) -> bytes:
    """A file of the Lua half as bytecode: loading it takes a sixth of the time that compiling it does."""
    import lupa.luajit21 as lupa

    lua = lupa.LuaRuntime(encoding=None, register_eval=False, register_builtins=False)
    dump = lua.execute(
        b"local code, name = ... return string.dump(assert(loadstring(code, name)), true)",
        *(lua_api.lua_file(name), b"=sidecar"),
    )
    assert isinstance(dump, bytes)
    return dump


def _no_attributes(target: Any, name: Any, setting: bool) -> Any:
    raise AttributeError("Python objects have no attributes for Lua")


def _timestamp(form: int) -> int | bytes:
    if form == 0:
        return time.time_ns() // 1_000_000
    return b"%d" % (time.time_ns() // (1_000_000 if form == 1 else 1_000))


def _or_problem(call: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    """The function, with the text of what it raises as its first value."""

    def called(*args: Any) -> Any:
        try:
            return call(*args)
        except LuaError as error:
            return str(error).encode()

    return called


def _read_source(path: bytes) -> Any:
    try:
        with open(path, "rb") as file:
            return file.read(4 * 1024 * 1024 + 1)
    except (OSError, ValueError) as error:
        return None, f"cannot open {lua_api.printable(path)}: {error}".encode()
