"""METADATA of HTTP/2: how it is coded, where it is passed over, and what ends the connection."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hpack import Decoder

from sidecar.api.stream_metadata import StreamMetadata
from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_metadata import END_METADATA, METADATA, MetadataDecoder, encode_metadata
from sidecar.codec.h2_types import H2Settings
from sidecar.net.h2_wire import H2MetadataBody
from tests.support.h2_frames import (
    CLIENT_START,
    DATA,
    END_HEADERS,
    END_STREAM,
    Recorder,
    block,
    feed,
    frame,
    parse,
    request,
)

PAIRS = [(b"key", b"value"), (b"other", b"")]


class Told(Recorder):
    def on_metadata(self, stream_id: int, pairs: list[tuple[bytes, bytes]]) -> None:
        self.calls.append(("metadata", stream_id, pairs))


def _server(**changes: Any) -> tuple[H2Connection, Told]:
    told = Told()
    codec = H2Connection(told, client=False, settings=H2Settings(**{"allow_metadata": True, **changes}))
    codec.receive_data(CLIENT_START + request(1, flags=END_HEADERS))
    codec.take_output()
    told.calls.clear()
    return codec, told


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 16_383, 20_000])
def test_what_is_coded_is_read_by_others_and_by_us(size: int) -> None:
    pairs = [(b"name", b"v" * size), (b"n" * size or b"n", b"x")]
    coded = encode_metadata(pairs)
    assert Decoder(1 << 20).decode(coded, raw=True) == pairs
    assert MetadataDecoder(1 << 20).feed(coded, is_end=True) == pairs


def test_a_block_may_come_in_frames_with_others_between() -> None:
    codec, told = _server()
    coded = block(*PAIRS)
    codec.receive_data(
        frame(METADATA, 0, 1, coded[:5])
        + frame(DATA, 0, 1, b"x")
        + frame(METADATA, END_METADATA, 1, coded[5:])
        + frame(METADATA, END_METADATA, 1)
    )
    assert [call for call in told.calls if call[0] == "metadata"] == [
        ("metadata", 1, PAIRS),
        ("metadata", 1, []),
    ]


def test_it_is_passed_over_where_it_is_not_allowed_and_where_no_stream_is_open() -> None:
    bad = b"\xff" * 11
    for changes, stream_id, before in (
        ({"allow_metadata": False}, 1, b""),
        ({}, 0, b""),
        ({}, 3, b""),
        ({}, 1, frame(DATA, END_STREAM, 1)),
    ):
        codec, told = _server(**changes)
        assert feed(codec, before + frame(METADATA, END_METADATA, stream_id, bad)) is None
        assert not [call for call in told.calls if call[0] == "metadata"]


@pytest.mark.parametrize("sizes", [(101,), (60, 60)])
def test_too_much_of_it_ends_the_connection_without_a_word(sizes: tuple[int, ...]) -> None:
    codec, _ = _server(max_metadata_size=100)
    error = feed(codec, b"".join(frame(METADATA, 0, 1, b"x" * size) for size in sizes))
    assert error is not None
    assert error.is_silent
    assert not codec.take_output()


def test_a_table_makes_no_more_of_it_than_is_allowed() -> None:
    codec, told = _server(max_metadata_size=1000)
    coded = b"\x40" + encode_metadata([(b"key", b"v" * 500)])[1:]  # kept in the table
    again = b"\xbe" * 2
    assert feed(codec, frame(METADATA, END_METADATA, 1, coded + again)) is None
    assert len(told.calls[0][2]) == 3
    error = feed(codec, frame(METADATA, END_METADATA, 1, again * 3))
    assert error is not None
    assert error.is_silent


def test_what_cannot_be_read_ends_the_connection() -> None:
    codec, _ = _server()
    error = feed(codec, frame(METADATA, END_METADATA, 1, b"\xff" * 11))
    assert error is not None
    assert error.is_silent


def test_a_long_block_is_sent_in_frames() -> None:
    codec, _ = _server()
    codec.send_metadata(1, [(b"key", b"v" * 20_000)])
    frames = parse(codec.take_output())
    assert [(kind, flags, stream) for kind, flags, stream, _ in frames] == [
        (METADATA, 0, 1),
        (METADATA, END_METADATA, 1),
    ]
    sent = b"".join(payload for *_, payload in frames)
    assert sent == encode_metadata([(b"key", b"v" * 20_000)])


def test_nothing_is_sent_on_a_stream_that_is_gone_or_where_it_is_not_allowed() -> None:
    codec, _ = _server()
    codec.send_metadata(3, PAIRS)
    other, _ = _server(allow_metadata=False)
    other.send_metadata(1, PAIRS)
    assert not codec.take_output()
    assert not other.take_output()


async def test_a_body_tells_of_it_in_its_place() -> None:
    codec = SimpleNamespace(consume=lambda *_: None)
    wire: Any = SimpleNamespace(unread=0, took=lambda _size: None, codec=codec, flush_later=lambda: None)
    body = H2MetadataBody(wire, 1)
    said: list[Any] = []
    body.tell = said.append
    body.push_metadata([(b"a", b"1")])
    body.push(b"one", False, 3)
    body.push(b"two", False, 3)
    body.push_metadata([(b"b", b"2")])
    body.push(b"three", True, 5)
    assert body.take_whole() is None
    while data := await body.receive():
        said.append(data)
    assert said == [[(b"a", b"1")], b"onetwo", [(b"b", b"2")], b"three"]
    assert body.ended


async def test_a_body_without_it_is_taken_whole_and_one_that_is_given_up_forgets_it() -> None:
    codec = SimpleNamespace(consume=lambda *_: None)
    wire: Any = SimpleNamespace(unread=0, took=lambda _size: None, codec=codec, flush_later=lambda: None)
    body = H2MetadataBody(wire, 1)
    body.push(b"one", True, 3)
    assert body.take_whole() == b"one"
    other = H2MetadataBody(wire, 1)
    other.push(b"one", False, 3)
    other.push_metadata([(b"a", b"1")])
    other.discard()
    assert not other.chunks


def test_what_the_client_says_waits_for_the_upstream_and_filters_hear_all_of_it() -> None:
    to_client: list[Any] = []
    said: list[Any] = []
    heard: list[Any] = []
    metadata = StreamMetadata(to_client.append)
    upstream = SimpleNamespace(send_metadata=said.append)
    metadata.take([(b"a", b"1")])
    assert metadata.is_waiting
    metadata.listen(heard.append, lambda pairs: heard.append(("response", pairs)))
    metadata.begin(upstream)
    metadata.take([(b"b", b"2")])
    metadata.give([(b"c", b"3")])
    metadata.end()
    metadata.take([(b"d", b"4")])
    assert said == [[(b"a", b"1")], [(b"b", b"2")]]
    assert to_client == [[(b"c", b"3")]]
    assert heard == [[(b"a", b"1")], [(b"b", b"2")], ("response", [(b"c", b"3")]), [(b"d", b"4")]]
