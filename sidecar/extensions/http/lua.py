"""The Lua HTTP filter (``envoy.filters.http.lua``): runs scripts on requests and responses.

A script that does not wait runs as a plain function call inside the hook.  ``body()`` of a message whose
body is not at hand, and ``httpCall()``, make the hook awaitable; ``bodyChunks()`` and ``trailers()`` let the
headers go on and continue the script from a stage on the body.  A script's error is logged and counted, and
the message goes on as the script left it: Envoy fails open here, so do we.

Compiling configuration is :mod:`sidecar.extensions.http.lua_config`'s, the script's side of things
:mod:`sidecar.extensions.http.lua_script`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply, ReadBody
from sidecar.api.stream import Flag
from sidecar.core.errors import StreamAborted
from sidecar.extensions.http.lua_api import printable
from sidecar.extensions.http.lua_script import BODY, CALL, CHUNK, EDITS, ERROR, TRAILERS, Script, Source

if TYPE_CHECKING:
    from sidecar.api.message import Message
    from sidecar.api.stream import AnyStream
    from sidecar.core.headers import HeaderMap
    from sidecar.extensions.http.lua_call import LuaCall

__all__ = ["LuaFilter", "LuaRoute", "LuaStats", "PerRoute"]

logger = logging.getLogger("sidecar.lua")

#: ``per_connection_buffer_limit_bytes`` where the connection manager does not say: Envoy's default.
DEFAULT_BUFFER_LIMIT_BYTES = 1024 * 1024
#: A body up to this goes to a script of which it is known that it will ask for it.
_MOST_GIVEN = 16 * 1024

_REQUEST_TOO_LARGE = LocalReply(413, b"Payload Too Large", "request_payload_too_large")
_SCRIPT_FAILED = LocalReply(500, b"script error", "lua_script_error")
_RESPONSE_TOO_LARGE = LocalReply(500, b"Internal Server Error", "response_payload_too_large")


@dataclass(frozen=True, slots=True)
class LuaRoute:
    """A compiled ``LuaPerRoute``."""

    disabled: bool = False
    #: Key in ``source_codes``; an unknown one means no script.
    name: str = ""
    source: Source | None = None
    filter_context: dict[str, Any] | None = None


@dataclass(slots=True)
class PerRoute:
    """Whether any route was ever compiled with a ``LuaPerRoute``: if not, nobody looks the route up."""

    seen: bool = False


@dataclass(frozen=True, slots=True)
class LuaStats:
    """Counters of one filter, ``<http prefix>lua.[stat_prefix.]…``."""

    errors: Any
    executions: Any


@dataclass(slots=True)
class _Run:
    """A script that waits: what it takes to go on."""

    script: Script
    stream: AnyStream
    message: Message
    headers: HeaderMap
    is_request: bool
    filter_context: dict[str, Any] | None
    #: Keys it imported.
    keys: dict[bytes, Any]
    #: Fields of the request that cannot be sent.
    refused: dict[bytes, str]
    #: The Lua handle, and what it waits for (BODY, CHUNK, TRAILERS, CALL; 0 when the script is through).
    handle: Any
    waits_for: int = 0
    #: What it asked a cluster for.
    call: LuaCall | None = None


class LuaFilter(HttpFilter):
    """Runs the route's script, or the default one, on each half of a stream."""

    uses_trio = False
    finds_route = True

    def __init__(
        self,
        default: Source | None,
        named: dict[str, Source],
        stats: LuaStats,
        *,
        scope: Any,
        find_cluster: Callable[[str], Any],
        get_client: Callable[[], Any] | None = None,
        clear_route_cache: bool = True,
        per_route: PerRoute | None = None,
        config_name: str = "envoy.filters.http.lua",
    ) -> None:
        self.config_name = config_name
        self._default = default
        self._named = named
        self._errors = stats.errors
        self._executions = stats.executions
        self.clears_route = clear_route_cache
        self._per_route = PerRoute() if per_route is None else per_route
        # What scripts reach through the filter that runs them.
        self.scope = scope
        self.find_cluster = find_cluster
        self.get_client = get_client
        self.script_stats: dict[tuple[bytes, bytes], Any] = {}
        # What our own message adds.
        #: Whether a script's error ends the request, where Envoy lets it pass.
        self.fails_closed = False
        self.dictionaries: dict[str, Any] = {}
        self.jwt_providers: dict[str, Any] = {}

    def decode_headers(self, stream: AnyStream) -> LocalReply | Awaitable[LocalReply | None] | None:
        source, context = self._default, None
        if self._per_route.seen:
            source, context = self._of_route(stream)
        elif self.counts_route or not self.clears_route:
            stream.find_route()  # an earlier filter's edits count, this one's do not
        if source is None:
            return None
        script = source.script
        start = script.start_request
        if start is None:
            return None
        self._executions.value += 1
        message = script.message = stream.request
        script.host = self
        script.stream = stream
        script.headers = message.headers
        script.is_request = True
        script.filter_context = context
        if script.needs_look:
            script.forget()
        try:
            outcome = start(message.body is None)
        except script.lua_error as error:
            outcome = script.broke(error)
        if outcome is not None and outcome[0] == EDITS:
            script.edit(outcome)
            outcome = None
        if outcome is None and not script.needs_look:
            return None
        return self._stopped(source, script, outcome)

    def encode_headers(self, stream: AnyStream) -> LocalReply | Awaitable[LocalReply | None] | None:
        source, context = self._default, None
        if self._per_route.seen:
            source, context = self._of_route(stream)
        if source is None:
            return None
        script = source.script
        start = script.start_response
        if start is None:
            return None
        self._executions.value += 1
        message = stream.response
        assert message is not None
        script.message = message
        headers = script.headers = message.headers
        script.host = self
        script.stream = stream
        script.is_request = False
        script.filter_context = context
        if script.needs_look:
            script.forget()
        body = message.body
        given = None
        if script.reads_response and body is not None:
            given = body.whole
            if given is not None and (len(given) > _MOST_GIVEN or len(given) > self.limit_of(stream)):
                given = None
        try:
            outcome = start(body is None, given)
        except script.lua_error as error:
            outcome = script.broke(error)
        if outcome is not None and outcome[0] == EDITS:
            script.edit(outcome)
            outcome = None
        if outcome is None and headers.status and not script.needs_look:
            return None
        return self._stopped(source, script, outcome)

    # -- choosing and starting ------------------------------------------------------------------
    def _of_route(self, stream: AnyStream) -> tuple[Source | None, dict[str, Any] | None]:
        """The route's script and filter context: disabled, name, source_code, default, in this order."""
        route = stream.find_route()
        config: LuaRoute | None = None if route is None else route.per_filter_config.get(self.config_name)
        if config is None:
            return self._default, None
        if config.disabled:
            return None, None
        if config.name:
            return self._named.get(config.name), config.filter_context
        return config.source or self._default, config.filter_context

    # -- what a step came to ----------------------------------------------------------------------
    def _stopped(
        self, source: Source, script: Script, outcome: Any
    ) -> LocalReply | Awaitable[LocalReply | None] | None:
        """The hook's result after the script's first step."""
        if script.is_spent:
            self._renew(source, script)
        if outcome is None:
            return _check(script)
        if script.stream.resolve_route is True:
            script.stream.find_route()  # while it waits the log shows it, as Envoy's does
        kind, what = outcome
        if kind == ERROR:
            return self._failed(what) or _check(script)
        if kind not in (BODY, CHUNK, TRAILERS, CALL):
            return script.reply
        script.needs_look = True  # what is this stream's, the next may not share
        run = _Run(
            script,
            script.stream,
            script.message,
            script.headers,
            script.is_request,
            script.filter_context,
            script.keys,
            script.refused,
            what,
            kind,
            script.call,
        )
        if kind in (BODY, CALL):
            return self._go_on(source, run)
        run.message.pipe_body(_ScriptStage(self, source, run))
        return _check(script)

    async def _go_on(self, source: Source, run: _Run) -> LocalReply | None:
        """Run the script for as long as the headers wait for it."""
        script = run.script
        overflow = _REQUEST_TOO_LARGE if run.is_request else _RESPONSE_TOO_LARGE
        while True:
            if run.waits_for == CALL:
                outcome = await self.call(run)
            else:
                data = await run.message.buffer_body(self.limit_of(run.stream), overflow)
                self.resume(run)
                if script.has_room(len(data)):
                    outcome = script.step(script.resume_body, run.handle, data)
                else:
                    outcome = (ERROR, b"script uses too much memory for a body of this size")
            if script.is_spent:
                self._renew(source, script)
            if outcome is None:
                return _check(script)
            kind, what = outcome
            if kind == ERROR:
                return self._failed(what) or _check(script)
            if kind in (CHUNK, TRAILERS):
                run.waits_for = kind
                run.message.pipe_body(_ScriptStage(self, source, run))
                return _check(script)
            if kind not in (BODY, CALL):
                return script.reply
            run.waits_for, run.call = kind, script.call

    async def call(self, run: _Run) -> Any:
        """Wait for the answer to the script's httpCall() and give it to the script."""
        script = run.script
        call = run.call
        assert call is not None
        waiting = run.message.body
        if waiting is not None and waiting.whole is not None and waiting.__class__ is not ReadBody:
            run.message.body = ReadBody(waiting.whole)  # it came while the script waits
        fields, body = await call.answer()
        self.resume(run)
        size = len(body) + sum(len(name) + len(value) for name, value in fields)
        if not script.has_room(size):
            return ERROR, b"script uses too much memory for an answer of this size"
        table = script.headers_table(fields, keeps_all=call.keeps_all)
        return script.step(script.resume_call, run.handle, table, body or None)

    @staticmethod
    def limit_of(stream: AnyStream) -> int:
        """How much of a body a script may have at once."""
        limit: int = getattr(stream.hcm, "buffer_limit_bytes", DEFAULT_BUFFER_LIMIT_BYTES)
        return limit

    def resume(self, run: _Run) -> None:
        """Make this run the one its script works on."""
        script = run.script
        script.host = self
        script.stream = run.stream
        script.message = run.message
        script.headers = run.headers
        script.is_request = run.is_request
        script.filter_context = run.filter_context
        script.keys = run.keys
        script.refused = run.refused
        script.needs_look = True  # others ran it since, and the head may hold what was added before

    def advanced(self, source: Source, run: _Run, outcome: Any) -> None:
        """Note what a step from the body's stage came to."""
        if run.script.is_spent:
            self._renew(source, run.script)
        if outcome is None:
            run.waits_for = 0
            return
        kind, what = outcome
        run.waits_for = kind if kind in (CHUNK, TRAILERS, CALL) else 0
        run.call = run.script.call
        if kind == ERROR:
            reply = self._failed(what)
            if reply is not None:
                raise StreamAborted(reply)

    def _failed(self, text: bytes) -> LocalReply | None:
        """A script failed: what the stream is answered with, if it does not go on."""
        self._errors.value += 1
        logger.error("script log: %s", printable(text))
        return _SCRIPT_FAILED if self.fails_closed else None

    def _renew(self, source: Source, script: Script) -> None:
        """The state has no memory left: others go on with a new one, whose globals are those of the start."""
        if source.script is script:
            logger.error("script log: out of memory: the script is loaded anew")
            source.renew()


class _ScriptStage:
    """Continues a script with what passes through a body (bodyChunks(), trailers())."""

    __slots__ = ("_ends_apart", "_filter", "_run", "_source")

    def __init__(self, lua_filter: LuaFilter, source: Source, run: _Run) -> None:
        self._filter = lua_filter
        self._source = source
        self._run = run
        stream = run.stream
        protocol = stream.protocol if run.is_request else stream.upstream_protocol
        # HTTP/1 learns of the end after the last bytes: Envoy's scripts see an empty chunk there.
        self._ends_apart = protocol.startswith("HTTP/1")

    def push(self, data: bytes, end_stream: bool) -> bytes | Awaitable[bytes]:
        run = self._run
        if run.waits_for == 0:
            return data
        if run.waits_for == TRAILERS:
            return self._pass_by(data, end_stream)
        if end_stream and data and self._ends_apart:
            first = self._chunk(data, False)
            return self._then_end(first)
        return self._chunk(data, end_stream)

    def end(self, trailers: HeaderMap) -> bytes | Awaitable[bytes]:
        run = self._run
        script = run.script
        body = run.message.body
        if run.waits_for:
            # The message's body is the piped one, which learns of its trailers after this call.
            assert body is not None
            body.trailers = trailers
        if run.waits_for == CHUNK:
            self._filter.resume(run)
            self._advanced(script.step(script.resume_chunk, run.handle, None, True))
            if run.waits_for == CALL:
                return self._end_after_calls()
        return self._end_now()

    def _end_now(self) -> bytes | Awaitable[bytes]:
        run = self._run
        if run.waits_for == TRAILERS:
            self._filter.resume(run)
            self._advanced(run.script.step(run.script.resume_trailers, run.handle, True))
            if run.waits_for == CALL:
                return self._after_calls(b"")
        return b""

    async def _end_after_calls(self) -> bytes:
        await self._after_calls(b"")
        out = self._end_now()
        return out if isinstance(out, bytes) else await out

    def _then_end(self, first: bytes | Awaitable[bytes]) -> bytes | Awaitable[bytes]:
        if not isinstance(first, bytes):
            return self._both(first)
        last = self.push(b"", True)
        return first + last if isinstance(last, bytes) else self._behind(first, last)

    async def _both(self, first: Awaitable[bytes]) -> bytes:
        """The end came while the script waited for an answer: it sees no empty chunk, as in Envoy."""
        out = await first
        run = self._run
        if run.waits_for == CHUNK:
            self._filter.resume(run)
            self._advanced(run.script.step(run.script.resume_chunk, run.handle, None, True))
            out = await self._after_calls(out)
        last = self._pass_by(b"", True) if run.waits_for == TRAILERS else b""
        return out + (last if isinstance(last, bytes) else await last)

    async def _behind(self, first: bytes, last: Awaitable[bytes]) -> bytes:
        return first + await last

    def _pass_by(self, data: bytes, end_stream: bool) -> bytes | Awaitable[bytes]:
        run = self._run
        script = run.script
        if data:
            script.saw_body(run.handle)
        if end_stream:
            self._filter.resume(run)
            self._advanced(script.step(script.resume_trailers, run.handle, False))
            if run.waits_for == CALL:
                return self._after_calls(data)
        return data

    def _chunk(self, data: bytes, end_stream: bool) -> bytes | Awaitable[bytes]:
        run = self._run
        script = run.script
        self._filter.resume(run)
        if script.has_room(len(data)):
            outcome = script.step(script.resume_chunk, run.handle, data, end_stream)
        else:
            outcome = (ERROR, b"script uses too much memory for a body of this size")
        self._advanced(outcome)
        changed = script.changed(run.handle)
        out = changed if changed.__class__ is bytes else data
        if run.waits_for == CALL:
            return self._after_calls(out)
        if end_stream and run.waits_for == TRAILERS:
            return self._pass_by(out, True)
        return out

    async def _after_calls(self, out: bytes) -> bytes:
        """Hold what may go on back until the script's calls are answered."""
        run = self._run
        while run.waits_for == CALL:
            self._advanced(await self._filter.call(run))
        return out

    def _advanced(self, outcome: Any) -> None:
        self._filter.advanced(self._source, self._run, outcome)


def _check(script: Script) -> LocalReply | None:
    """Envoy's answers to a head that the script made unusable."""
    if script.needs_look:
        script.drop_odd()
    if script.refused:
        problem = next(iter(script.refused.values()))
        details = f"filter_removed_required_request_headers{{{problem}}}".replace(" ", "_")
        return LocalReply(503, problem.encode(), details, Flag.DOWNSTREAM_PROTOCOL_ERROR)
    if not script.is_request and script.headers.status == 0:  # type: ignore[attr-defined]  # a response's head
        reason = "missing required header: :status"
        details = f"filter_removed_required_response_headers{{{reason}}}".replace(" ", "_")
        return LocalReply(502, reason.encode(), details)
    return None
