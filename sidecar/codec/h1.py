"""HTTP/1 heads, sans-I/O (RFC 9112).

llhttp (httptools) parses heads only: :meth:`RequestParser.parse` gets exactly one head.  A head whose
every line is plain is read by :mod:`sidecar.codec.h1_lines` instead, which costs half of it.  Bodies of
known length go around it, chunked ones through :mod:`sidecar.codec.h1_chunks`.  llhttp is stricter than
Envoy's parser in places that real peers need: bare LF, folded lines, blanks and versions in the first
line.  A head that it refuses for one of these is rewritten as Envoy reads it and parsed once more, so
that the common head pays nothing.  Where Envoy's reading is dangerous (a bare CR), llhttp's stands
(docs/envoy-differences.md).

Framing rules are Envoy's: Content-Length beside Transfer-Encoding is refused, a repeated Content-Length
too, and any coding but ``chunked`` is answered 501.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar, Final

import httptools
from mypy_extensions import mypyc_attr

from sidecar.codec.h1_chunks import ChunkedDecoder
from sidecar.codec.h1_lines import LOWER_NAMES, VALUE_BYTES, BlockTable, LineTable, Stem, lower_name
from sidecar.codec.h1_reasons import reason_phrase
from sidecar.codec.h1_urls import is_url
from sidecar.core.errors import RemoteProtocolError
from sidecar.core.headers import Field

__all__ = [
    "CRLF2",
    "ChunkedDecoder",
    "RequestParser",
    "ResponseParser",
    "as_envoy_reads",
    "encode_fields",
    "find_head_end",
    "has_control_character",
    "plain_request_line",
    "plain_status_line",
    "reason_phrase",
    "unsupported_coding",
    "without_length",
]

CRLF2: Final = b"\r\n\r\n"

#: Of a parser that has no head.
_NO_FIELDS: list[Field] = []
_HEAD_END = re.compile(rb"\n\r?\n")
#: A line end in front of a line that goes on: it goes, the blanks stay.
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
#: A line end, bare or not, with the blanks in front of it.
_LINE_END = re.compile(rb"[ \t]*\r?\n")
has_control_character = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]").fullmatch
_LOOSE_STATUS_LINE = re.compile(
    rb"(HTTP/[0-9]\.[0-9])[ \t]+([0-9]{3})(?:[ \t]+([\t -~\x80-\xff]*))?"
).fullmatch

_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r?").fullmatch
_LENGTH_LINE = re.compile(rb"\n[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh]:[^\n]*\n(?![ \t])")
_CHUNKED_LINE = re.compile(rb"(?i)\ntransfer-encoding:[ \t]*chunked[ \t]*\r?\n(?![ \t])").search
#: The method of a request line, behind the empty lines in front of it.
_METHOD = re.compile(rb"[\r\n]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]").match
#: The methods that Envoy's parser knows; all but the last are llhttp's, too.
_METHODS = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY "
    b"OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE "
    b"UNBIND UNLINK UNLOCK UNSUBSCRIBE MSEARCH".split()
)

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
_STEMS = 16
_REQUEST_LINE = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH) (/[!\"$-~]*) HTTP/1\.([01])").fullmatch
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?").fullmatch


def find_head_end(data: bytes) -> int:
    """Where the first head in ``data`` ends (the offset behind its empty line), or -1."""
    match = _HEAD_END.search(data)
    return -1 if match is None else match.end()


def plain_request_line(line: bytes) -> bytes:
    """A request line as Envoy reads it: parts between any blanks; a version that is not 1.1 counts as 1.0."""
    if line[:1] in b" \t":
        return line
    words = [word for word in line.replace(b"\t", b" ").split(b" ") if word]
    if len(words) == 3 and words[2] != b"HTTP/1.1" and _VERSION(words[2]):
        words[2] = b"HTTP/1.0"
    return b" ".join(words)


def plain_status_line(line: bytes) -> bytes:
    """The same for a status line."""
    match = _LOOSE_STATUS_LINE(line)
    if match is None:
        return line
    version = match[1] if match[1] == b"HTTP/1.1" else b"HTTP/1.0"
    return b"%b %b %b" % (version, match[2], match[3] or b"")


def as_envoy_reads(head: bytes, plain_first_line: Callable[[bytes], bytes]) -> bytes:
    """``head`` with a plain first line, folds joined and plain line ends."""
    first, _, rest = head.lstrip(b"\r\n").partition(b"\n")
    first = plain_first_line(first[:-1] if first[-1:] == b"\r" else first)
    return first + b"\r\n" + _LINE_END.sub(b"\r\n", _FOLD.sub(b"", rest))


@mypyc_attr(allow_interpreted_subclasses=True)
class _HeadParser:
    """What both directions share: fields, and those that frame the message."""

    __slots__ = (
        "_allow_chunked_length",
        "_count",
        "_has_unknown_coding",
        "_is_dirty",
        "_max_headers",
        "_parser",
        "_stem",
        "_stem_value",
        "_stems_left",
        "close",
        "complete",
        "connection_tokens",
        "content_length",
        "expect_continue",
        "fields",
        "head_done",
        "hop_fields",
        "host",
        "index",
        "is_chunked",
        "keep_alive_token",
        "raw_target",
        "trailing_space",
        "upgrade",
    )

    #: Blocks of this direction, and the names that are read here instead of being handed on unread.
    _blocks: ClassVar[BlockTable]
    _special: ClassVar[frozenset[bytes]] = _FRAMING

    def __init__(self, max_headers: int = 100, *, allow_chunked_length: bool = False) -> None:
        self._allow_chunked_length = allow_chunked_length
        self._parser: httptools.HttpRequestParser | httptools.HttpResponseParser | None = None
        #: Most header lines of a head, those for the framing among them.
        self._max_headers = max_headers
        #: The last block that came with one new line; so often it may be another one.
        self._stem: Stem | None = None
        #: What its changing line said last.
        self._stem_value = b""
        self._stems_left = _STEMS
        self._clear()

    def reset(self) -> None:
        """Forget the last head.  An ordinary one is left to the next: it sets what this would clear."""
        if self._is_dirty:
            self._clear()

    def _clear(self) -> None:
        self._is_dirty = False
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
        self._has_unknown_coding = False
        self.connection_tokens: tuple[bytes, ...] = ()
        #: ``connection`` and ``upgrade`` of a head that has the latter, with their places among the fields.
        self.hop_fields: list[tuple[int, Field]] | None = None
        self.head_done = False
        self.complete = False
        self._count = 0

    def let_go(self) -> None:
        """Keep nothing of the last head: nobody knows when the next one comes."""
        self.fields = _NO_FIELDS
        self.index = None
        self.host = None

    # httptools callbacks ------------------------------------------------------------------------
    def on_url(self, url: bytes) -> None:
        self.raw_target += url

    def on_header(self, raw: bytes, value: bytes) -> None:
        try:
            name = LOWER_NAMES[raw]
        except KeyError:
            name = lower_name(raw)
        self._count += 1
        if self.trailing_space:
            value = value.rstrip(b" \t")
        if name in self._special:
            if name == b"host":
                host = self.host
                self.host = value if host is None else host + b"," + value
                return
            self._framing(name, value)
            if name not in _KEPT_FRAMING:
                if name in _HOP_FIELDS:
                    if self.hop_fields is None:
                        self.hop_fields = []
                    self.hop_fields.append((len(self.fields), (name, value)))
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
            if value.lower() == b"chunked" and not self.is_chunked:
                self.is_chunked = True
            else:
                self._is_dirty = self._has_unknown_coding = True
        elif name == b"connection":
            if value == b"keep-alive":
                self.keep_alive_token = True
                return
            self._is_dirty = True
            for token in value.lower().split(b","):
                token = token.strip()
                if token == b"close":
                    self.close = True
                elif token == b"keep-alive":
                    self.keep_alive_token = True
                elif token:
                    self.connection_tokens += (token,)
        elif name == b"proxy-connection":
            self._is_dirty = True
            for token in value.lower().split(b","):
                if token.strip() == b"close":
                    self.close = True
        elif name == b"upgrade":
            self.upgrade = value if self.upgrade is None else self.upgrade + b"," + value
        elif name == b"expect":
            self._is_dirty = True
            self.expect_continue = value.lower() == b"100-continue"

    # ------------------------------------------------------------------------------------------
    def _make(self) -> httptools.HttpRequestParser | httptools.HttpResponseParser:
        raise NotImplementedError

    def _plain_first_line(self, line: bytes) -> bytes:
        raise NotImplementedError

    def _take_block(self, block: bytes) -> bool:
        """Take the fields from a header block that is plain throughout; False leaves the head to llhttp.

        An ordinary block sets the attributes that this sets and no other: those are as ``reset`` left them.
        """
        content = self._blocks.get(block)
        if content is not None:
            fields, index, self.host, self.content_length, self.keep_alive_token, self.is_chunked = content
            self.fields = fields.copy()
            self.index = index.copy()
            return len(fields) <= self._max_headers
        stem = self._stem
        if stem is not None and block.startswith(stem.head) and block.endswith(stem.tail):
            value = block[len(stem.head) : len(block) - len(stem.tail)]
            if value and value[0] > 0x20 and value[-1] > 0x20 and not value.translate(None, VALUE_BYTES):
                fields, index, named, length, keep_alive, is_chunked = stem.content
                self.fields = fields = fields.copy()
                self.index = index = index.copy()
                self.host = named
                self.content_length = length
                self.keep_alive_token = keep_alive
                self.is_chunked = is_chunked
                name = stem.name
                index[name] = value
                fields[stem.at] = (name, value)
                if value == self._stem_value:
                    content = (fields.copy(), index.copy(), named, length, keep_alive, is_chunked)
                    self._blocks.keep(block, content)
                self._stem_value = value
                return len(fields) <= self._max_headers
        lines = block.split(b"\r\n") if block else []
        found = _table.read(lines)
        if found is None or len(found) > self._max_headers:
            return False
        index = dict(found)
        host: bytes | None = None
        self.content_length = -1
        self.keep_alive_token = False
        self.is_chunked = False
        special = self._special.intersection(index)
        if special:
            if len(index) != len(found):
                return False  # repeated fields beside framing: llhttp knows the rules
            for name in special:
                value = index[name]
                if name == b"host":
                    host = value
                else:
                    if name == b"content-length":
                        if not value.isdigit() or len(value) > 18:
                            return False
                    elif name == b"transfer-encoding":
                        if value != b"chunked" or b"content-length" in index:
                            return False
                    elif name == b"upgrade":
                        return False
                    self._framing(name, value)
                    if name in _KEPT_FRAMING:
                        continue
                del index[name]
                found.remove((name, value))
        self.host = host
        self.fields = found
        self.index = index
        gap = _table.gap
        learns = gap >= 0 and self._stems_left > 0
        if (learns or self._blocks.is_wanted(block)) and not self._is_dirty:
            content = (
                found.copy(),
                index.copy(),
                host,
                self.content_length,
                self.keep_alive_token,
                self.is_chunked,
            )
            if learns:
                self._stems_left -= 1
                if lines[gap].partition(b":")[0].lower() not in self._special:
                    self._stem = Stem.of(lines, gap, content)
            else:
                self._blocks.keep(block, content)
        return True

    def _feed(self, head: bytes) -> httptools.HttpRequestParser | httptools.HttpResponseParser:
        """Parse exactly one head (with its empty line); the parser that did it.

        Raises: RemoteProtocolError (400, or 501 for a transfer coding that is not chunked).
        """
        self._clear()
        self._is_dirty = True
        if self._allow_chunked_length:
            head = without_length(head)
        # Values come without leading blanks; trailing ones are rare enough to be looked for once.
        self.trailing_space = b" \r\n" in head or b"\t\r\n" in head
        parser = self._parser
        if parser is None:
            parser = self._make()
        refused: httptools.HttpParserError | None = None
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self._parser = None
        except httptools.HttpParserError as error:
            self._parser = None
            # llhttp stops behind a 101 whose ``connection`` does not name the upgrade; Envoy does not.
            if not (self.head_done and error.args == ("Pause on CONNECT/Upgrade",)):
                refused = error
        else:
            # With a body ahead it expects that body, and behind "close" nothing: take a fresh one then.
            is_reusable = self.complete and not self.close and parser.should_keep_alive()
            self._parser = parser if is_reusable else None
        if refused is not None:
            # Not inside the handler: a second error would get the first for its context, and lose its cause.
            parser = self._feed_again(head, refused)
        if not self.head_done:
            raise RemoteProtocolError("incomplete head")
        self.check_end()
        return parser

    def check_end(self) -> None:
        """What only the whole head tells: an unknown transfer coding, too many lines.

        Raises: RemoteProtocolError.
        """
        if self._has_unknown_coding:
            raise unsupported_coding()
        if self._count > self._max_headers:
            raise RemoteProtocolError("too many headers", status=431, details="http1.too_many_headers")

    def _feed_again(
        self, head: bytes, error: httptools.HttpParserError
    ) -> httptools.HttpRequestParser | httptools.HttpResponseParser:
        """What llhttp refused: raise, or parse it as Envoy reads it."""
        _raise_own(error)
        fresh = as_envoy_reads(head, self._plain_first_line)
        if fresh == head or fresh.find(CRLF2) != len(fresh) - 4:
            raise _refusal(error, head) from error
        self._clear()
        self._is_dirty = True
        self.trailing_space = True
        parser = self._make()
        try:
            parser.feed_data(fresh)
        except httptools.HttpParserUpgrade:
            return parser
        except httptools.HttpParserError as again:
            if self.head_done and again.args == ("Pause on CONNECT/Upgrade",):
                return parser
            _raise_own(again)
            raise _refusal(again, head) from again
        return parser


def without_length(head: bytes) -> bytes:
    """``head`` without its Content-Length, where there is chunked beside it (``allow_chunked_length``)."""
    lengths = _LENGTH_LINE.findall(head)
    return head.replace(lengths[0], b"\n", 1) if len(lengths) == 1 and _CHUNKED_LINE(head) else head


def _raise_own(error: httptools.HttpParserError) -> None:
    """Raise what a callback of ours raised inside the parser."""
    if isinstance(error, httptools.HttpParserCallbackError):
        cause = error.__context__ or error.__cause__
        if isinstance(cause, RemoteProtocolError):
            raise cause from None


def _refusal(error: httptools.HttpParserError, head: bytes) -> RemoteProtocolError:
    """What llhttp refused, as Envoy answers it: 501 for transfer codings that it does not know."""
    reason = str(error)
    if "Transfer-Encoding" in reason:
        plain = _FOLD.sub(b"", head)
        if "Content-Length" not in reason and not _LENGTH_LINE.search(plain) and _has_fields(head):
            return unsupported_coding()
        return RemoteProtocolError(reason, details="http1.content_length_and_chunked_not_allowed")
    if "method" not in reason and has_control_character(head):
        return RemoteProtocolError(reason, details="http1.invalid_characters")
    return RemoteProtocolError(reason)


def _has_fields(head: bytes) -> bool:
    """Whether every line but the first is a field: one that is none is worse than an unknown coding."""
    head = head.lstrip(b"\r\n")
    end = _HEAD_END.search(head)
    lines = _FOLD.sub(b"", head if end is None else head[: end.start()]).split(b"\n")[1:]
    return all(map(_FIELD, lines))


def unsupported_coding() -> RemoteProtocolError:
    return RemoteProtocolError(
        "unsupported transfer encoding", status=501, details="http1.invalid_transfer_encoding"
    )


# Framing fields that stay in the message as filters see it (Envoy keeps these in its map).
_KEPT_FRAMING = frozenset({b"content-length", b"te", b"expect"})
# Those that an upgrade takes along.
_HOP_FIELDS = frozenset({b"connection", b"upgrade"})


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestParser(_HeadParser):
    """Parses request heads.  One object serves a connection; ``reset`` before each head."""

    __slots__ = ("_allow_custom_methods", "method", "minor_version")

    _blocks = BlockTable()

    def __init__(
        self,
        max_headers: int = 100,
        *,
        allow_custom_methods: bool = False,
        allow_chunked_length: bool = False,
    ) -> None:
        super().__init__(max_headers, allow_chunked_length=allow_chunked_length)
        self._allow_custom_methods = allow_custom_methods
        self.method = b""
        self.minor_version = 1

    def _make(self) -> httptools.HttpRequestParser:
        return httptools.HttpRequestParser(self)

    def _plain_first_line(self, line: bytes) -> bytes:
        return plain_request_line(line)

    def take(self, data: bytes) -> bytes | None:
        """Take a plain head from the front of ``data``: what stands behind it, or None for any other.

        After None, ``parse`` is to be asked.
        """
        head, end, rest = data.partition(CRLF2)
        first, _, block = head.partition(b"\r\n")
        known = _request_lines.get(first)
        if known is None:
            match = _REQUEST_LINE(first)
            if match is None:
                return None
            method, target, minor = match.groups()
            known = (method, target, int(minor))
            if len(_request_lines) >= _FIRST_LINES_LIMIT:
                _request_lines.clear()
            if len(first) < 256:
                _request_lines[first] = known
        if not end or not self._take_block(block):
            return None
        self.method, self.raw_target, self.minor_version = known
        return rest

    def check_method(self, head: bytes) -> bytes | None:
        """The method, None where the line does not begin with a token.  Raises: RemoteProtocolError."""
        found = _METHOD(head)
        if found is None:
            return None
        method = found[1]
        if method not in _METHODS and not self._allow_custom_methods:
            raise RemoteProtocolError("invalid method")
        return method

    def parse(self, head: bytes) -> None:
        """Parse one request head; then method, target, version, fields and framing are valid.

        Raises: RemoteProtocolError.
        """
        if self.take(head) == b"":
            return
        method = self.check_method(head)
        if method is not None and self.take_simple(method, head):
            return
        if method is not None and (method not in _METHODS or method == b"MSEARCH"):
            # One that llhttp does not know reads like any other.
            at = head.index(method)
            head = b"%bPUT%b" % (head[:at], head[at + len(method) :])
        parser = self._feed(head)
        self.method = parser.get_method() if method is None else method
        # llhttp knows HTTP/0.9, 1.0, 1.1 and 2.0; Envoy reads all but 1.1 as HTTP/1.0.
        version = parser.get_http_version()
        self.minor_version = 1 if version == "1.1" else 0
        words = head.lstrip(b"\r\n").partition(b"\n")[0].split()
        if len(words) < 3 or words[2][:5] != b"HTTP/":
            raise RemoteProtocolError("not HTTP")  # llhttp knows RTSP and ICE
        if self.method == b"CONNECT":
            self.check_connect()

    def take_simple(self, method: bytes, head: bytes) -> bool:
        """Take a request of HTTP/0.9, whose first line is the whole of it; False for any other.

        Raises: RemoteProtocolError, also for a version that nothing parts from the target.
        """
        line = head.lstrip(b"\r\n").partition(b"\n")[0].rstrip(b"\r").replace(b"\t", b" ")
        words = [word for word in line.split(b" ") if word]
        if len(words) != 2:
            return False
        target = words[1]
        if not is_url(target, is_connect=method == b"CONNECT") or target.endswith(b"HTTP/1.1"):
            raise RemoteProtocolError("invalid url")
        self._clear()
        self._is_dirty = True
        self.method = method
        self.raw_target = target
        self.minor_version = 0
        self.close = True
        return True

    def check_connect(self) -> None:
        """A CONNECT has no body (RFC 9110 §9.3.6).  Raises: RemoteProtocolError."""
        if self.is_chunked:
            raise unsupported_coding()
        if self.content_length > 0:
            raise RemoteProtocolError("CONNECT with a body", details="http1.body_disallowed")
        if self.content_length == 0:
            self.fields = [field for field in self.fields if field[0] != b"content-length"]
            self.content_length = -1


@mypyc_attr(allow_interpreted_subclasses=True)
class ResponseParser(_HeadParser):
    """Parses response heads of an upstream."""

    __slots__ = ("minor_version", "reason", "status")

    _blocks = BlockTable()
    #: ``host`` means nothing in a response: it is a field like any other.
    _special = _FRAMING - {b"host"}

    def __init__(self, max_headers: int = 100, *, allow_chunked_length: bool = False) -> None:
        super().__init__(max_headers, allow_chunked_length=allow_chunked_length)
        self.status = 0
        self.minor_version = 1

    def _make(self) -> httptools.HttpResponseParser:
        return httptools.HttpResponseParser(self)

    def _plain_first_line(self, line: bytes) -> bytes:
        return plain_status_line(line)

    def take(self, data: bytes) -> bytes | None:
        """Take a plain head from the front of ``data``: what stands behind it, or None for any other.

        After None, ``parse`` is to be asked.
        """
        head, end, rest = data.partition(CRLF2)
        first, _, block = head.partition(b"\r\n")
        known = _status_lines.get(first)
        if known is None:
            match = _STATUS_LINE(first)
            if match is None:
                return None
            known = (int(match[2]), int(match[1]))
            if len(_status_lines) >= _FIRST_LINES_LIMIT:
                _status_lines.clear()
            if len(first) < 256:
                _status_lines[first] = known
        if not end or not self._take_block(block):
            return None
        self.status, self.minor_version = known
        return rest

    def parse(self, head: bytes) -> None:
        """Parse one response head; then status, version, fields and framing are valid.

        Raises: RemoteProtocolError.
        """
        if self.take(head) == b"":
            return
        if head[:1] in b"\r\n" or has_control_character(head[: head.find(b"\n")]):
            raise RemoteProtocolError("no status line")
        parser = self._feed(head)
        self.status = parser.get_status_code()
        if self.status < 100:
            raise RemoteProtocolError("no status")
        self.minor_version = 1 if head.startswith(b"HTTP/1.1") else 0


def encode_fields(fields: list[Field]) -> bytes:
    """``name: value`` lines, each with its CRLF; empty for no fields."""
    if not fields:
        return b""
    return b"%b\r\n" % b"\r\n".join(map(b": ".join, fields))
