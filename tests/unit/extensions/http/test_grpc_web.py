"""Frames and base64 of gRPC-Web, cut anywhere."""

from __future__ import annotations

import base64
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import StreamAborted
from sidecar.core.headers import HeaderMap
from sidecar.extensions.http.grpc_web import _FromText, _ToWeb


def _stream() -> Any:
    return SimpleNamespace(bytes_received=0, protocol="HTTP/2", cluster=None, request=None)


def _message(data: bytes) -> bytes:
    return b"\x00" + len(data).to_bytes(4, "big") + data


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


@given(data=st.binary(max_size=60), cuts=st.lists(st.integers(0, 90), max_size=8))
def test_text_is_decoded_wherever_it_is_cut(data: bytes, cuts: list[int]) -> None:
    stream = _stream()
    stage = _FromText(stream)
    text = base64.b64encode(data)
    # Padding ends a group that may come anywhere in the stream: here it is the last.
    got = b"".join(stage.push(piece, False) for piece in _pieces(text, cuts))
    got += stage.push(b"", True)
    assert got == data
    assert stream.bytes_received == len(text) - len(data)


@pytest.mark.parametrize("text", [b"AAAA====", b"A*AA", b"AAB=", b"====", b"AA==AAAA", b"AA\r\nAA=="])
def test_text_that_is_no_base64_is_refused(text: bytes) -> None:
    with pytest.raises(StreamAborted) as refused:
        _FromText(_stream()).push(text, True)
    assert refused.value.reply.details == "grpc_base_64_decode_failed"


@pytest.mark.parametrize("pieces", [[b"AAAAA"], [b"AAAA", b"A"], [b"A"]])
def test_text_that_ends_inside_a_group_is_refused(pieces: list[bytes]) -> None:
    stage = _FromText(_stream())
    for piece in pieces[:-1]:
        stage.push(piece, False)
    with pytest.raises(StreamAborted) as refused:
        stage.push(pieces[-1], True)
    assert refused.value.reply.details == "grpc_base_64_decode_failed_bad_size"


@given(messages=st.lists(st.binary(max_size=30), max_size=4), cuts=st.lists(st.integers(0, 150), max_size=8))
def test_each_message_is_text_of_its_own_wherever_the_body_is_cut(
    messages: list[bytes], cuts: list[int]
) -> None:
    owner = cast(Any, SimpleNamespace(_charge=lambda stream, headers: None))
    stage = _ToWeb(owner, _stream(), is_text=True)
    body = b"".join(map(_message, messages))
    got = b"".join(stage.push(piece, False) for piece in _pieces(body, cuts))
    assert got == b"".join(base64.b64encode(_message(each)) for each in messages)


@pytest.mark.parametrize("is_text", [False, True])
def test_trailers_are_the_last_frame_of_the_body(is_text: bool) -> None:
    owner = cast(Any, SimpleNamespace(_charge=lambda stream, headers: None))
    trailers = HeaderMap([(b"grpc-status", b"0"), (b"x", b"y")])
    frame = _ToWeb(owner, _stream(), is_text=is_text).end(trailers)
    plain = base64.b64decode(frame) if is_text else frame
    assert plain == b"\x80\x00\x00\x00\x14grpc-status:0\r\nx:y\r\n"
    assert not trailers.fields
