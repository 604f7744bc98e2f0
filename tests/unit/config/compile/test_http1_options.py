"""Http1ProtocolOptions compiled."""

from __future__ import annotations

import pytest
from envoy.config.core.v3 import protocol_pb2
from envoy.extensions.http.header_formatters.preserve_case.v3 import preserve_case_pb2
from google.protobuf import json_format

from sidecar.codec.h1_case import PreserveCase
from sidecar.codec.h1_types import H1Settings
from sidecar.config.compile.http1_options import compile_http1_options
from sidecar.core.errors import ConfigError


def options(**fields: object) -> protocol_pb2.Http1ProtocolOptions:
    message = protocol_pb2.Http1ProtocolOptions()
    json_format.ParseDict(fields, message)
    return message


def test_http1_options_without_fields_are_the_defaults() -> None:
    assert compile_http1_options(options(), "here") == H1Settings()


def test_http1_options_carry_what_they_set() -> None:
    settings = compile_http1_options(
        options(
            accept_http_10=True,
            default_host_for_http_10="a.example",
            enable_trailers=True,
            allow_absolute_url=False,
            allow_chunked_length=True,
            allow_custom_methods=True,
            send_fully_qualified_url=True,
            ignore_http_11_upgrade=[{"prefix": "tls", "ignore_case": True}],
            header_key_format={"proper_case_words": {}},
        ),
        "here",
        max_headers_bytes=1024,
        max_headers_count=7,
    )
    assert settings.default_host_for_http_10 == b"a.example"
    assert settings.accept_http_10
    assert settings.enable_trailers
    assert not settings.allow_absolute_url
    assert settings.allow_chunked_length
    assert settings.allow_custom_methods
    assert settings.send_fully_qualified_url
    assert settings.proper_case_words
    assert (settings.max_headers_bytes, settings.max_headers_count) == (1024, 7)
    (matcher,) = settings.ignore_http_11_upgrade
    assert matcher(b"TLS/1.0")
    assert not matcher(b"websocket")


@pytest.mark.parametrize(
    ("own", "manager", "expected"), [(None, True, True), (False, True, False), (True, False, True)]
)
def test_stream_error_of_http1_goes_before_the_connection_managers(
    own: bool | None, manager: bool, expected: bool
) -> None:
    message = options() if own is None else options(override_stream_error_on_invalid_http_message=own)
    settings = compile_http1_options(message, "here", is_stream_error=manager)
    assert settings.override_stream_error_on_invalid_http_message is expected


def test_preserve_case_is_read_from_its_message() -> None:
    message = options()
    config = preserve_case_pb2.PreserveCaseFormatterConfig(
        forward_reason_phrase=True, formatter_type_on_envoy_headers=1
    )
    message.header_key_format.stateful_formatter.typed_config.Pack(config)
    assert compile_http1_options(message, "here").preserve_case == PreserveCase(
        forward_reason_phrase=True, proper_case=True
    )


def test_other_stateful_formatter_is_an_error_with_its_place() -> None:
    message = options()
    message.header_key_format.stateful_formatter.name = "mine"
    message.header_key_format.stateful_formatter.typed_config.Pack(options())
    with pytest.raises(ConfigError, match=r"here\.header_key_format\.stateful_formatter: 'mine'"):
        compile_http1_options(message, "here")
