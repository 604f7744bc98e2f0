"""What a call of gRPC carries, and how its end is read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sidecar.core.headers import HeaderMap
from sidecar.router.grpc_service import GrpcService, InitialMetadata
from sidecar.router.grpc_status import INVALID_CODE, GrpcStatus, status_in


def test_head_is_that_of_a_call() -> None:
    head = GrpcService("auth").head(b"/a.B/C", 1.5, None)
    assert (head.method, head.path, head.authority, head.scheme) == (b"POST", b"/a.B/C", b"auth", b"http")
    assert head.fields == [
        (b"te", b"trailers"),
        (b"grpc-timeout", b"1500m"),
        (b"content-type", b"application/grpc"),
    ]


def test_authority_and_no_timeout() -> None:
    head = GrpcService("auth", authority=b"a:1").head(b"/a.B/C", 0.0, None)
    assert head.authority == b"a:1"
    assert b"grpc-timeout" not in head


def test_metadata_overwrites_is_encoded_where_it_is_binary_and_needs_a_stream() -> None:
    def value(stream: SimpleNamespace) -> bytes:
        return bytes(stream.name)

    metadata = (
        InitialMetadata(b"te", b"other", b""),
        InitialMetadata(b"x", b"first", b""),
        InitialMetadata(b"x", value, b"%RAW%"),
        InitialMetadata(b"y-bin", b"ab", b""),
        InitialMetadata(b"z", b"", b""),
    )
    service = GrpcService("auth", initial_metadata=metadata)
    for stream, expected in ((None, b"%RAW%"), (SimpleNamespace(name=b"n"), b"n")):
        head = service.head(b"/a.B/C", 0.0, stream)
        assert head.fields[1:] == [(b"te", b"other"), (b"x", expected), (b"y-bin", b"YWI=")]


@pytest.mark.parametrize(
    ("text", "code"),
    [(b"0", 0), (b"16", 16), (b"17", INVALID_CODE), (b"-1", INVALID_CODE), (b"x", INVALID_CODE)],
)
def test_status_is_a_known_one_or_invalid(text: bytes, code: int) -> None:
    fields = HeaderMap([(b"grpc-status", text), (b"grpc-message", b"a%20b")])
    assert status_in(fields) == GrpcStatus(code, b"a%20b")


def test_no_status() -> None:
    assert status_in(HeaderMap([(b"grpc-message", b"a")])) is None
    assert status_in(HeaderMap([(b"grpc-status", b"")])) is None
