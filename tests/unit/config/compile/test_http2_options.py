"""``Http2ProtocolOptions`` as the codecs get them."""

from __future__ import annotations

from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from google.protobuf import json_format

from sidecar.codec.h2_types import H2Settings
from sidecar.config.compile.http2_options import compile_http2_options


def compiled(**fields: object) -> H2Settings:
    return compile_http2_options(json_format.ParseDict(fields, Http2ProtocolOptions()))


def test_empty_options_give_the_defaults() -> None:
    assert compiled() == H2Settings()


def test_zero_that_is_said_differs_from_nothing_said() -> None:
    assert compiled(hpack_table_size=0).hpack_table_size == 0


def test_allow_connect_announces_extended_connect() -> None:
    assert compiled(allow_connect=True).allow_connect is True


def test_limits_of_headers_are_taken_along() -> None:
    settings = compile_http2_options(Http2ProtocolOptions(), max_headers_bytes=1024, max_headers_count=7)
    assert (settings.max_headers_bytes, settings.max_headers_count) == (1024, 7)
