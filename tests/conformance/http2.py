"""One end of an HTTP/2 connection over the h2 package, for the client and for the scripted upstream.

h2's own validation is switched off in both directions: what the proxy sent is taken down as it came, and a
scenario may send what no decent peer would.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import trio

from .wire import Wire, show_bytes, show_headers

Fields = list[tuple[str, str]]
CLOSED = "connection closed"


def _text(headers: Iterable[tuple[bytes | str, bytes | str]] | None) -> Fields:
    def one(value: bytes | str) -> str:
        return value.decode("latin-1") if isinstance(value, bytes) else value

    return [(one(item[0]), one(item[1])) for item in headers or ()]


def ordered(headers: Fields) -> Fields:
    """Leading pseudo headers sorted, since their order among themselves says nothing; the rest as it came."""
    count = next((i for i, (name, _) in enumerate(headers) if not name.startswith(":")), len(headers))
    return sorted(headers[:count]) + headers[count:]


@dataclass(eq=False)
class Stream:
    """What came in on one stream."""

    id: int
    headers: Fields = field(default_factory=list)
    interim: list[Fields] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    reset: str | None = None
    got_headers: trio.Event = field(default_factory=trio.Event)
    grew: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)

    async def received(self, size: int) -> None:
        """Wait until that much of the body is here, or the stream is over."""
        while len(self.body) < size and not self.ended.is_set():
            await self.grew.wait()

    def grow(self, data: bytes) -> None:
        self.body += data
        self.grew.set()
        self.grew = trio.Event()

    def end(self) -> None:
        self.grew.set()
        self.got_headers.set()
        self.ended.set()

    def shown(self) -> dict[str, object]:
        """The observation; what is empty is left out."""
        out: dict[str, object] = {}
        if self.interim:
            out["interim"] = [show_headers(fields) for fields in self.interim]
        if self.headers:
            out["headers"] = show_headers(ordered(self.headers))
        if self.body:
            out["body"] = show_bytes(bytes(self.body))
        if self.trailers:
            out["trailers"] = show_headers(self.trailers)
        if self.reset is not None:
            out["reset"] = self.reset
        elif not self.ended.is_set():
            out["open"] = True
        return out


class _Patient(h2.connection.H2ConnectionStateMachine):  # type: ignore[misc]  # h2 has no types here
    """Takes no notice of GOAWAY, after which h2 would refuse all frames."""

    def process_input(self, input_: h2.connection.ConnectionInputs) -> list[h2.events.Event]:
        if input_ is h2.connection.ConnectionInputs.RECV_GOAWAY:
            return []
        events: list[h2.events.Event] = super().process_input(input_)
        return events


class Peer:
    """An HTTP/2 connection; `run` reads it until it ends and must run beside whoever uses it."""

    def __init__(
        self,
        wire: Wire,
        *,
        client: bool,
        on_stream: Callable[[Stream], None] | None = None,
        is_patient: bool = False,
    ) -> None:
        """``is_patient``: go on after a GOAWAY, with streams under way and new ones alike."""
        config = h2.config.H2Configuration(
            client_side=client,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
        )
        self.wire = wire
        self.h2 = h2.connection.H2Connection(config)
        self.streams: dict[int, Stream] = {}
        if is_patient:
            self.h2.state_machine = _Patient()
        self.goaway: str | None = None
        #: Each GOAWAY with the last stream that it takes.
        self.goaways: list[str] = []
        self.settings: dict[str, int] = {}
        self.ended = trio.Event()
        self.got_settings = trio.Event()
        self._client = client
        self._on_stream = on_stream
        self._window_moved = trio.Event()
        self._sending = trio.Lock()

    async def run(self) -> None:
        """Read until the other side closes or breaks the protocol."""
        if not self._client:
            self.h2.local_settings.enable_connect_protocol = 1
        self.h2.initiate_connection()
        await self.flush()
        try:
            while data := await self.wire.some():
                for event in self.h2.receive_data(data):
                    self._on_event(event)
                await self.flush()
        except h2.exceptions.ProtocolError as error:
            self.goaway = self.goaway or f"peer broke the protocol: {error}"
        finally:
            for stream in self.streams.values():
                if not stream.ended.is_set() and stream.reset is None:
                    stream.reset = CLOSED
                stream.end()
            self.ended.set()
            self._window_moved.set()

    async def flush(self) -> None:
        async with self._sending:
            if data := self.h2.data_to_send():
                await self.wire.send(data)

    def _on_event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            stream = self.streams[event.stream_id] = Stream(event.stream_id, _text(event.headers))
            stream.got_headers.set()
            if self._on_stream:
                self._on_stream(stream)
        elif isinstance(event, h2.events.ResponseReceived):
            self.streams[event.stream_id].headers = _text(event.headers)
            self.streams[event.stream_id].got_headers.set()
        elif isinstance(event, h2.events.InformationalResponseReceived):
            self.streams[event.stream_id].interim.append(_text(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].grow(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.streams[event.stream_id].trailers = _text(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.streams[event.stream_id].end()
        elif isinstance(event, h2.events.StreamReset):
            if stream := self.streams.get(event.stream_id):  # type: ignore[assignment]
                stream.reset = _code(event.error_code)
                stream.end()
            self._wake()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = _code(event.error_code)
            last = event.last_stream_id
            self.goaways.append(f"{self.goaway}, last {'any' if last == 2**31 - 1 else last}")
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings.update({_setting(k): v.new_value for k, v in event.changed_settings.items()})
            self.got_settings.set()
            self._wake()
        elif isinstance(event, h2.events.WindowUpdated):
            self._wake()

    def _wake(self) -> None:
        self._window_moved.set()
        self._window_moved = trio.Event()

    async def open(self, headers: Fields, *, end: bool, more: bool = False) -> Stream:
        """Client: start a stream.  `more`: the head waits for what is sent behind it, and leaves with it."""
        stream = Stream(self.h2.get_next_available_stream_id())
        self.streams[stream.id] = stream
        try:
            self.h2.send_headers(stream.id, headers, end_stream=end)
        except h2.exceptions.ProtocolError:
            await self.ended.wait()  # the other side is going away
        if not more:
            await self.flush()
        if self.ended.is_set():
            stream.reset = CLOSED
            stream.end()
        return stream

    async def raw(self, data: bytes) -> None:
        """Send bytes past the protocol machine."""
        async with self._sending:
            await self.wire.send(data)

    async def headers(
        self, stream: Stream, headers: Fields, *, end: bool = False, more: bool = False
    ) -> None:
        """Server: response headers; either: trailers (with `end`).  `more`: they leave with what follows."""
        if not self._gone(stream):
            try:
                self.h2.send_headers(stream.id, headers, end_stream=end)
            except h2.exceptions.ProtocolError:
                return  # closed by the other side just now
            if not more:
                await self.flush()

    async def data(self, stream: Stream, data: bytes, *, end: bool = False, more: bool = False) -> None:
        """Send within the peer's windows; stops when the stream is gone.

        `more`: the last piece waits for what is sent behind it.
        """
        while not self._gone(stream):
            moved = self._window_moved
            try:
                room = min(self.h2.local_flow_control_window(stream.id), self.h2.max_outbound_frame_size)
                if room > 0 or not data:
                    piece, data = data[:room], data[room:]
                    self.h2.send_data(stream.id, piece, end_stream=end and not data)
            except h2.exceptions.ProtocolError:
                return  # closed by the other side just now
            if data or not more:
                await self.flush()
            if not data:
                return
            if room <= 0:
                await moved.wait()

    def _gone(self, stream: Stream) -> bool:
        return stream.reset is not None or self.ended.is_set()

    async def reset(self, stream: Stream, code: str = "CANCEL") -> None:
        self.h2.reset_stream(stream.id, h2.errors.ErrorCodes[code])
        await self.flush()

    def half_close(self) -> None:
        self.wire.half_close()


def _code(code: int | None) -> str:
    try:
        return str(h2.errors.ErrorCodes(code).name)
    except ValueError:
        return str(code)


def _setting(code: int) -> str:
    try:
        return str(h2.settings.SettingCodes(code).name)
    except ValueError:
        return str(code)


def no_delay(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
