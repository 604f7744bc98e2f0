"""Compiles the libraries of ``envoy.extensions.compression``: gzip, brotli and zstd, both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import brotli
import zstandard

from sidecar.api.context import FactoryContext
from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.compression import (
    BrotliCompressor,
    BrotliDecompressor,
    Coding,
    Decompressor,
    GzipCompressor,
    GzipDecompressor,
    SwellLimit,
    ZstdCompressor,
    ZstdDecompressor,
)

__all__ = ["Decoding", "compile_compressor", "compile_decompressor"]

_LIBRARIES = "envoy.extensions.compression"
#: Content coding of a decompressor, where its stats stand and what they are of the library, and what makes
#: one for a body.
Decoding = tuple[bytes, str, tuple[str, ...], Callable[[], Decompressor]]
_CHUNK_BYTES = 4096
#: How much longer a piece may become: the field's default for gzip, fixed for the others.
_RATIO = 100
#: Statistics of the libraries, under ``decompressor_library.``.
_GZIP_COUNTERS = (
    *("zlib_errno", "zlib_stream_error", "zlib_data_error", "zlib_mem_error", "zlib_buf_error"),
    "zlib_version_error",
)
_BROTLI_COUNTERS = ("brotli_error", "brotli_output_overflow", "brotli_redundant_input")
_ZSTD_COUNTERS = (
    *("zstd_generic_error", "zstd_dictionary_error", "zstd_checksum_wrong_error", "zstd_memory_error"),
)
#: Seen on Envoy: it goes on for three chunks where a piece of brotli swells too much, and counts twice.
_BROTLI_MORE_CHUNKS = 3
_BROTLI_SWELLS = ("brotli_error", "brotli_output_overflow") * 2
#: What comes of a frame of zstd comes a block at a time.
_ZSTD_BLOCK_BYTES = 128 * 1024
_BROTLI_MODES = (brotli.MODE_GENERIC, brotli.MODE_GENERIC, brotli.MODE_TEXT, brotli.MODE_FONT)


def compile_compressor(library: Any, context: FactoryContext) -> Coding:
    """``compressor_library``, a TypedExtensionConfig.  Raises: ConfigError."""
    name, message = resolve_any(library.typed_config)
    stats = f"{library.name}."
    if name == f"{_LIBRARIES}.gzip.compressor.v3.Gzip":
        return Coding("gzip", f"{stats}gzip", _gzip(message))
    if name == f"{_LIBRARIES}.brotli.compressor.v3.Brotli":
        return Coding("br", f"{stats}brotli", _brotli(message))
    if name == f"{_LIBRARIES}.zstd.compressor.v3.Zstd":
        return Coding("zstd", f"{stats}zstd", _zstd(message, context))
    raise ConfigError(f"{context.path}.typed_config", f"compression library {name} is not supported")


def _number(message: Any, field: str, default: int) -> int:
    return getattr(message, field).value if message.HasField(field) else default


def _gzip(message: Any) -> Callable[[], GzipCompressor]:
    level = message.compression_level or -1
    strategy = message.compression_strategy
    memory_level = _number(message, "memory_level", 5)
    window_bits = _number(message, "window_bits", 12)
    return lambda: GzipCompressor(level, strategy, memory_level, window_bits)


def _brotli(message: Any) -> Callable[[], BrotliCompressor]:
    mode = _BROTLI_MODES[message.encoder_mode]
    quality = _number(message, "quality", 3)
    window_bits = _number(message, "window_bits", 18)
    input_block_bits = _number(message, "input_block_bits", 24)
    return lambda: BrotliCompressor(mode, quality, window_bits, input_block_bits)


def _zstd(message: Any, context: FactoryContext) -> Callable[[], ZstdCompressor]:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _number(message, "compression_level", 3),
        write_checksum=message.enable_checksum,
        **({"strategy": message.strategy} if message.strategy else {}),
    )
    dictionary = None
    if message.HasField("dictionary"):
        dictionary = _dictionary(message.dictionary, context, f"{context.path}.typed_config.dictionary")
    return lambda: ZstdCompressor(parameters, dictionary)


def compile_decompressor(library: Any, context: FactoryContext) -> Decoding:
    """``decompressor_library``, a TypedExtensionConfig.  Raises: ConfigError."""
    name, message = resolve_any(library.typed_config)
    stats = f"{library.name}."
    if name == f"{_LIBRARIES}.gzip.decompressor.v3.Gzip":
        window_bits = _number(message, "window_bits", 15)
        ratio, chunk_size = _number(message, "max_inflate_ratio", _RATIO), _chunk_size(message)
        limit = SwellLimit(ratio, chunk_size, ("zlib_data_error",))
        return b"gzip", f"{stats}gzip", _GZIP_COUNTERS, lambda: GzipDecompressor(window_bits, limit)
    if name == f"{_LIBRARIES}.brotli.decompressor.v3.Brotli":
        limit = SwellLimit(_RATIO, _chunk_size(message), _BROTLI_SWELLS, _BROTLI_MORE_CHUNKS)
        return b"br", f"{stats}brotli", _BROTLI_COUNTERS, lambda: BrotliDecompressor(limit)
    if name == f"{_LIBRARIES}.zstd.decompressor.v3.Zstd":
        limit = SwellLimit(_RATIO, _ZSTD_BLOCK_BYTES, ("zstd_generic_error",))
        dictionaries = _dictionaries(message, context)
        return b"zstd", f"{stats}zstd", _ZSTD_COUNTERS, lambda: ZstdDecompressor(limit, dictionaries)
    raise ConfigError(f"{context.path}.typed_config", f"compression library {name} is not supported")


def _chunk_size(message: Any) -> int:
    return _number(message, "chunk_size", _CHUNK_BYTES)


def _dictionaries(message: Any, context: FactoryContext) -> dict[int, zstandard.ZstdCompressionDict]:
    """By their ids.  Raises: ConfigError."""
    found = {}
    for index, each in enumerate(message.dictionaries):
        dictionary = _dictionary(each, context, f"{context.path}.typed_config.dictionaries[{index}]")
        found[dictionary.dict_id()] = dictionary
    return found


def _dictionary(source: Any, context: FactoryContext, path: str) -> zstandard.ZstdCompressionDict:
    dictionary = zstandard.ZstdCompressionDict(context.read_data_source(source, path))
    if not dictionary.dict_id():
        raise ConfigError(path, "not a dictionary of zstd: `zstd --train` makes one")
    return dictionary
