"""Where heads and bodies end on a connection, and the bytes behind them."""

from __future__ import annotations

import pytest

from sidecar.api.message import Body
from sidecar.core.errors import RemoteProtocolError
from sidecar.net.h1_stream import ChunkedBody, H1Reader, LengthBody, UntilCloseBody
from tests.support.h1_wire import PlayedTransport, finish

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def reader_of(*pieces: bytes) -> H1Reader:
    return H1Reader(PlayedTransport(pieces))  # type: ignore[arg-type]


class Ended(list[bool]):
    """Counts calls of a body's end."""

    def __call__(self) -> None:
        self.append(True)


async def all_of(body: Body) -> list[bytes]:
    chunks = []
    while data := await body.receive():
        chunks.append(data)
    assert await body.receive() == b""
    return chunks


# -- heads ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [1, 2, 5, len(HEAD)])
def test_head_is_given_whole_however_it_arrives(size: int) -> None:
    reader = reader_of(*(HEAD[at : at + size] for at in range(0, len(HEAD), size)))
    assert finish(reader.head(1000)) == HEAD
    assert (reader.rest, reader.rx_bytes) == (b"", len(HEAD))


def test_bytes_behind_a_head_are_kept_for_the_next() -> None:
    reader = reader_of(HEAD + HEAD + HEAD[:5], HEAD[5:])
    assert [finish(reader.head(1000)) for _ in range(3)] == [HEAD] * 3
    assert finish(reader.head(1000)) == b""


@pytest.mark.parametrize("blank", [b"\r\n", b"\n", b"\r\n\r\n", b"\r"])
def test_empty_lines_in_front_of_a_head_are_skipped(blank: bytes) -> None:
    assert finish(reader_of(blank + HEAD).head(1000)) == HEAD
    assert finish(reader_of(blank, HEAD).head(1000)) == HEAD


def test_head_that_ends_with_bare_line_feeds_ends_there() -> None:
    reader = reader_of(b"GET / HTTP/1.1\nHost: a\n\nrest")
    assert finish(reader.head(1000)) == b"GET / HTTP/1.1\nHost: a\n\n"
    assert reader.rest == b"rest"


@pytest.mark.parametrize("pieces", [(HEAD,), (HEAD[:10], HEAD[10:]), (HEAD[:-1],), (b"x" * 100,)])
def test_head_over_the_limit_is_answered_431(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        finish(reader_of(*pieces).head(len(HEAD) - 2))
    assert (caught.value.status, caught.value.details) == (431, "http1.headers_too_large")


def test_head_of_exactly_the_limit_is_given() -> None:
    assert finish(reader_of(HEAD + b"body").head(len(HEAD))) == HEAD


def test_end_before_the_first_byte_is_no_error_and_inside_a_head_is_one() -> None:
    assert finish(reader_of().head(1000)) == b""
    with pytest.raises(RemoteProtocolError) as caught:
        finish(reader_of(HEAD[:7]).head(1000))
    assert caught.value.status == 0


# -- bodies of a declared length --------------------------------------------------------------------------
def test_length_body_that_is_at_hand_is_whole() -> None:
    reader = reader_of()
    reader.rest = b"hello" + HEAD
    ended = Ended()
    body = LengthBody(reader, 5, ended)
    assert (body.whole, body.ended, ended, reader.rest) == (b"hello", True, [True], HEAD)
    assert finish(all_of(body)) == [b"hello"]
    assert body.whole == b""


def test_length_body_is_pulled_piece_by_piece_and_leaves_what_follows() -> None:
    reader = reader_of(b"llo wo", b"rld" + HEAD)
    reader.rest = b"he"
    ended = Ended()
    body = LengthBody(reader, 11, ended)
    assert body.whole is None
    chunks = []
    for _ in range(3):
        assert not body.ended
        chunks.append(finish(body.receive()))
    assert b"".join(chunks) == b"hello world"
    assert (body.ended, ended) == (True, [True])
    assert finish(body.receive()) == b""
    assert finish(reader.head(1000)) == HEAD


def test_length_body_that_breaks_off_is_an_error_without_an_answer() -> None:
    ended = Ended()
    body = LengthBody(reader_of(b"abc"), 5, ended)
    with pytest.raises(RemoteProtocolError) as caught:
        finish(all_of(body))
    assert (caught.value.status, ended) == (0, [])


def test_long_body_is_read_in_growing_pieces() -> None:
    body = LengthBody(reader_of(bytes(4 << 20)), 4 << 20, Ended())
    sizes = [len(chunk) for chunk in finish(all_of(body))]
    assert sum(sizes) == 4 << 20
    assert sizes[:4] == [65536, 262144, 1 << 20, 1 << 20]


@pytest.mark.parametrize("size", [10, 65536, 65537, 200_000])
def test_last_read_of_a_length_body_leaves_room_so_that_it_is_seen_to_be_the_last(size: int) -> None:
    class Watched(PlayedTransport):
        was_full = False

        async def receive(self, size: int = 65536) -> bytes:
            data = await super().receive(size)
            self.was_full = len(data) == size
            return data

    transport = Watched([bytes(size)])
    body = LengthBody(H1Reader(transport), size, Ended())  # type: ignore[arg-type]
    assert sum(len(chunk) for chunk in finish(all_of(body))) == size
    assert not transport.was_full


# -- chunked bodies ---------------------------------------------------------------------------------------
def test_chunked_body_that_is_at_hand_is_whole() -> None:
    reader = reader_of()
    reader.rest = b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    ended = Ended()
    body = ChunkedBody(reader, ended)
    assert (body.whole, body.ended, ended, reader.rest) == (b"abc", True, [True], b"")
    assert finish(all_of(body)) == [b"abc"]


def test_chunked_body_with_trailers_is_pulled_and_then_has_them() -> None:
    reader = reader_of()
    reader.rest = b"2\r\nab\r\n0\r\nx: y\r\n\r\n"
    body = ChunkedBody(reader, Ended())
    assert body.whole is None
    assert finish(all_of(body)) == [b"ab"]
    assert body.trailers is not None
    assert body.trailers.fields == [(b"x", b"y")]


def test_chunked_body_in_pieces_leaves_what_follows() -> None:
    reader = reader_of(b"ab\r\n", b"0\r\n\r\n" + HEAD)
    reader.rest = b"2\r\n"
    ended = Ended()
    body = ChunkedBody(reader, ended)
    assert finish(all_of(body)) == [b"ab"]
    assert (body.ended, body.trailers, ended) == (True, None, [True])
    assert finish(reader.head(1000)) == HEAD


def test_chunked_body_whose_payload_looks_like_its_end_goes_on() -> None:
    reader = reader_of(b"\r\n1\r\nx\r\n0\r\n\r\n")
    reader.rest = b"5\r\n0\r\n\r\n"
    body = ChunkedBody(reader, Ended())
    assert (body.whole, body.ended) == (None, False)
    assert b"".join(finish(all_of(body))) == b"0\r\n\r\nx"


def test_chunked_body_that_breaks_off_is_an_error_without_an_answer() -> None:
    body = ChunkedBody(reader_of(b"5\r\nab"), Ended())
    assert finish(body.receive()) == b"ab"
    with pytest.raises(RemoteProtocolError) as caught:
        finish(body.receive())
    assert caught.value.status == 0


def test_broken_chunk_is_refused_after_what_was_good() -> None:
    body = ChunkedBody(reader_of(b"2\r\nab\r\n", b"zz\r\n"), Ended())
    assert finish(body.receive()) == b"ab"
    with pytest.raises(RemoteProtocolError) as caught:
        finish(body.receive())
    assert caught.value.status == 400


# -- bodies that end with the connection --------------------------------------------------------------------
def test_body_until_close_gives_everything_and_ends() -> None:
    reader = reader_of(b"b", b"c")
    reader.rest = b"a"
    ended = Ended()
    body = UntilCloseBody(reader, ended)
    assert (body.whole, body.ended) == (None, False)
    assert finish(all_of(body)) == [b"a", b"b", b"c"]
    assert (body.ended, ended) == (True, [True])


def test_received_bytes_are_counted() -> None:
    reader = reader_of(HEAD[:9], HEAD[9:] + b"ab", b"cde")
    finish(reader.head(1000))
    finish(all_of(LengthBody(reader, 5, Ended())))
    assert reader.rx_bytes == len(HEAD) + 5
