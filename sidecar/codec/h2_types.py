"""The words of HTTP/2 that both codecs and their callers share (RFC 9113).

:class:`H2Handler` is what a codec calls while it is fed; :class:`H2Settings` is what the
configuration says (``envoy.config.core.v3.Http2ProtocolOptions``, with Envoy's defaults).  There are
two codecs: :mod:`sidecar.codec.h2_connection`, and the second opinion
:mod:`sidecar.codec.h2_reference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

from sidecar.core.dataclass import dataclass
from sidecar.core.errors import RemoteProtocolError
from sidecar.core.headers import Field

if TYPE_CHECKING:
    from sidecar.codec.h2_stream import H2Run

__all__ = [
    "CONNECTION_PREFACE",
    "DEFAULT_WINDOW",
    "GOAWAY_DETAILS",
    "MAX_WINDOW",
    "ErrorCode",
    "H2Codec",
    "H2ConnectionError",
    "H2Handler",
    "H2Settings",
    "KeepaliveSettings",
    "KnownFields",
]

CONNECTION_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: RFC 9113 §6.9.2: what every window is before anybody says otherwise.
DEFAULT_WINDOW = 65535
MAX_WINDOW = 2**31 - 1
#: ``details`` of a codec while it tells of streams that a GOAWAY took along.
GOAWAY_DETAILS = "http2.goaway"


class ErrorCode(IntEnum):
    """RFC 9113 §7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class H2ConnectionError(RemoteProtocolError):
    """What the peer sent ends the connection.

    ``is_silent``: it is closed without a GOAWAY.  Envoy says GOAWAY where a frame cannot be read (sizes,
    padding, HPACK, windows), and nothing where a readable frame breaks a rule.
    """

    def __init__(
        self,
        reason: str,
        code: ErrorCode,
        *,
        details: str = "http2.unknown.nghttp2.error",
        stream_id: int = 0,
        is_silent: bool = False,
        is_flood: bool = False,
        others: str = "codec_error:The_user_callback_function_failed",
    ) -> None:
        super().__init__(reason, status=0, details=details, h2_code=int(code))
        #: The stream at fault, 0 for none: ``details`` are its own.
        self.stream_id = stream_id
        self.is_silent = is_silent
        #: The peer asked for too much (``http2.*_flood``): Envoy counts no protocol error.
        self.is_flood = is_flood
        #: Envoy's response code details of the streams that go down with the connection.
        self.others = others


@dataclass(frozen=True, slots=True)
class KeepaliveSettings:
    """``envoy.config.core.v3.KeepaliveSettings``."""

    timeout_s: float
    #: Between PINGs; 0 for none.
    interval_s: float = 0.0
    #: By how much of the interval it is lengthened at random.
    jitter_percent: float = 15.0
    #: Silence after which a PING goes ahead of a new stream (client); 0 for none.
    connection_idle_interval_s: float = 0.0


@dataclass(frozen=True, slots=True)
class H2Settings:
    """What one side wants.  Field names are those of ``Http2ProtocolOptions``; defaults are Envoy's."""

    hpack_table_size: int = 4096
    max_concurrent_streams: int = 1024
    initial_stream_window_size: int = 16 * 1024 * 1024
    initial_connection_window_size: int = 24 * 1024 * 1024
    #: Announce SETTINGS_ENABLE_CONNECT_PROTOCOL, and take ``:protocol`` in requests (RFC 8441).
    allow_connect: bool = False
    max_outbound_frames: int = 10_000
    max_outbound_control_frames: int = 1_000
    max_consecutive_inbound_frames_with_empty_payload: int = 1
    max_inbound_priority_frames_per_stream: int = 100
    max_inbound_window_update_frames_per_data_frame_sent: int = 10
    #: Client resets: so many at once, and so many more each second.
    stream_reset_burst: int = 1000
    stream_reset_rate: int = 33
    #: Reset only the stream, where a message is malformed, instead of closing the connection.
    override_stream_error_on_invalid_http_message: bool = False
    #: ``custom_settings_parameters``: announced before the named ones, with which a peer may overrule them.
    custom_settings: tuple[tuple[int, int], ...] = ()
    keepalive: KeepaliveSettings | None = None
    #: Which library Envoy would use: nothing but its name in the stats here.
    use_oghttp2_codec: bool = False
    enable_huffman_encoding: bool = True
    #: Octets of one name or value as it is coded (``max_header_field_size_kb``).
    max_header_field_bytes: int = 64 * 1024
    #: Take METADATA, Envoy's own frame, and so many bytes of it on a stream.
    allow_metadata: bool = False
    max_metadata_size: int = 1024 * 1024
    #: Refuse octets beyond ASCII in values.
    disallow_obs_text: bool = False
    #: ``HttpConnectionManager.max_request_headers_kb`` (or the response's) in bytes.
    max_headers_bytes: int = 60 * 1024
    #: ``HttpProtocolOptions.max_headers_count``; pseudo headers count.
    max_headers_count: int = 100


class KnownFields(list[Field]):
    """The fields of a header block that is kept and may come again.  Nobody changes them."""

    __slots__ = ("changes_table", "checked", "made", "raw")

    def __init__(self, fields: list[Field], checked: tuple[int, int], raw: Any, changes_table: bool) -> None:
        super().__init__(fields)
        #: What the codec found when it checked them.
        self.checked = checked
        #: The same as the decompressor gave it, and whether the block adds to its table.
        self.raw = raw
        self.changes_table = changes_table
        #: What the handler made of them the last time, for the handler.
        self.made: Any = None


class H2Handler(Protocol):
    """What a codec tells its owner, synchronously, from inside ``receive_data``.

    A callback may call any method of the codec except ``receive_data``.  A client's may have one more,
    ``on_whole(stream_id, fields, data)``: a final response with its body in one, both of which are over
    with it, instead of ``on_headers`` and ``on_data``.  The window is given back without ``consume``.
    And anybody's may have ``on_run(stream_id, run)``: several frames of a body that are alike and long
    (:class:`sidecar.codec.h2_stream.H2Run`), instead of ``on_data`` for each.
    """

    def on_headers(self, stream_id: int, fields: list[Field], end_stream: bool) -> None:
        """A request (server) or a final response (client); pseudo headers come first.

        The list is the owner's, unless it is :class:`KnownFields`.
        """

    def on_informational(self, stream_id: int, fields: list[Field]) -> None:
        """A 1xx response (client)."""

    def on_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool, flow_bytes: int) -> None:
        """Body bytes.  ``flow_bytes`` (data and padding) are owed to ``consume`` once they are used."""

    def on_trailers(self, stream_id: int, fields: list[Field]) -> None:
        """Trailers; the peer's half is over."""

    def on_reset(self, stream_id: int, error_code: int, remote: bool) -> None:
        """The stream is gone.  ``remote`` False: the codec found a stream error and reset it.

        ``codec.details`` then holds Envoy's response code details.
        """

    def on_metadata(self, stream_id: int, pairs: list[Field]) -> None:
        """METADATA on a stream that is open, where the settings allow it; an empty one is no pairs."""

    def on_partial_head(self, stream_id: int) -> None:
        """A header block began whose end is still to come; ``codec.pending_head`` tells until when."""

    def on_window(self, stream_id: int) -> None:
        """More may be sent: on this stream, or, for 0, on the connection."""

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        """The peer will not take new streams; those above ``last_stream_id`` were reset just before."""

    def on_pong(self) -> None:
        """A PING of ours was answered."""

    def on_settings(self) -> None:
        """The peer's settings changed (windows were told one by one)."""


class H2Codec(Protocol):
    """What both codecs offer."""

    #: Envoy's response code details of the last stream or connection error.
    details: str

    @property
    def can_open(self) -> bool: ...
    @property
    def open_stream_count(self) -> int: ...
    @property
    def peer_max_concurrent_streams(self) -> int: ...
    @property
    def has_output(self) -> bool: ...
    @property
    def pending_head(self) -> int: ...
    def receive_data(self, data: bytes) -> None: ...
    def take_output(self) -> bytes: ...
    def take_pieces(self) -> list[bytes | memoryview]: ...
    def open_stream(self) -> int: ...
    def send_headers(self, stream_id: int, fields: Sequence[Field], end_stream: bool) -> None: ...
    def send_whole(self, stream_id: int, fields: tuple[Field, ...], data: bytes) -> bool: ...
    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool) -> None: ...
    def send_chunks(
        self, stream_id: int, chunks: list[bytes | memoryview], size: int, end_stream: bool
    ) -> None: ...
    def send_run(self, stream_id: int, run: H2Run, count: int, end_stream: bool) -> None: ...
    def send_trailers(self, stream_id: int, fields: list[Field]) -> None: ...
    def send_metadata(self, stream_id: int, pairs: list[Field]) -> None: ...
    def send_window(self, stream_id: int) -> int: ...
    def consume(self, stream_id: int, flow_bytes: int) -> None: ...
    def reset_stream(self, stream_id: int, error_code: int) -> None: ...
    def reset_ended(self, stream_id: int, error_code: int) -> None: ...
    def goaway(self, error_code: int, *, notice: bool = False) -> None: ...
    def ping(self, opaque: bytes) -> None: ...
    def is_closed(self, stream_id: int) -> bool: ...
    def let_go(self) -> None: ...
