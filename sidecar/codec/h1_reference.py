"""HTTP/1 over h11, the second opinion (``--http1-codec h11``): the interface of :mod:`sidecar.codec.h1`.

h11 takes every head and every chunk apart.  What is here makes it give Envoy's answer: lines are made plain
as Envoy reads them (h11 knows fewer ways to write one), and what h11 would take and Envoy does not is
refused: control characters, a Content-Length that is repeated, a list, or beside Transfer-Encoding, targets
that are no URL.
Host is kept away from h11, which refuses its absence and its repetition where Envoy answers for itself.

Where h11 says that a body of another length follows than the rules here say, the message is refused: where
two readings differ lies request smuggling.  tests/fuzz compares with the other codec; it is slow beside it.
"""

from __future__ import annotations

import re
from typing import Any, Final

import h11

from sidecar.codec.h1 import (
    CRLF2,
    RequestParser,
    ResponseParser,
    as_envoy_reads,
    has_control_character,
    plain_request_line,
    plain_status_line,
    unsupported_coding,
    without_length,
)
from sidecar.codec.h1_choice import H1Codec
from sidecar.codec.h1_chunks import ChunkedDecoder
from sidecar.codec.h1_urls import is_url
from sidecar.core.errors import RemoteProtocolError

__all__ = ["H11", "H11ChunkedDecoder", "H11RequestParser", "H11ResponseParser"]

#: Heads come whole and within the limits of their owner.
_NO_LIMIT: Final = 1 << 30
_FRAMING = re.compile(rb"(?i)(?:host|content-length|transfer-encoding)[ \t]*(?=:)").match
_TOO_LONG = RemoteProtocolError("invalid content-length")
_ASK_WITH_UPGRADE = h11.Request(
    method="GET", target="/", headers=[("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "a")]
)


def _split(head: bytes, plain_first_line: Any) -> list[bytes]:
    """The lines of a head as Envoy reads them.  Raises: RemoteProtocolError."""
    fresh = as_envoy_reads(head, plain_first_line)
    if fresh.find(CRLF2) != len(fresh) - 4:
        raise RemoteProtocolError("more than one head")
    lines = fresh[:-4].split(b"\r\n")
    if len(lines) > 1 and lines[1][:1] in b" \t":
        raise RemoteProtocolError("a folded line that continues none")
    if any(map(has_control_character, lines)):
        raise RemoteProtocolError("control character", details="http1.invalid_characters")
    if any(b"\r" in line for line in lines):
        raise RemoteProtocolError("bare CR")
    return lines


class _Framing:
    """The lines that frame a message, looked at before h11 sees them."""

    __slots__ = ("hosts", "length", "lines")

    def __init__(self, lines: list[bytes], *, takes_host: bool) -> None:
        #: Values of Host, in order.
        self.hosts: list[bytes] = []
        #: Content-Length as it came; h11 gets it without zeros in front.
        self.length = b""
        #: What h11 gets.
        self.lines: list[bytes] = []
        lengths = codings = 0
        for line in lines:
            match = _FRAMING(line)
            if match is None or match[0][-1:] in b" \t":
                self.lines.append(line)
                continue
            name = match[0].lower()
            value = line[len(name) + 1 :].strip(b" \t")
            if name == b"host":
                if takes_host:
                    self.hosts.append(value)
                else:
                    self.lines.append(line)
                continue
            if name == b"content-length":
                lengths += 1
                if not value.isdigit() or int(value) >= 1 << 64:
                    raise RemoteProtocolError("invalid content-length")
                self.length = value
                line = line[: len(name) + 1] + b" %d" % int(value)
            else:
                codings += 1
            self.lines.append(line)
        if lengths > 1:
            raise RemoteProtocolError("more than one content-length")
        if lengths and codings:
            raise RemoteProtocolError(
                "content-length beside transfer-encoding",
                details="http1.content_length_and_chunked_not_allowed",
            )


def _refusal(error: h11.RemoteProtocolError) -> RemoteProtocolError:
    if error.error_status_hint == 501:
        return unsupported_coding()
    return RemoteProtocolError(str(error))


class _OverH11:
    """What both directions share: one head through h11, and what it says of the body behind it."""

    __slots__ = ()

    def _ask(self, connection: h11.Connection, data: bytes) -> tuple[Any, bool]:
        """The head, and whether h11 expects a body.  Raises: RemoteProtocolError."""
        try:
            connection.receive_data(data)
            head = connection.next_event()
            if not isinstance(head, h11.Request | h11.Response | h11.InformationalResponse):
                raise RemoteProtocolError("no head")
            if isinstance(head, h11.InformationalResponse):
                return head, False
            return head, connection.next_event() is h11.NEED_DATA
        except h11.RemoteProtocolError as error:
            raise _refusal(error) from error

    def _take(self: Any, event: Any, framing: _Framing, start: int) -> None:
        """The fields that h11 found, behind the first ``start``."""
        for name, value in event.headers.raw_items()[start:]:
            is_length = framing.length and name.lower() == b"content-length"
            self.on_header(name, framing.length if is_length else value)


class H11RequestParser(_OverH11, RequestParser):
    """Request heads, taken apart by h11."""

    __slots__ = ()

    def take(self, data: bytes) -> bytes | None:
        """None: every head goes to ``parse``."""
        return None

    def parse(self, head: bytes) -> None:
        self._clear()
        self._is_dirty = True
        self.trailing_space = False
        method = self.check_method(head)
        if method is None:
            raise RemoteProtocolError("no method")
        if self.take_simple(method, head):
            return
        if self._allow_chunked_length:
            head = without_length(head)
        first, *lines = _split(head, plain_request_line)
        words = first.split(b" ")
        if len(words) > 1 and not is_url(words[1], is_connect=words[0] == b"CONNECT"):
            raise RemoteProtocolError("invalid url")
        framing = _Framing(lines, takes_host=True)
        plain = b"\r\n".join([first, b"Host: a", *framing.lines, b"", b""])
        event, has_body = self._ask(h11.Connection(h11.SERVER, max_incomplete_event_size=_NO_LIMIT), plain)
        self.method = event.method
        self.raw_target = event.target
        self.minor_version = 1 if event.http_version == b"1.1" else 0
        for value in framing.hosts:
            self.on_header(b"host", value)
        self._take(event, framing, 1)
        self.check_end()
        if has_body != (self.is_chunked or self.content_length > 0):
            raise RemoteProtocolError("two readings of the body's length")
        self.head_done = True
        if self.method == b"CONNECT":
            self.check_connect()


class H11ResponseParser(_OverH11, ResponseParser):
    """Response heads, taken apart by h11."""

    __slots__ = ()

    def take(self, data: bytes) -> bytes | None:
        """None: every head goes to ``parse``."""
        return None

    def parse(self, head: bytes) -> None:
        self._clear()
        self._is_dirty = True
        self.trailing_space = False
        if head[:1] in b"\r\n":
            raise RemoteProtocolError("no status line")
        if self._allow_chunked_length:
            head = without_length(head)
        first, *lines = _split(head, plain_status_line)
        framing = _Framing(lines, takes_host=False)
        # A request that asks for everything, so that no answer is out of place.
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_NO_LIMIT)
        connection.send(_ASK_WITH_UPGRADE)
        connection.send(h11.EndOfMessage())
        event, has_body = self._ask(connection, b"\r\n".join([first, *framing.lines, b"", b""]))
        self.status = event.status_code
        self.minor_version = 1 if event.http_version == b"1.1" else 0
        self._take(event, framing, 0)
        self.check_end()
        if has_body and self.content_length == 0 and not self.is_chunked:
            raise RemoteProtocolError("two readings of the body's length")
        self.head_done = True


class H11ChunkedDecoder(ChunkedDecoder):
    """Chunked bodies, taken apart by h11.

    What a line may look like is said by the other decoder, and h11 gets the size alone: it knows no blanks in
    front of an extension.  The trailer section is the other's too: h11 joins folded lines and judges names
    that mean nothing here.
    """

    __slots__ = ("_connection", "_owed")

    def __init__(self, max_trailers_bytes: int = 61440, max_trailers: int = 0) -> None:
        super().__init__(max_trailers_bytes, max_trailers)
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_NO_LIMIT)
        self._connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._connection.next_event()
        #: Payload of this chunk that h11 has not given yet; ``_left`` counts the line end behind it, too.
        self._owed = 0

    def feed(self, data: bytes) -> bytes:
        if self._in_trailers:
            return super().feed(data)
        data = self._buffer + data
        self._buffer = b""
        out: list[bytes] = []
        position = 0
        while position < len(data):
            if self._left:
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                self._ask(piece, out)
                continue
            end = data.find(b"\n", position)
            if (len(data) if end < 0 else end) - position > self._MAX_LINE:
                raise RemoteProtocolError("chunk header too long")
            if end < 0:
                self._buffer = data[position:]
                break
            self._owed = self._chunk_size(data[position : end + 1])
            position = end + 1
            self._left = self._owed + 2
            if not self._owed:
                self._left = 0
                self._in_trailers = True
                try:
                    super().feed(data[position:])
                except RemoteProtocolError as error:
                    if not out:
                        raise
                    self.error = error
                break
            self._connection.receive_data(b"%x\r\n" % self._owed)
        return b"".join(out)

    def _ask(self, piece: bytes, out: list[bytes]) -> None:
        """Let h11 take the payload and the line end out of ``piece``.  Raises: RemoteProtocolError."""
        connection = self._connection
        try:
            connection.receive_data(piece)
            while isinstance(event := connection.next_event(), h11.Data):
                out.append(bytes(event.data))
                self._owed -= len(event.data)
        except h11.RemoteProtocolError as error:
            raise _refusal(error) from error
        if event is not h11.NEED_DATA or (not self._left and self._owed):
            raise RemoteProtocolError("two readings of a chunk")


H11 = H1Codec(H11RequestParser, H11ResponseParser, H11ChunkedDecoder)
