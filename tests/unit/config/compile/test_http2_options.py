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


def test_stream_error_is_taken_from_the_nearest_place() -> None:
    name = "override_stream_error_on_invalid_http_message"

    def lenient(stream_error: bool | None = None, **fields: object) -> bool:
        message = json_format.ParseDict(fields, Http2ProtocolOptions())
        return getattr(compile_http2_options(message, stream_error=stream_error), name) is True

    assert not lenient()
    assert lenient(stream_error_on_invalid_http_messaging=True)
    assert lenient(True)
    assert not lenient(False, stream_error_on_invalid_http_messaging=True)
    assert not lenient(True, **{name: False})


def test_custom_settings_are_kept_once_in_their_order() -> None:
    pairs = [(9, 1), (3, 2), (9, 1)]
    custom = [{"identifier": identifier, "value": value} for identifier, value in pairs]
    assert compiled(custom_settings_parameters=custom).custom_settings == ((9, 1), (3, 2))


def test_disallow_obs_text_is_oghttp2s_alone() -> None:
    assert not compiled(disallow_obs_text=True).disallow_obs_text
    assert compiled(disallow_obs_text=True, use_oghttp2_codec=True).disallow_obs_text


def test_limits_of_headers_are_taken_along() -> None:
    settings = compile_http2_options(Http2ProtocolOptions(), max_headers_bytes=1024, max_headers_count=7)
    assert (settings.max_headers_bytes, settings.max_headers_count) == (1024, 7)
