"""Chunked bodies (RFC 9112 §7.1), sans-I/O.

Stricter than Envoy's decoder where that one guesses: a chunk ends with its own CRLF and nothing else
(docs/envoy-differences.md).
"""

from __future__ import annotations

import re
from typing import Final

from sidecar.codec.h1_lines import lower_name
from sidecar.core.errors import RemoteProtocolError
from sidecar.core.headers import HeaderMap

__all__ = ["ChunkedDecoder"]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
#: The end of a trailer section, bare line feeds or not.
_END = re.compile(rb"\n\r?\n").search


class ChunkedDecoder:
    """Takes a chunked body apart (RFC 9112 §7.1).  Extensions are skipped, trailers kept.

    ``feed`` gives the payload found in the data; then ``done`` tells whether the body is over,
    ``rest`` what follows it and ``trailers`` its trailer section (None without one).  Once ``error`` is set,
    raising it is all that is left.
    """

    __slots__ = (
        "_buffer",
        "_in_trailers",
        "_left",
        "_max_trailers",
        "_max_trailers_bytes",
        "_need_crlf",
        "done",
        "error",
        "rest",
        "trailers",
    )

    _MAX_LINE: Final = 4096

    def __init__(self, max_trailers_bytes: int = 61440, max_trailers: int = 0) -> None:
        #: Bytes and lines of the trailer section; 0 lines for no limit (nobody keeps them).
        self._max_trailers_bytes = max_trailers_bytes
        self._max_trailers = max_trailers
        self._buffer = b""
        self._left = 0
        self._need_crlf = False
        self._in_trailers = False
        self.done = False
        #: Why the trailers cannot be read, where payload in front of them had to be given first.
        self.error: RemoteProtocolError | None = None
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
                try:
                    end = self._trailers_end(data, position)
                except RemoteProtocolError as error:
                    if not out:
                        raise
                    # What came before it is still handed on, as Envoy does.
                    self.error = error
                    return b"".join(out)
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
        text, _, extension = line[:-2].partition(b";")
        text = text.rstrip(b" \t")
        if not text or len(text) > 20 or text.strip(b"0123456789abcdefABCDEF"):
            raise RemoteProtocolError("invalid chunk size")
        if b"\r" in extension:
            raise RemoteProtocolError("bare CR in a chunk extension")
        size = int(text, 16)
        if size >> 64:
            raise RemoteProtocolError("chunk size out of range")
        return size

    def _trailers_end(self, data: bytes, position: int) -> int:
        """Read the trailer section at ``position``: the offset behind it, or -1 when it is incomplete."""
        if data.startswith(b"\r\n", position):
            return position + 2
        if data.startswith(b"\n", position):
            return position + 1
        match = _END(data, position)
        if (len(data) if match is None else match.start()) - position > self._max_trailers_bytes:
            raise RemoteProtocolError("trailers too large", status=431, details="http1.headers_too_large")
        if match is None:
            return -1
        self.trailers = self._read_trailers(data[position : match.start()])
        return match.end()

    def _read_trailers(self, section: bytes) -> HeaderMap:
        """The fields of a trailer section without its last line end; lines may end in a bare LF."""
        trailers = HeaderMap()
        for line in section.split(b"\n"):
            name, colon, value = (line[:-1] if line[-1:] == b"\r" else line).partition(b":")
            value = value.strip(b" \t")
            if not colon or not _TOKEN(name) or _BAD_VALUE(value):
                raise RemoteProtocolError("invalid trailer field")
            trailers.add(lower_name(name), value)
        if self._max_trailers and len(trailers.fields) > self._max_trailers:
            raise RemoteProtocolError("too many trailers", status=431, details="http1.too_many_headers")
        return trailers
