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
        text, _, extension = line[:-2].partition(b";")
        text = text.rstrip(b" \t")
        if not text or len(text) > 16 or text.strip(b"0123456789abcdefABCDEF"):
            raise RemoteProtocolError("invalid chunk size")
        if _BAD_VALUE(extension):
            raise RemoteProtocolError("invalid character in a chunk extension")
        return int(text, 16)

    def _trailers_end(self, data: bytes, position: int) -> int:
        """Read the trailer section at ``position``: the offset behind it, or -1 when it is incomplete."""
        if data.startswith(b"\r\n", position):
            return position + 2
        end = data.find(b"\r\n\r\n", position)
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
