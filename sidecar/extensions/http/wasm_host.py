"""The roles that sidecar plays towards Wasm guests: one for a plugin, one for each stream.

:class:`PluginSide` serves a plugin outside of streams (log, time, metrics, ticks), :class:`StreamSide` one
HTTP stream.  What the filter does with their answers is :mod:`sidecar.extensions.http.wasm`'s.  Interfaces:
``wasm_abi.roles``; which map and buffer is open when was seen on Envoy 1.40: headers from their callback on
until the guest lets them go, everything again while logging.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from sidecar.api.message import LocalReply
from sidecar.api.stream import EMPTY_DETAILS, LOOK_AGAIN
from sidecar.core.headers import HeaderMap, RequestHeaders
from sidecar.extensions.http.header_edits import BAD_VALUE, invalid_field
from sidecar.extensions.http.wasm_calls import PluginCalls
from sidecar.extensions.http.wasm_grpc import GrpcCalls
from sidecar.extensions.http.wasm_properties import NO_MAPS, PluginFacts, find_property
from sidecar.extensions.http.wasm_state import Declared, set_property
from sidecar.extensions.wasm.grpc_config import service_finder
from sidecar.net.reactor import Signal
from wasm_abi import (
    BufferType,
    LogLevel,
    MapType,
    Metric,
    MetricType,
    Status,
    StreamType,
    VmFailedError,
    WasmError,
    WasmTrap,
)

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.stream import AnyStream
    from sidecar.extensions.wasm.live import LivePlugin
    from sidecar.extensions.wasm.log_meter import LogMeter
    from wasm_abi import Plugin, StreamContext

__all__ = ["FAILED", "NONE", "NOT_RESUMED", "PluginSide", "StreamSide"]

logger = logging.getLogger("sidecar.wasm")

#: What a stream is answered with that its guest fails.
FAILED = LocalReply(503, b"", "wasm_fail_stream", grpc_status=14)

#: What a stream has for its two directions as long as there is nothing.
#: They are told by their identity, so they must not be tuples to a compiler, which takes those apart.
NONE: Final[Sequence[bytes | None]] = (None, None)
NOT_RESUMED: Final[Sequence[bool]] = (False, False)
NO_SIGNALS: Final[Sequence[Signal | None]] = (None, None)
_is_bad: Final = BAD_VALUE.search
_LEVELS = (5, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_LEAST: tuple[LogLevel, ...] = (*LogLevel, LogLevel.CRITICAL)


class _Stat:
    """A metric of a guest over one of the store's."""

    __slots__ = ("_kind", "_stat")

    def __init__(self, kind: MetricType, stat: Any) -> None:
        self._kind = kind
        self._stat = stat

    def add(self, offset: int) -> None:
        self._stat.inc(offset)

    def record(self, value: int) -> None:
        if self._kind is MetricType.COUNTER:
            self._stat.inc(value)
        elif self._kind is MetricType.GAUGE:
            self._stat.set(value)
        else:
            self._stat.record(value)

    def value(self) -> int:
        value: int = self._stat.value
        return value


class PluginSide:
    """What one plugin may ask for outside any stream (``wasm_abi.PluginHost``)."""

    def __init__(
        self,
        name: str,
        root_id: str,
        vm_id: str,
        context: FactoryContext,
        *,
        has_timers: bool = True,
        meter: LogMeter | None = None,
    ) -> None:
        self.name = name
        self.facts = PluginFacts(name, root_id, vm_id, context.node, context.find_cluster)
        self._label = " ".join(["wasm log", *filter(None, (name, root_id, vm_id))])
        # As in Envoy the root context does not know the plugin's name.
        self._root_label = " ".join(["wasm log", *filter(None, (root_id, vm_id))])
        self._stats = context.root_stats
        self._every = context.every
        # A VM that lives as long as one stream has none, and is not to complain of it each time.
        self._has_timers = has_timers
        self._meter = meter
        self._stop_tick: Callable[[], None] | None = None
        self._deferred: list[Callable[[], None]] = []
        self._soon = context.soon
        #: Starts the plugin again after a failure, if it may; set by who holds it.
        self.revive: Callable[[], bool] | None = None
        #: The plugin it serves; set once that is made.
        self.plugin: Plugin | None = None
        self.calls: PluginCalls | None = None
        if context.http_client is not None:
            grpc = GrpcCalls(context.http_client, context.find_cluster, service_finder(context), self.report)
            self.calls = PluginCalls(context.http_client, context.find_cluster, grpc, self.report)
        #: What the guest has said of properties before it set them.
        self.declared: Declared = {}
        self.declared_by_streams: dict[int, Declared] = {}
        #: Those that the guest has created (:class:`sidecar.extensions.wasm.foreign_cel.Expressions`).
        self.expressions: Any = None
        #: Header names that were looked at and can be sent.
        self.good_names: set[bytes] = set()

    def log(self, level: LogLevel, message: bytes) -> None:
        number = _LEVELS[level]
        if logger.isEnabledFor(number):
            plugin = self.plugin
            is_root = plugin is None or plugin.vm.context is plugin.root
            label = self._root_label if is_root else self._label
            if self._meter is not None and not self._meter.admit(len(message), label):
                return
            logger.log(number, "%s: %s", label, message.decode("utf-8", "backslashreplace"))

    def log_level(self) -> LogLevel:
        return _LEAST[bisect_left(_LEVELS, logger.getEffectiveLevel())]

    def now_ns(self) -> int:
        return time.time_ns()

    def set_tick_period(self, milliseconds: int) -> None:
        if self._stop_tick is not None:
            self._stop_tick()
            self._stop_tick = None
        if not milliseconds or not self._has_timers:
            return
        if self._every is None:
            logger.warning("%s: a tick period was set where there are no timers; it is ignored", self._label)
            return
        self._stop_tick = self._every(milliseconds / 1000, self._tick)

    def get_property(self, path: tuple[bytes, ...]) -> bytes | Status | None:
        return find_property(None, NO_MAPS, self.facts, path)

    def define_metric(self, kind: MetricType, name: bytes) -> Metric:
        full = "wasmcustom." + name.decode("utf-8", "backslashreplace")
        if kind is MetricType.COUNTER:
            return _Stat(kind, self._stats.counter(full))
        if kind is MetricType.GAUGE:
            return _Stat(kind, self._stats.gauge(full))
        return _Stat(kind, self._stats.histogram(full))

    def serve(self, plugin: Plugin) -> None:
        """The plugin is made: it is told of ticks and calls from now on."""
        self.plugin = plugin
        if self.calls is not None:
            self.calls.tell(plugin.calls)

    def defer(self, action: Callable[[], None]) -> None:
        if not self._deferred and self._soon is not None:
            self._soon(self.run_deferred)
        self._deferred.append(action)

    def take_apart(self) -> None:
        """The plugin's VM is closed: let go of what points back here."""
        self.stop()
        self.plugin = self.calls = self.revive = None

    def run_deferred(self) -> None:
        """Run what was deferred; nothing of the guest runs then."""
        actions, self._deferred = self._deferred, []
        for action in actions:
            try:
                action()
            except WasmError as error:
                self.report("in a deferred callback", error)

    def report(self, where: str, error: WasmError) -> None:
        """Log a failure of the guest; the backtrace that matters is the guest's, which is in the text.

        Whatever waits for the guest in other streams of the VM waits no more: their state is gone.
        """
        if isinstance(error, VmFailedError):
            return  # told when it failed
        callback = f" in {error.callback}" if isinstance(error, WasmTrap) and error.callback else ""
        logger.error("plugin %s failed%s, %s: %s", self.name, callback, where, error)
        vm = None if self.plugin is None else self.plugin.vm
        if vm is not None and vm.failure is not None:
            for context in list(vm.contexts.values()):
                vm_failed = getattr(context.stream, "vm_failed", None)
                if vm_failed is not None:
                    vm_failed()

    def stop(self) -> None:
        """No more ticks."""
        self.set_tick_period(0)

    def _tick(self) -> None:
        plugin = self.plugin
        if plugin is None:
            self.stop()
            return
        if plugin.vm.failure is not None:
            # It lives by its timer: there may be no stream to start it again.
            if self.revive is None or self.revive():
                self.stop()
            return
        try:
            plugin.on_tick()
        except WasmError as error:
            self.report("at a tick", error)


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamSide:
    """One HTTP stream as a guest sees it (``wasm_abi.HttpStreamHost``), and what the guest asked for."""

    __slots__ = (
        "asked",
        "buffers",
        "context",
        "is_closed",
        "is_dead",
        "is_suspect",
        "live",
        "maps",
        "plugin_side",
        "reply",
        "resumed",
        "signals",
        "stream",
    )

    #: Whose stream it is.
    live: LivePlugin

    def __init__(self, plugin_side: PluginSide, stream: AnyStream) -> None:
        # What most streams never have is shared until they do: there is one of these for every stream.
        self.plugin_side = plugin_side
        self.stream = stream
        self.context: StreamContext | None = None
        #: Maps that are open now, by MapType.
        self.maps: list[HeaderMap | None] = [None, None, None, None]
        #: Bodies that are open now: request, response.
        self.buffers: Sequence[bytes | None] = NONE
        #: Whether any of what follows was ever set: ``reply``, ``is_closed``, ``is_suspect``.
        self.asked = False
        #: What send_local_response asked for.
        self.reply: LocalReply | None = None
        self.is_closed = False
        #: The request was given a field that may not be sent; if it still has it when the guest has returned,
        #: it is answered with 503, as by Envoy's router.
        self.is_suspect = False
        #: The guest failed, or is to be left out of the rest of this stream.
        self.is_dead = False
        #: Whether the guest let that direction go on since it last stopped it.
        self.resumed: Sequence[bool] = NOT_RESUMED
        self.signals: Sequence[Signal | None] = NO_SIGNALS

    def resume(self, direction: int, *, is_resumed: bool = True) -> None:
        """Note that the guest let that direction go on, or that it has gone on."""
        request, response = self.resumed
        self.resumed = (request, is_resumed) if direction else (is_resumed, response)

    def show(self, direction: int, body: bytes | None) -> None:
        """Open that body to the guest, or close it."""
        request, response = self.buffers
        self.buffers = (request, body) if direction else (body, response)

    # -- maps ---------------------------------------------------------------------------------
    def _open_map(self, map_type: MapType) -> HeaderMap | None:
        return self.maps[map_type] if map_type < 4 else None

    def hide_maps(self) -> None:
        self.maps = [None, None, None, None]

    def show_response_body(self, is_end: bool, is_empty: bool) -> None:
        self.maps[2] = None
        response = self.stream.response
        body = None if response is None else response.body
        self.buffers = (None, b"" if is_empty or body is None else body.whole)
        if is_end:
            self.maps[3] = HeaderMap()

    def get_header_map(self, map_type: MapType) -> Iterable[tuple[bytes, bytes]] | None:
        headers = self.maps[map_type] if map_type < 4 else None
        if headers is None:
            return None
        if map_type:
            return [*headers.pseudo_fields(), *headers.fields]
        request: RequestHeaders = headers  # type: ignore[assignment]  # a request's head
        pairs = []  # as pseudo_fields does, without a generator
        for name, value in (
            (b":authority", request.authority),
            (b":path", request.path),
            (b":method", request.method),
            (b":scheme", request.scheme),
            (b":protocol", request.protocol),
        ):
            if value is not None:
                pairs.append((name, value))
        pairs += headers.fields
        return pairs

    def get_header_value(self, map_type: MapType, name: bytes) -> bytes | None:
        headers = self.maps[map_type] if map_type < 4 else None
        if headers is None:
            return None
        if map_type == 0 and name == b":path":  # what most guests ask for, and the way to it is long
            path: bytes | None = headers.path  # type: ignore[attr-defined]  # a request's head
            return path
        return headers.get(name)

    def set_header_map(self, map_type: MapType, pairs: list[tuple[bytes, bytes]]) -> bool:
        headers = self._open_map(map_type)
        if headers is None:
            return False
        self._changing(map_type)
        headers.replace_all(self._sendable(map_type, pairs))
        return True

    def add_header_value(self, map_type: MapType, name: bytes, value: bytes) -> bool:
        headers = self.maps[map_type] if map_type < 4 else None
        if headers is None:
            return False
        if (name in self.plugin_side.good_names and not _is_bad(value)) or self._is_taken(
            map_type, name, value
        ):
            if headers is self.maps[0]:
                self.stream.resolve_route = LOOK_AGAIN  # clear_route_cache, without the call
                if name == b"host":
                    name = b":authority"
            headers.append(name, value)
        return True

    def replace_header_value(self, map_type: MapType, name: bytes, value: bytes) -> bool:
        headers = self.maps[map_type] if map_type < 4 else None
        if headers is None:
            return False
        if (name in self.plugin_side.good_names and not _is_bad(value)) or self._is_taken(
            map_type, name, value
        ):
            if headers is self.maps[0]:
                self.stream.resolve_route = LOOK_AGAIN  # clear_route_cache, without the call
                if name == b"host":
                    name = b":authority"
            headers.replace(name, value)
        return True

    def remove_header_value(self, map_type: MapType, name: bytes) -> bool:
        headers = self.maps[map_type] if map_type < 4 else None
        if headers is None:
            return False
        if headers is self.maps[0]:
            self.stream.resolve_route = LOOK_AGAIN  # clear_route_cache, without the call
            if name == b"host":
                name = b":authority"
        headers.remove(name)
        return True

    def _changing(self, map_type: MapType) -> None:
        """Envoy looks the route up again whenever a guest changes the request's headers."""
        if map_type == 0:
            self.stream.clear_route_cache()

    def _is_taken(self, map_type: MapType, name: bytes, value: bytes) -> bool:
        """Whether a field goes into the map: a request's may be gone before it matters."""
        good = self.plugin_side.good_names
        problem = invalid_field(name, value)
        if not problem:
            if len(good) < 1024:
                good.add(name)
            return True
        if map_type is MapType.HTTP_REQUEST_HEADERS:
            self.is_suspect = self.asked = True
            return True
        # Envoy sends it, line breaks and all: whoever controls the value could inject headers.
        logger.error("plugin %s: %s: the header is left out", self.plugin_side.name, problem)
        return False

    def take_problem(self) -> str:
        """Why the request cannot be sent as the guest has left it, or nothing."""
        self.is_suspect = False
        for name, value in self.stream.request.headers:
            problem = invalid_field(name, value)
            if problem:
                return problem
        return ""

    def _sendable(self, map_type: MapType, pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        kept = [pair for pair in pairs if self._is_taken(map_type, *pair)]
        if map_type == 0:
            return [(b":authority", value) if name == b"host" else (name, value) for name, value in kept]
        return kept

    # -- buffers --------------------------------------------------------------------------------
    def get_buffer(self, buffer_type: BufferType) -> bytes | None:
        return self.buffers[buffer_type] if buffer_type < 2 else None

    def replace_buffer(self, buffer_type: BufferType, start: int, stop: int, data: bytes) -> bool:
        old = self.buffers[buffer_type] if buffer_type < 2 else None
        if old is None:
            return False
        whole = not start and stop == len(old)
        self.show(buffer_type, data if whole else old[:start] + data + old[stop:])
        return True

    # -- properties -----------------------------------------------------------------------------
    def get_property(self, path: tuple[bytes, ...]) -> bytes | Status | None:
        return find_property(self.stream, self.maps, self.plugin_side.facts, path)

    @property
    def shown_stream(self) -> AnyStream:
        """What the guest is told of."""
        return self.stream

    @property
    def stateful_stream(self) -> AnyStream | None:
        """Whose filter state the guest may change."""
        return self.stream

    def set_property(self, path: tuple[bytes, ...], value: bytes) -> Status:
        return set_property(self.stream, self.plugin_side.declared, path, value)

    def vm_failed(self) -> None:
        """The guest failed over something else: who waits for it here is answered, or goes on without it."""
        for direction, signal in enumerate(self.signals):
            if signal is None or signal.strand is None:
                continue
            self.is_dead = True
            if self.live.traps_open:
                self.resume(direction)
            else:
                self.reply = FAILED
                self.asked = True
            signal.fire()

    # -- what becomes of the stream ---------------------------------------------------------------
    def clear_route_cache(self) -> None:
        self.stream.clear_route_cache()

    def send_local_response(
        self,
        status: int,
        details: bytes,
        body: bytes,
        headers: list[tuple[bytes, bytes]],
        grpc_status: int | None,
    ) -> None:
        if self.reply is not None:
            return  # the first one counts
        fields = []
        for name, value in headers:
            if name[:1] == b":" or invalid_field(name, value):
                logger.error("plugin %s: a header of a local response is left out", self.plugin_side.name)
            else:
                fields.append((name, value))
        text = details.decode("utf-8", "backslashreplace") or EMPTY_DETAILS
        self.reply = LocalReply(status, body, text, headers=fields, grpc_status=grpc_status)
        self.asked = True
        self._wake(0)
        self._wake(1)

    def continue_stream(self, stream_type: StreamType) -> None:
        if stream_type < 2 and (stream_type == 0 or self.stream.response is not None):
            self.resume(stream_type)
            self._wake(stream_type)

    def close_stream(self, stream_type: StreamType) -> None:
        self.is_closed = self.asked = True
        if not self.stream.details:
            self.stream.details = "wasm_close_stream"
        self._wake(0)
        self._wake(1)

    def _wake(self, direction: int) -> None:
        signal = self.signals[direction]
        if signal is not None:
            signal.fire()

    def signal(self, direction: int) -> Signal:
        """What a stopped direction waits for."""
        signal = self.signals[direction]
        if signal is None:
            signal = Signal(self.stream.hcm.reactor)
            request, response = self.signals
            self.signals = (request, signal) if direction else (signal, response)
        return signal
