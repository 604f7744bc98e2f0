"""Lines about streams in the log."""

from __future__ import annotations

import logging

import pytest

from sidecar.api.message import RequestMessage, ResponseMessage
from sidecar.api.stream import Stream
from sidecar.core import log
from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.http.stream_log import log_begin, log_end, switch
from tests.support.h1_lab import ClientConnection


def make_stream() -> Stream:
    headers = RequestHeaders(b"GET", b"/x", b"a.example", None, [(b"authorization", b"secret"), (b"x", b"y")])
    return Stream(ClientConnection(), None, RequestMessage(headers), "HTTP/1.1")


def test_lines_of_a_stream_begin_with_its_ids_and_keep_secrets(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream()
    with caplog.at_level(logging.DEBUG, "sidecar.http"):
        log_begin(stream)
        stream.response_code = 200
        stream.response = ResponseMessage(ResponseHeaders(200, [(b"set-cookie", b"secret")]))
        log_end(stream)
    texts = [record.getMessage() for record in caplog.records]
    tags = log.tags_of(stream.connection.connection_id, stream.log_id)
    assert stream.log_id
    assert all(text.startswith(tags) for text in texts)
    assert texts[0].removeprefix(tags).splitlines() == [
        "request headers complete (end_stream=true):",
        "':authority', 'a.example'",
        "':path', '/x'",
        "':method', 'GET'",
        "'authorization', '[redacted]'",
        "'x', 'y'",
    ]
    assert "':status', '200'" in texts[1]
    assert not any("secret" in text for text in texts)


def test_streams_are_told_of_at_debug_alone() -> None:
    try:
        log.set_level("http", "info")
        assert not switch.on
        log.set_level("http", "debug")
        assert switch.on
    finally:
        log.set_level("http", "info")
