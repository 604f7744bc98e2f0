"""Compressors and decompressors of bodies by content coding: gzip, br and zstd, a piece at a time."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import brotli
import zstandard

from sidecar.core.dataclass import dataclass

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

    ``found`` is what they gave before, ``counters`` what the library's statistics say of it.
    """

    def __init__(self, reason: str, found: bytes = b"", counters: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.found = found
        self.counters = counters


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
    #: Of its statistics, where a piece swells too much.
    counters: tuple[str, ...]
    #: What Envoy lets out beyond that before it is through with the piece.
    more_chunks: int = 0

    def of(self, data: bytes) -> int:
        """At so many bytes, the first chunk beyond the ratio, it is enough."""
        return (self.ratio * len(data) // self.chunk_size + 1) * self.chunk_size

    def check(self, found: bytes, limit: int) -> bytes:
        """``found``.  Raises: DecodingFailed."""
        if len(found) >= limit:
            let_out = found[: limit + self.more_chunks * self.chunk_size]
            raise DecodingFailed(f"a piece swells more than {self.ratio} times", let_out, self.counters)
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
            raise DecodingFailed(str(error), counters=("zlib_data_error",)) from error
        return self._limit.check(found, limit)


class BrotliDecompressor:
    """RFC 7932."""

    __slots__ = ("_limit", "_stream")

    def __init__(self, limit: SwellLimit) -> None:
        self._stream = brotli.Decompressor()
        self._limit = limit

    def decompress(self, data: bytes) -> bytes:
        limit = self._limit.of(data)
        most = limit + self._limit.more_chunks * self._limit.chunk_size
        try:
            found = bytes(self._stream.process(data, output_buffer_limit=most))
        except brotli.error as error:
            # Counted twice in Envoy, too: in its loop, and when it looks whether there is more.
            raise DecodingFailed(str(error), counters=("brotli_error", "brotli_error")) from error
        return self._limit.check(found, limit)


class ZstdDecompressor:
    """RFC 8878, one frame, which may name one of the dictionaries."""

    __slots__ = ("_dictionaries", "_limit", "_stream")

    def __init__(
        self, limit: SwellLimit, dictionaries: Mapping[int, zstandard.ZstdCompressionDict] | None = None
    ) -> None:
        self._stream: Any = None if dictionaries else zstandard.ZstdDecompressor().decompressobj()
        self._dictionaries = dictionaries or {}
        self._limit = limit

    def _begin(self, data: bytes) -> Any:
        """What reads a frame that begins with ``data``.  Raises: DecodingFailed."""
        try:
            number = zstandard.get_frame_parameters(data).dict_id
        except zstandard.ZstdError:  # no beginning, or not enough of it to tell: as one without a dictionary
            number = 0
        found = self._dictionaries.get(number)
        if number and found is None:
            raise DecodingFailed("a dictionary that is not here", counters=("zstd_dictionary_error",))
        return zstandard.ZstdDecompressor(dict_data=found).decompressobj()

    def decompress(self, data: bytes) -> bytes:
        if self._stream is None:
            self._stream = self._begin(data)
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
            counter = "zstd_generic_error"
            if "checksum" in str(error):
                counter = "zstd_checksum_wrong_error"
            elif "Dictionary" in str(error):
                counter = "zstd_dictionary_error"
            raise DecodingFailed(str(error), b"".join(pieces), (counter,)) from error
        return self._limit.check(b"".join(pieces), limit)
