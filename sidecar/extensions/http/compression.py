"""Compressors and decompressors of bodies by content coding: gzip, br and zstd, a piece at a time."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import brotli
import zstandard

__all__ = [
    "BrotliCompressor",
    "BrotliDecompressor",
    "Coding",
    "Compressor",
    "DecodingFailed",
    "Decompressor",
    "GzipCompressor",
    "GzipDecompressor",
    "SwellLimit",
    "ZstdCompressor",
    "ZstdDecompressor",
]

#: Of zstd, at most a block of 128 KiB comes of four bytes.
_ZSTD_STEP = 256


class DecodingFailed(Exception):
    """Bytes that are not what their coding says, or that swell beyond what is allowed.

    ``found`` is what they gave before.
    """

    def __init__(self, reason: str, found: bytes = b"") -> None:
        super().__init__(reason)
        self.found = found


class Compressor(Protocol):
    """Makes one compressed body."""

    def compress(self, data: bytes) -> bytes:
        """All of ``data`` in a form that a reader can decode at once."""
        ...

    def finish(self) -> bytes:
        """What ends the body."""
        ...


class Decompressor(Protocol):
    """Reads one compressed body."""

    def decompress(self, data: bytes) -> bytes:
        """What can be told so far.  Raises: DecodingFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Coding:
    """A configured library: its content coding, where its stats stand, and what makes one for a body."""

    name: str
    stats_name: str
    make: Callable[[], Compressor]

    @property
    def token(self) -> bytes:
        return self.name.encode()


class GzipCompressor:
    """RFC 1952."""

    __slots__ = ("_stream",)

    def __init__(self, level: int, strategy: int, memory_level: int, window_bits: int) -> None:
        self._stream = zlib.compressobj(level, zlib.DEFLATED, window_bits + 16, memory_level, strategy)

    def compress(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush()


class BrotliCompressor:
    """RFC 7932."""

    __slots__ = ("_stream",)

    def __init__(self, mode: int, quality: int, window_bits: int, input_block_bits: int) -> None:
        self._stream = brotli.Compressor(
            mode=mode, quality=quality, lgwin=window_bits, lgblock=input_block_bits
        )

    def compress(self, data: bytes) -> bytes:
        return bytes(self._stream.process(data) + self._stream.flush())

    def finish(self) -> bytes:
        return bytes(self._stream.finish())


class ZstdCompressor:
    """RFC 8878."""

    __slots__ = ("_stream",)

    def __init__(
        self,
        parameters: zstandard.ZstdCompressionParameters,
        dictionary: zstandard.ZstdCompressionDict | None,
    ) -> None:
        made = zstandard.ZstdCompressor(compression_params=parameters, dict_data=dictionary)
        self._stream = made.compressobj()

    def compress(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._stream.flush()


@dataclass(frozen=True, slots=True)
class SwellLimit:
    """How much longer a piece may become; what comes of it is looked at chunk by chunk, as in Envoy."""

    ratio: int
    chunk_size: int

    def of(self, data: bytes) -> int:
        """At so many bytes, the first chunk beyond the ratio, it is enough."""
        return (self.ratio * len(data) // self.chunk_size + 1) * self.chunk_size

    def check(self, found: bytes, limit: int) -> bytes:
        """``found``.  Raises: DecodingFailed."""
        if len(found) >= limit:
            raise DecodingFailed(f"a piece swells more than {self.ratio} times", found[:limit])
        return found


class GzipDecompressor:
    """RFC 1952, one member."""

    __slots__ = ("_limit", "_stream")

    def __init__(self, window_bits: int, limit: SwellLimit) -> None:
        self._stream = zlib.decompressobj(window_bits + 16)
        self._limit = limit

    def decompress(self, data: bytes) -> bytes:
        limit = self._limit.of(data)
        try:
            found = self._stream.decompress(data, limit)
        except zlib.error as error:
            raise DecodingFailed(str(error)) from error
        return self._limit.check(found, limit)


class BrotliDecompressor:
    """RFC 7932."""

    __slots__ = ("_limit", "_stream")

    def __init__(self, limit: SwellLimit) -> None:
        self._stream = brotli.Decompressor()
        self._limit = limit

    def decompress(self, data: bytes) -> bytes:
        limit = self._limit.of(data)
        try:
            found = bytes(self._stream.process(data, output_buffer_limit=limit))
        except brotli.error as error:
            raise DecodingFailed(str(error)) from error
        return self._limit.check(found, limit)


class ZstdDecompressor:
    """RFC 8878, one frame."""

    __slots__ = ("_limit", "_stream")

    def __init__(self, limit: SwellLimit) -> None:
        self._stream = zstandard.ZstdDecompressor().decompressobj()
        self._limit = limit

    def decompress(self, data: bytes) -> bytes:
        limit = self._limit.of(data)
        pieces: list[bytes] = []
        size = 0
        try:
            # A few bytes at a time: the library has no limit of its own on what they give.
            for at in range(0, len(data), _ZSTD_STEP):
                if self._stream.eof:
                    break
                pieces.append(self._stream.decompress(data[at : at + _ZSTD_STEP]))
                size += len(pieces[-1])
                if size >= limit:
                    break
        except zstandard.ZstdError as error:
            raise DecodingFailed(str(error), b"".join(pieces)) from error
        return self._limit.check(b"".join(pieces), limit)
