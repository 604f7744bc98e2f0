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
#: Content coding of a decompressor, where its stats stand, and what makes one for a body.
Decoding = tuple[bytes, str, Callable[[], Decompressor]]
_CHUNK_BYTES = 4096
#: How much longer a piece may become: the field's default for gzip, fixed for the others.
_GZIP_RATIO = 100
_RATIO = 1000
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
        at = f"{context.path}.typed_config.dictionary"
        dictionary = zstandard.ZstdCompressionDict(context.read_data_source(message.dictionary, at))
        if not dictionary.dict_id():
            raise ConfigError(at, "not a dictionary of zstd: `zstd --train` makes one")
    return lambda: ZstdCompressor(parameters, dictionary)


def compile_decompressor(library: Any, context: FactoryContext) -> Decoding:
    """``decompressor_library``, a TypedExtensionConfig.  Raises: ConfigError."""
    name, message = resolve_any(library.typed_config)
    stats = f"{library.name}."
    if name == f"{_LIBRARIES}.gzip.decompressor.v3.Gzip":
        window_bits = _number(message, "window_bits", 15)
        limit = _limit(message, _number(message, "max_inflate_ratio", _GZIP_RATIO))
        return b"gzip", f"{stats}gzip", lambda: GzipDecompressor(window_bits, limit)
    if name == f"{_LIBRARIES}.brotli.decompressor.v3.Brotli":
        limit = _limit(message, _RATIO)
        return b"br", f"{stats}brotli", lambda: BrotliDecompressor(limit)
    if name == f"{_LIBRARIES}.zstd.decompressor.v3.Zstd":
        limit = SwellLimit(_RATIO, _ZSTD_BLOCK_BYTES)
        return b"zstd", f"{stats}zstd", lambda: ZstdDecompressor(limit)
    raise ConfigError(f"{context.path}.typed_config", f"compression library {name} is not supported")


def _limit(message: Any, ratio: int) -> SwellLimit:
    return SwellLimit(ratio, _number(message, "chunk_size", _CHUNK_BYTES))
