"""The message that a body of protobuf becomes."""

from __future__ import annotations

import pytest

from sidecar.core.errors import StreamAborted
from sidecar.core.headers import HeaderMap
from sidecar.extensions.http.grpc_http1_bridge import _Framed


def test_body_in_pieces_is_one_message() -> None:
    stage = _Framed(100)
    assert stage.push(b"ab", False) == b""
    assert stage.push(b"c", True) == b"\x00\x00\x00\x00\x03abc"


def test_trailers_end_the_message_too() -> None:
    stage = _Framed(100)
    assert stage.push(b"ab", False) == b""
    assert stage.end(HeaderMap([])) == b"\x00\x00\x00\x00\x02ab"


def test_body_beyond_the_limit_is_refused() -> None:
    stage = _Framed(10)
    stage.push(bytes(10), False)
    with pytest.raises(StreamAborted) as refused:
        stage.push(b"x", False)
    assert refused.value.reply.status == 413
