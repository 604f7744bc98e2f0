"""HTTP/1 heads and chunked bodies, sans-I/O (RFC 9112).

llhttp (httptools) parses heads only: :meth:`RequestParser.parse` gets exactly one head.  A head whose
every line is plain is read by :mod:`sidecar.codec.h1_lines` instead, which costs half of it.  Bodies of
known length go around it, chunked ones through :class:`ChunkedDecoder`.  llhttp is stricter than Envoy's
parser in two places that real clients need, bare LF and folded lines; a head that it refuses for
one of these is rewritten as Envoy reads it and parsed once more, so that the common head pays nothing.

Framing rules are Envoy's: Content-Length beside Transfer-Encoding is refused, a repeated Content-Length
too, and any coding but ``chunked`` is answered 501.
"""

from __future__ import annotations

import re
from typing import Final

import httptools

from sidecar.codec.h1_lines import LineTable
from sidecar.core.errors import RemoteProtocolError
from sidecar.core.headers import Field, HeaderMap

__all__ = ["CRLF2", "ChunkedDecoder", "RequestParser", "ResponseParser", "encode_fields", "find_head_end", "reason_phrase"]

CRLF2: Final = b"\r\n\r\n"

_HEAD_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"[ \t]*\r?\n[ \t]+")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search

# Raw name → lower-case name: bounded, since names come from the peer.
_LOWER: dict[bytes, bytes] = {}
_LOWER_LIMIT = 4096

_FRAMING = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"upgrade",
        b"expect",
        b"te",
        b"http2-settings",
    }
)


_table = LineTable()
# First lines seen before → (method, target, minor version), and → (status, minor version).
_request_lines: dict[bytes, tuple[bytes, bytes, int]] = {}
_status_lines: dict[bytes, tuple[int, int]] = {}
_FIRST_LINES_LIMIT = 2048
_REQUEST_LINE = re.compile(
    rb"(GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH) (/[!\"$-~]*) HTTP/1\.([01])"
).fullmatch
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?").fullmatch


def lower_name(raw: bytes) -> bytes:
    """``raw`` in lower case, through a bounded cache."""
    name = _LOWER.get(raw)
    if name is None:
        name = raw.lower()
        if len(_LOWER) < _LOWER_LIMIT:
            _LOWER[raw] = name
    return name


def find_head_end(data: bytes) -> int:
    """Where the first head in ``data`` ends (the offset behind its empty line), or -1."""
    end = data.find(CRLF2)
    if end >= 0:
        return end + 4  # a bare-LF head in front of it is found out by the parser
    match = _HEAD_END.search(data)
    return -1 if match is None else match.end()


def _as_envoy_reads(head: bytes) -> bytes | None:
    """``head`` with folded lines joined and bare LFs completed, or None when it has neither."""
    start_end = head.find(b"\n", len(head) - len(head.lstrip(b"\r\n")))
    body = _FOLD.sub(b" ", head[start_end + 1 :])
    fresh = _BARE_LF.sub(b"\r\n", head[: start_end + 1] + body)
    return None if fresh == head else fresh


class _HeadParser:
    """What both directions share: fields, and those that frame the message."""

    __slots__ = (
        "_parser",
        "close",
        "complete",
        "connection_tokens",
        "content_length",
        "expect_continue",
        "fields",
        "head_done",
        "host",
        "index",
        "is_chunked",
        "keep_alive_token",
        "raw_target",
        "trailing_space",
        "upgrade",
    )

    def __init__(self) -> None:
        self._parser: httptools.HttpRequestParser | httptools.HttpResponseParser | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the last head."""
        self.fields: list[Field] = []
        #: ``dict(fields)`` where it is known already, else None.
        self.index: dict[bytes, bytes] | None = None
        self.host: bytes | None = None
        self.raw_target = b""
        #: The declared body length, -1 when there is none.
        self.content_length = -1
        self.is_chunked = False
        self.close = False
        self.keep_alive_token = False
        self.upgrade: bytes | None = None
        self.expect_continue = False
        self.connection_tokens: tuple[bytes, ...] = ()
        self.head_done = False
        self.complete = False

    # httptools callbacks ------------------------------------------------------------------------
    def on_url(self, url: bytes) -> None:
        self.raw_target += url

    def on_header(self, raw: bytes, value: bytes) -> None:
        try:
            name = _LOWER[raw]
        except KeyError:
            name = lower_name(raw)
        if self.trailing_space:
            value = value.rstrip(b" \t")
        if name in _FRAMING:
            if name == b"host":
                host = self.host
                self.host = value if host is None else host + b"," + value
                return
            self._framing(name, value)
            if name not in _KEPT_FRAMING:
                return
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.head_done = True

    def on_message_complete(self) -> None:
        self.complete = True

    def _framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            # llhttp has checked digits, range and repetition.
            self.content_length = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise RemoteProtocolError(
                    "unsupported transfer encoding",
                    status=501,
                    details="http1.invalid_transfer_encoding",
                )
            self.is_chunked = True
        elif name == b"connection":
            if value == b"keep-alive":
                self.keep_alive_token = True
                return
            for token in value.lower().split(b","):
                token = token.strip()
                if token == b"close":
                    self.close = True
                elif token == b"keep-alive":
                    self.keep_alive_token = True
                elif token:
                    self.connection_tokens += (token,)
        elif name == b"proxy-connection":
            for token in value.lower().split(b","):
                if token.strip() == b"close":
                    self.close = True
        elif name == b"upgrade":
            self.upgrade = value
        elif name == b"expect":
            self.expect_continue = value.lower() == b"100-continue"

    # ------------------------------------------------------------------------------------------
    def _make(self) -> httptools.HttpRequestParser | httptools.HttpResponseParser:
        raise NotImplementedError

    def _read_fields(self, lines: list[bytes]) -> bool:
        """Take the fields from plain lines; False leaves the head to llhttp."""
        fields = _table.read(lines)
        if fields is None:
            return False
        index = dict(fields)
        special = _FRAMING.intersection(index)
        if special:
            if len(index) != len(fields):
                return False  # repeated fields beside framing: llhttp knows the rules
            for name in special:
                value = index[name]
                if name == b"host":
                    self.host = value
                else:
                    if name == b"content-length":
                        if not value.isdigit() or len(value) > 18:
                            return False
                    elif name == b"upgrade" or name == b"transfer-encoding":
                        return False
                    self._framing(name, value)
                    if name in _KEPT_FRAMING:
                        continue
                del index[name]
                fields.remove((name, value))
        self.fields = fields
        self.index = index
        return True

    def _feed(self, head: bytes) -> httptools.HttpRequestParser | httptools.HttpResponseParser:
        """Parse exactly one head (with its empty line); the parser that did it.

        Raises: RemoteProtocolError (400, or 501 for a transfer coding that is not chunked).
        """
        # Values come without leading blanks; trailing ones are rare enough to be looked for once.
        self.trailing_space = b" \r\n" in head or b"\t\r\n" in head
        parser = self._parser
        if parser is None:
            parser = self._make()
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self._parser = None
        except httptools.HttpParserError as error:
            self._parser = None
            parser = self._feed_again(head, error)
        else:
            # With a body ahead the parser expects that body, and behind "close" nothing: take a fresh one then.
            is_reusable = self.complete and not self.close and parser.should_keep_alive()
            self._parser = parser if is_reusable else None
        if not self.head_done:
            raise RemoteProtocolError("incomplete head")
        return parser

    def _feed_again(
        self, head: bytes, error: httptools.HttpParserError
    ) -> httptools.HttpRequestParser | httptools.HttpResponseParser:
        """What llhttp refused: raise, or parse it as Envoy reads it."""
        _raise_own(error)
        fresh = _as_envoy_reads(head)
        if fresh is None or fresh.find(CRLF2) != len(fresh) - 4:
            raise RemoteProtocolError(str(error)) from error
        self.reset()
        self.trailing_space = True
        parser = self._make()
        try:
            parser.feed_data(fresh)
        except httptools.HttpParserUpgrade:
            return parser
        except httptools.HttpParserError as again:
            _raise_own(again)
            raise RemoteProtocolError(str(again)) from again
        return parser


def _raise_own(error: httptools.HttpParserError) -> None:
    """Raise what a callback of ours raised inside the parser."""
    if isinstance(error, httptools.HttpParserCallbackError):
        cause = error.__context__ or error.__cause__
        if isinstance(cause, RemoteProtocolError):
            raise cause from None


# Framing fields that stay in the message as filters see it (Envoy keeps these in its map).
_KEPT_FRAMING = frozenset({b"content-length", b"te", b"expect"})


class RequestParser(_HeadParser):
    """Parses request heads.  One object serves a connection; ``reset`` before each head."""

    __slots__ = ("method", "minor_version")

    def __init__(self) -> None:
        super().__init__()
        self.method = b""
        self.minor_version = 1

    def _make(self) -> httptools.HttpRequestParser:
        return httptools.HttpRequestParser(self)

    def parse(self, head: bytes) -> None:
        """Parse one request head; then method, target, version, fields and framing are valid.

        Raises: RemoteProtocolError.
        """
        # A head that ends with a bare LF has no empty line in front of the last: that one is llhttp's.
        lines = head.split(b"\r\n")
        first = lines[0]
        known = _request_lines.get(first)
        if known is None:
            match = _REQUEST_LINE(first)
            if match is not None:
                method, target, minor = match.groups()
                known = (method, target, int(minor))
                if len(_request_lines) >= _FIRST_LINES_LIMIT:
                    _request_lines.clear()
                if len(first) < 256:
                    _request_lines[first] = known
        if known is not None and not lines[-2] and self._read_fields(lines[1:-2]):
            self.method, self.raw_target, self.minor_version = known
            return
        self.reset()
        parser = self._feed(head)
        self.method = parser.get_method()
        # llhttp knows HTTP/0.9, 1.0, 1.1 and 2.0; Envoy reads all but 1.1 as HTTP/1.0.
        end = head.find(b"\r\n")
        self.minor_version = 1 if head.startswith(b" HTTP/1.1", end - 9) or parser.get_http_version() == "1.1" else 0


class ResponseParser(_HeadParser):
    """Parses response heads of an upstream."""

    __slots__ = ("minor_version", "reason", "status")

    def __init__(self) -> None:
        super().__init__()
        self.status = 0
        self.minor_version = 1

    def _make(self) -> httptools.HttpResponseParser:
        return httptools.HttpResponseParser(self)

    def parse(self, head: bytes) -> None:
        """Parse one response head; then status, version, fields and framing are valid.

        Raises: RemoteProtocolError.
        """
        lines = head.split(b"\r\n")
        first = lines[0]
        known = _status_lines.get(first)
        if known is None:
            match = _STATUS_LINE(first)
            if match is not None:
                known = (int(match[2]), int(match[1]))
                if len(_status_lines) >= _FIRST_LINES_LIMIT:
                    _status_lines.clear()
                if len(first) < 256:
                    _status_lines[first] = known
        if known is not None and not lines[-2] and self._read_fields(lines[1:-2]):
            self.status, self.minor_version = known
            return
        self.reset()
        parser = self._feed(head)
        self.status = parser.get_status_code()
        self.minor_version = 1 if head.startswith(b"HTTP/1.1") else 0


class ChunkedDecoder:
    """Takes a chunked body apart (RFC 9112 §7.1).  Extensions are skipped, trailers kept.

    ``feed`` gives the payload found in the data; then ``done`` tells whether the body is over,
    ``rest`` what follows it and ``trailers`` its trailer section (None without one).
    """

    __slots__ = ("_buffer", "_in_trailers", "_left", "_need_crlf", "done", "rest", "trailers")

    _MAX_LINE: Final = 4096
    _MAX_TRAILERS: Final = 61440

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._need_crlf = False
        self._in_trailers = False
        self.done = False
        self.rest = b""
        self.trailers: HeaderMap | None = None

    def feed(self, data: bytes) -> bytes:
        """Payload bytes in ``data``.  Raises: RemoteProtocolError."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        out: list[bytes] = []
        position = 0
        size = len(data)
        while position < size:
            if self._left:
                take = data[position : position + self._left]
                out.append(take)
                position += len(take)
                self._left -= len(take)
                if not self._left:
                    self._need_crlf = True
                continue
            if self._need_crlf:
                if size - position < 2:
                    if data[position : position + 1] != b"\r":
                        raise RemoteProtocolError("chunk without its CRLF")
                    break
                if data[position : position + 2] != b"\r\n":
                    raise RemoteProtocolError("chunk without its CRLF")
                position += 2
                self._need_crlf = False
                continue
            if self._in_trailers:
                end = self._trailers_end(data, position)
                if end < 0:
                    break
                position = end
                self.done = True
                self.rest = data[position:]
                return b"".join(out)
            end = data.find(b"\n", position)
            if (size if end < 0 else end) - position > self._MAX_LINE:
                raise RemoteProtocolError("chunk header too long")
            if end < 0:
                break
            self._left = self._chunk_size(data[position : end + 1])
            position = end + 1
            if not self._left:
                self._in_trailers = True
        self._buffer = data[position:]
        return b"".join(out)

    @staticmethod
    def _chunk_size(line: bytes) -> int:
        if line[-2:] != b"\r\n":
            raise RemoteProtocolError("chunk header ends with a bare LF")
        text, separator, extension = line[:-2].partition(b";")
        text = text.rstrip(b" \t") if separator else text
        if not text or len(text) > 16 or text.strip(b"0123456789abcdefABCDEF"):
            raise RemoteProtocolError("invalid chunk size")
        if _BAD_VALUE(extension):
            raise RemoteProtocolError("invalid character in a chunk extension")
        return int(text, 16)

    def _trailers_end(self, data: bytes, position: int) -> int:
        """Read the trailer section at ``position``: the offset behind it, or -1 when it is incomplete."""
        if data.startswith(b"\r\n", position):
            return position + 2
        end = data.find(CRLF2, position)
        if (len(data) if end < 0 else end) - position > self._MAX_TRAILERS:
            raise RemoteProtocolError("trailers too large", status=431, details="http1.headers_too_large")
        if end < 0:
            return -1
        trailers = HeaderMap()
        for line in data[position:end].split(b"\r\n"):
            name, colon, value = line.partition(b":")
            value = value.strip(b" \t")
            if not colon or not _TOKEN(name) or _BAD_VALUE(value):
                raise RemoteProtocolError("invalid trailer field")
            trailers.add(lower_name(name), value)
        self.trailers = trailers
        return end + 4


def encode_fields(fields: list[Field]) -> bytes:
    """``name: value`` lines, each with its CRLF; empty for no fields."""
    if not fields:
        return b""
    return b"%b\r\n" % b"\r\n".join(map(b": ".join, fields))


_REASONS: dict[int, bytes] = {
    100: b"Continue", 101: b"Switching Protocols", 102: b"Processing", 103: b"Early Hints",
    200: b"OK", 201: b"Created", 202: b"Accepted", 203: b"Non-Authoritative Information", 204: b"No Content",
    205: b"Reset Content", 206: b"Partial Content", 207: b"Multi-Status", 208: b"Already Reported", 226: b"IM Used",
    300: b"Multiple Choices", 301: b"Moved Permanently", 302: b"Found", 303: b"See Other", 304: b"Not Modified",
    305: b"Use Proxy", 307: b"Temporary Redirect", 308: b"Permanent Redirect",
    400: b"Bad Request", 401: b"Unauthorized", 402: b"Payment Required", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 406: b"Not Acceptable", 407: b"Proxy Authentication Required",
    408: b"Request Timeout", 409: b"Conflict", 410: b"Gone", 411: b"Length Required",
    412: b"Precondition Failed", 413: b"Payload Too Large", 414: b"URI Too Long", 415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable", 417: b"Expectation Failed", 421: b"Misdirected Request",
    422: b"Unprocessable Entity", 423: b"Locked", 424: b"Failed Dependency", 426: b"Upgrade Required",
    428: b"Precondition Required", 429: b"Too Many Requests", 431: b"Request Header Fields Too Large",
    500: b"Internal Server Error", 501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable",
    504: b"Gateway Timeout", 505: b"HTTP Version Not Supported", 506: b"Variant Also Negotiates",
    507: b"Insufficient Storage", 508: b"Loop Detected", 510: b"Not Extended",
    511: b"Network Authentication Required",
}  # fmt: skip


def reason_phrase(status: int) -> bytes:
    """The reason phrase that Envoy writes (``CodeUtility::toString``)."""
    return _REASONS.get(status, b"Unknown")
