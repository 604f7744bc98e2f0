"""Plugins and streams: the life of contexts and what callbacks return.

A ``Plugin`` is a root context; ``create_stream`` makes the context of one HTTP stream, ``create_connection``
that of a TCP connection (``tcp``). Order for a stream: create_stream, the data callbacks, on_done, on_log,
on_delete. A callback that the guest does not export does nothing and means CONTINUE; ``exports_*`` says so
beforehand, so that a chain can be compiled without it.

Spec: proxy-wasm 0.2.1, "Callbacks". From Envoy's host: STOP_ITERATION of a headers callback becomes
STOP_ALL_ITERATION_AND_WATERMARK unless the plugin allows it; a result out of range, or any result after the
guest has sent a local response, becomes the strictest stop of its kind. Header maps and bodies are open to
the guest from their callback on, and until a callback for them returns CONTINUE; trailers also in the last
body callback, where they may be created.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from wasm_abi.abi import AbiVersion, BufferType, DataAction, HeadersAction, MapType, TrailersAction
from wasm_abi.calls import Callouts
from wasm_abi.context import Context, EndingContext
from wasm_abi.errors import ConfigureError, StartError
from wasm_abi.inside_wat import STAGE
from wasm_abi.roles import CalloutHost, HttpStreamHost, PluginHost, TcpStreamHost
from wasm_abi.tcp import TcpContext
from wasm_abi.vm import MAX_CONTEXT_ID, Vm

_HEADERS: Final = tuple(HeadersAction)
_HEADERS_MAPPED: Final = (_HEADERS[0], HeadersAction.STOP_ALL_ITERATION_AND_WATERMARK, *_HEADERS[2:])
_DATA: Final = tuple(DataAction)
_TRAILERS: Final = tuple(TrailersAction)
_CONTINUE: Final = HeadersAction.CONTINUE
_PASS: Final = DataAction.CONTINUE
_KEEP: Final = DataAction.STOP_ITERATION_AND_BUFFER

_REQUEST_HEADERS: Final = 1 << MapType.HTTP_REQUEST_HEADERS.value
_REQUEST_TRAILERS: Final = 1 << MapType.HTTP_REQUEST_TRAILERS.value
_RESPONSE_HEADERS: Final = 1 << MapType.HTTP_RESPONSE_HEADERS.value
_RESPONSE_TRAILERS: Final = 1 << MapType.HTTP_RESPONSE_TRAILERS.value
_REQUEST_BODY: Final = 1 << BufferType.HTTP_REQUEST_BODY.value
_RESPONSE_BODY: Final = 1 << BufferType.HTTP_RESPONSE_BODY.value

#: What ``respond`` gives where the guest let all of it go on.
_ALL_WENT_ON: Final = 3 * 8
_WENT_ON: Final = (_CONTINUE, _PASS, _PASS)

Entry = Callable[..., int]


class Plugin:
    """One configuration of a guest. ``start`` before anything else; ``shutdown`` at the end."""

    def __init__(
        self,
        vm: Vm,
        host: PluginHost,
        *,
        name: bytes = b"",
        root_id: bytes = b"",
        configuration: bytes = b"",
        allow_on_headers_stop_iteration: bool = False,
        calls: CalloutHost | None = None,
    ) -> None:
        self.vm = vm
        self.host = host
        self.name = name
        self.root_id = root_id
        self.configuration = configuration
        self.is_done_pending = False
        self.root = Context(vm.new_context_id(), host, self)
        self.root_number = self.root.id
        vm.contexts[self.root_number] = self.root
        self.calls = Callouts(self, calls)
        entry = vm.entry
        self.headers_actions = _HEADERS if allow_on_headers_stop_iteration else _HEADERS_MAPPED
        self.request_headers = self._headers_entry("proxy_on_request_headers")
        self.response_headers = self._headers_entry("proxy_on_response_headers")
        self.context_create = entry("proxy_on_context_create")
        self.done = entry("proxy_on_done")
        self.log = entry("proxy_on_log")
        self.delete = entry("proxy_on_delete")
        self.begin = vm.begin_entry()
        self.respond = vm.respond_entry()
        self.finish = vm.finish_entry()
        self.exports_request_headers = self.request_headers is not None
        self.exports_request_body = vm.has_entry("proxy_on_request_body")
        self.exports_request_trailers = vm.has_entry("proxy_on_request_trailers")
        self.exports_response_headers = self.response_headers is not None
        self.exports_response_body = vm.has_entry("proxy_on_response_body")
        self.exports_response_trailers = vm.has_entry("proxy_on_response_trailers")
        self.exports_metadata = vm.has_entry("proxy_on_request_metadata") or vm.has_entry(
            "proxy_on_response_metadata"
        )
        self.exports_log = self.log is not None
        self.exports_tick = vm.has_entry("proxy_on_tick")

    @property
    def responded_to(self) -> tuple[DataAction | None, bool]:
        """What the last ``respond`` came to for the body, if that is known, and whether it saw its end."""
        stage = self.vm.words[STAGE]
        return (None, False) if stage < 3 else (_PASS if stage == 3 else _KEEP, True)

    def _headers_entry(self, name: str) -> Entry | None:
        entry = self.vm.entry(name)
        if entry is None or self.vm.abi is not AbiVersion.V0_1_0:
            return entry
        old = entry
        return lambda context, count, _end_of_stream: old(context, count)

    def start(self) -> None:
        """Create the root context, start the VM if this is its first plugin, configure the plugin.

        Raises: StartError or ConfigureError when the guest says no; WasmTrap.
        """
        vm = self.vm
        if self.context_create is not None:
            self.context_create(self.root, 0)
        if not vm.is_started:
            vm.is_started = True
            vm_start = vm.entry("proxy_on_vm_start")
            if vm_start is not None and not vm_start(self.root, len(vm.configuration)):
                raise StartError("proxy_on_vm_start returned false")
        configure = vm.entry("proxy_on_configure")
        if configure is not None:
            vm.configuring = self.configuration
            try:
                accepted = configure(self.root, len(self.configuration))
            finally:
                vm.configuring = None
            if not accepted:
                raise ConfigureError("proxy_on_configure returned false")
        vm.started()

    def create_stream(self, host: HttpStreamHost) -> "StreamContext":
        """The context of a new HTTP stream. Raises: WasmTrap, VmFailedError."""
        context = self.new_context(host)
        if self.context_create is not None:
            self.context_create(context, self.root_number)
        return context

    def new_context(self, host: HttpStreamHost) -> "StreamContext":
        """A context that the guest does not know yet: to be begun (``StreamContext.begin``)."""
        vm = self.vm
        contexts = vm.contexts
        number = vm.next_context_id
        if number in contexts or number >= MAX_CONTEXT_ID:
            number = vm.new_context_id()
        else:
            vm.next_context_id = number + 1
        context = contexts[number] = StreamContext(number, self.host, self, host)
        return context

    def create_connection(self, host: TcpStreamHost) -> TcpContext:
        """The context of a new TCP connection. Raises: WasmTrap, VmFailedError."""
        context = TcpContext(self, host)
        self.vm.contexts[context.id] = context
        if self.context_create is not None:
            self.context_create(context, self.root.id)
        return context

    def on_foreign_function(self, function_id: int, arguments: bytes) -> None:
        """Call a function of the guest by an agreed number. Raises: WasmTrap, VmFailedError."""
        entry = self.vm.entry("proxy_on_foreign_function")
        if entry is not None:
            self.vm.foreign_arguments = arguments
            try:
                entry(self.root, function_id, len(arguments))
            finally:
                self.vm.foreign_arguments = b""

    def on_tick(self) -> None:
        tick = self.vm.entry("proxy_on_tick")
        if tick is not None:
            tick(self.root)

    def on_log(self, host: HttpStreamHost) -> None:
        """Tell the root context of a stream that is over (access loggers). Nothing in a failed VM.

        Raises: WasmTrap.
        """
        root = self.root
        if self.log is None or self.vm.failure is not None:
            return
        root.stream, root.is_logging = host, True
        try:
            self.log(root)
        finally:
            root.stream, root.is_logging = None, False

    def queue_ready_soon(self, queue_id: int) -> None:
        """Tell the guest about an item in its queue as soon as no guest is running."""
        self.host.defer(partial(self._on_queue_ready, queue_id))

    def _on_queue_ready(self, queue_id: int) -> None:
        ready = self.vm.entry("proxy_on_queue_ready")
        if ready is not None and self.vm.failure is None and self.root.id in self.vm.contexts:
            ready(self.root, queue_id)

    def shutdown(self) -> bool:
        """End the root context; False = the guest wants to call proxy_done first."""
        if self.vm.failure is None and self.done is not None and not self.done(self.root):
            self.is_done_pending = True
            return False
        self.finish_shutdown()
        return True

    def finish_shutdown(self) -> None:
        """The guest is done with the root context; calls that are still open are given up."""
        if self.vm.contexts.pop(self.root.id, None) is not None and self.vm.failure is None and self.delete:
            self.delete(self.root)
        self.calls.cancel_all()

    def take_apart(self) -> None:
        """Let go of what points back here, once the VM is closed: it is freed with its last user then."""
        self.root.plugin = None
        self.calls.take_apart()


class StreamContext(EndingContext):
    """One HTTP stream as the guest sees it.

    Every data callback raises WasmTrap when the guest traps and VmFailedError when it did so before; what
    then happens to the stream is the embedder's policy. Actions that the guest asked for (local response,
    resuming, closing) reach the ``HttpStreamHost`` before the callback's method returns.
    """

    __slots__ = ()

    def begin(self, count: int, end_of_stream: bool) -> HeadersAction | None:
        """Tell the guest of the context and of its request's headers, at once where it can be.

        None: of the context alone; ``on_request_headers`` is to be called next.
        """
        plugin = self.plugin
        assert plugin is not None
        if plugin.begin is None:
            if plugin.context_create is not None:
                plugin.context_create(self, plugin.root_number)
            return None
        self.open_maps = _REQUEST_HEADERS
        result = plugin.begin(self, plugin.root_number, count, end_of_stream)
        if result is None:
            return None
        if not result:
            self.open_maps &= ~_REQUEST_HEADERS
            return _CONTINUE
        return plugin.headers_actions[result if result < 5 else 4]

    def on_request_headers(self, count: int, end_of_stream: bool) -> HeadersAction:
        plugin = self.plugin
        assert plugin is not None
        if plugin.request_headers is None:
            return HeadersAction.CONTINUE
        self.open_maps |= _REQUEST_HEADERS
        result = plugin.request_headers(self, count, end_of_stream)
        if not result:
            self.open_maps &= ~_REQUEST_HEADERS
            return _CONTINUE
        return plugin.headers_actions[result if result < 5 else 4]

    def on_response_headers(self, count: int, end_of_stream: bool) -> HeadersAction:
        plugin = self.plugin
        assert plugin is not None
        if plugin.response_headers is None:
            return HeadersAction.CONTINUE
        self.open_maps |= _RESPONSE_HEADERS
        result = plugin.response_headers(self, count, end_of_stream)
        if not result:
            self.open_maps &= ~_RESPONSE_HEADERS
            return _CONTINUE
        return plugin.headers_actions[result if result < 5 else 4]

    def respond(self, count: int, body: bytes) -> tuple[HeadersAction, DataAction | None, DataAction | None]:
        """on_response_headers and on_response_body of a body of one piece and of its end, in one call.

        Where ``Plugin.respond`` is there. None: this callback was not made, as the one before it did not
        simply go on, or asked the host for something. Where the body was held (STOP_ITERATION_AND_BUFFER),
        its end was shown with all of it.
        """
        plugin = self.plugin
        assert plugin is not None
        assert plugin.respond is not None
        self.open_maps |= _RESPONSE_HEADERS
        outcome = plugin.respond(self, count, body)
        if outcome == _ALL_WENT_ON:
            self.open_maps &= ~_RESPONSE_HEADERS
            return _WENT_ON
        stage, result = divmod(outcome, 8)
        if stage == 1:
            if not result:
                self.open_maps &= ~_RESPONSE_HEADERS
            return plugin.headers_actions[result if result < 5 else 4], None, None
        self.open_maps &= ~_RESPONSE_HEADERS
        if stage > 2:
            self.open_maps |= _RESPONSE_TRAILERS
        if result:
            self.open_buffers |= _RESPONSE_BODY
        else:
            self.open_buffers &= ~_RESPONSE_BODY
        action = _DATA[result if result < 4 else 3]
        if stage == 2:
            return _CONTINUE, action, None
        return _CONTINUE, _PASS if stage == 3 else _KEEP, action

    def on_request_body(self, size: int, end_of_stream: bool) -> DataAction:
        """``size`` counts everything that is buffered for this direction."""
        entry = self._entry("proxy_on_request_body")
        if entry is None:
            return DataAction.CONTINUE
        self.open_buffers |= _REQUEST_BODY
        if end_of_stream:
            self.open_maps |= _REQUEST_TRAILERS
        result = entry(self, size, end_of_stream)
        if not result:
            self.open_buffers &= ~_REQUEST_BODY
            return _PASS
        return _DATA[result if result < 4 else 3]

    def on_response_body(self, size: int, end_of_stream: bool) -> DataAction:
        """``size`` counts everything that is buffered for this direction."""
        entry = self._entry("proxy_on_response_body")
        if entry is None:
            return DataAction.CONTINUE
        self.open_buffers |= _RESPONSE_BODY
        if end_of_stream:
            self.open_maps |= _RESPONSE_TRAILERS
        result = entry(self, size, end_of_stream)
        if not result:
            self.open_buffers &= ~_RESPONSE_BODY
            return _PASS
        return _DATA[result if result < 4 else 3]

    def on_request_metadata(self, count: int) -> None:
        """A METADATA frame of HTTP/2 with so many pairs has come; the guest can only take note of it."""
        entry = self._entry("proxy_on_request_metadata")
        if entry is not None:
            entry(self, count)

    def on_response_metadata(self, count: int) -> None:
        """The same of the response."""
        entry = self._entry("proxy_on_response_metadata")
        if entry is not None:
            entry(self, count)

    def on_request_trailers(self, count: int) -> TrailersAction:
        entry = self._entry("proxy_on_request_trailers")
        if entry is None:
            return TrailersAction.CONTINUE
        self.open_maps |= _REQUEST_TRAILERS
        result = entry(self, count)
        if not result:
            self.open_maps &= ~_REQUEST_TRAILERS
        return _TRAILERS[bool(result)]

    def on_response_trailers(self, count: int) -> TrailersAction:
        entry = self._entry("proxy_on_response_trailers")
        if entry is None:
            return TrailersAction.CONTINUE
        self.open_maps |= _RESPONSE_TRAILERS
        result = entry(self, count)
        if not result:
            self.open_maps &= ~_RESPONSE_TRAILERS
        return _TRAILERS[bool(result)]

    def conclude(self) -> None:
        """on_log, on_done and on_delete, at once where it can be; maps are hidden behind the first.

        Raises: WasmTrap.
        """
        plugin = self.plugin
        assert plugin is not None
        vm = plugin.vm
        stream = self.stream
        assert stream is not None
        if plugin.finish is None or vm.failure is not None:
            self.on_log()
            stream.hide_maps()
            self.end()
            return
        self.is_logging = True
        try:
            reached = plugin.finish(self)
        finally:
            self.is_logging = False
        if reached == 1:
            stream.hide_maps()
            self.end()
        else:
            known = vm.contexts.pop(self.id, None) is not None
            if reached == 2 and known and vm.failure is None and plugin.delete is not None:
                stream.hide_maps()
                plugin.delete(self)
