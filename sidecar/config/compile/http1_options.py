"""Compiles ``envoy.config.core.v3.Http1ProtocolOptions``, of connection managers and of clusters alike."""

from __future__ import annotations

from typing import Any

from sidecar.codec.h1_case import PreserveCase
from sidecar.codec.h1_types import H1Settings
from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.messages import type_name, unpack
from sidecar.core.errors import ConfigError

__all__ = ["PRESERVE_CASE", "compile_http1_options"]

#: The message of the only stateful formatter that Envoy has.
PRESERVE_CASE = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"


def compile_http1_options(
    options: Any, path: str, *, is_stream_error: bool = False, **limits: int
) -> H1Settings:
    """What the codecs need; ``limits`` are those of headers, which stand elsewhere in the API.

    ``is_stream_error`` is the connection manager's own ``stream_error_on_invalid_http_message``.
    Raises: ConfigError with a path from the bootstrap's root; ``path`` is that of ``options``.
    """
    if options.HasField("override_stream_error_on_invalid_http_message"):
        is_stream_error = options.override_stream_error_on_invalid_http_message.value
    key_format = options.header_key_format
    preserve_case = None
    if key_format.HasField("stateful_formatter"):
        preserve_case = _preserve_case(
            key_format.stateful_formatter, f"{path}.header_key_format.stateful_formatter"
        )
    return H1Settings(
        accept_http_10=options.accept_http_10,
        default_host_for_http_10=options.default_host_for_http_10.encode(),
        enable_trailers=options.enable_trailers,
        proper_case_words=key_format.HasField("proper_case_words"),
        preserve_case=preserve_case,
        allow_absolute_url=not options.HasField("allow_absolute_url") or options.allow_absolute_url.value,
        allow_chunked_length=options.allow_chunked_length,
        allow_custom_methods=options.allow_custom_methods,
        send_fully_qualified_url=options.send_fully_qualified_url,
        ignore_http_11_upgrade=tuple(
            compile_string_matcher(each, f"{path}.ignore_http_11_upgrade[{index}]")
            for index, each in enumerate(options.ignore_http_11_upgrade)
        ),
        override_stream_error_on_invalid_http_message=is_stream_error,
        **limits,
    )


def _preserve_case(entry: Any, path: str) -> PreserveCase:
    packed = entry.typed_config
    message = unpack(packed) if type_name(packed.type_url) == PRESERVE_CASE else None
    if message is None:
        raise ConfigError(path, f"'{entry.name}' is no formatter of header names")
    return PreserveCase(
        forward_reason_phrase=message.forward_reason_phrase,
        proper_case=message.formatter_type_on_envoy_headers == 1,
    )
