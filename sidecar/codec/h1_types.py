"""What one side of HTTP/1 connections wants: ``envoy.config.core.v3.Http1ProtocolOptions``, compiled."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.codec.h1_case import PreserveCase
from sidecar.core.dataclass import dataclass

__all__ = ["UPSTREAM_HTTP1", "H1Settings"]


@dataclass(frozen=True, slots=True)
class H1Settings:
    """Field names are those of the API; defaults are Envoy's.

    Listeners do not look at ``send_fully_qualified_url``, clusters not at what is about requests alone.
    ``use_balsa_parser`` is not here: Envoy 1.40 reads the same with and without it.
    """

    accept_http_10: bool = False
    default_host_for_http_10: bytes = b""
    enable_trailers: bool = False
    #: ``header_key_format.proper_case_words``.
    proper_case_words: bool = False
    #: ``header_key_format.stateful_formatter``: ``envoy.http.stateful_header_formatters.preserve_case``.
    preserve_case: PreserveCase | None = None
    allow_absolute_url: bool = True
    #: Take Content-Length out beside Transfer-Encoding instead of refusing the message.
    allow_chunked_length: bool = False
    #: Any token is a method.
    allow_custom_methods: bool = False
    send_fully_qualified_url: bool = False
    #: ``Upgrade`` values that are read as if they were not there.
    ignore_http_11_upgrade: tuple[Callable[[bytes], bool], ...] = ()
    #: Leave the connection open behind a request that is answered 400 for what it says.
    override_stream_error_on_invalid_http_message: bool = False
    #: ``max_request_headers_kb`` or ``max_response_headers_kb`` in bytes; the first line counts.
    max_headers_bytes: int = 60 * 1024
    #: ``HttpProtocolOptions.max_headers_count``.
    max_headers_count: int = 100


#: What is taken of an upstream by default.
UPSTREAM_HTTP1 = H1Settings(max_headers_bytes=80 * 1024)
