"""Header blocks that repeat are recalled, and say each time what they said the first time."""

import pytest

from sidecar.codec.h1 import RequestParser, ResponseParser
from sidecar.codec.h1_lines import BlockTable
from sidecar.core.errors import RemoteProtocolError

REQUEST = b"POST /p HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n"


def read(parser: RequestParser) -> tuple[object, ...]:
    parser.reset()
    parser.parse(REQUEST)
    return (
        parser.method, parser.raw_target, parser.minor_version, list(parser.fields), dict(parser.index or {}),
        parser.host, parser.content_length, parser.keep_alive_token, parser.is_chunked, parser.close,
    )  # fmt: skip


def test_block_read_many_times_says_the_same_each_time() -> None:
    parser = RequestParser()
    first = read(parser)
    assert first[3] == [(b"x-one", b"1"), (b"content-length", b"3")]
    assert first[5:9] == (b"h", 3, True, False)
    assert all(read(parser) == first for _ in range(5))


def test_block_changed_by_its_reader_is_unchanged_for_the_next() -> None:
    parser = RequestParser()
    first = read(parser)
    for _ in range(3):
        read(parser)
        parser.fields.append((b"x-evil", b"1"))
        assert parser.index is not None
        parser.index.clear()
    assert read(parser) == first


def test_block_with_more_headers_than_a_parser_allows_is_refused_though_known() -> None:
    head = b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(8)) + b"\r\n"
    wide, narrow = RequestParser(100), RequestParser(4)
    for _ in range(3):
        wide.reset()
        wide.parse(head)
    narrow.reset()
    with pytest.raises(RemoteProtocolError):
        narrow.parse(head)


def test_block_of_a_connection_that_closes_is_told_each_time() -> None:
    parser = ResponseParser()
    for _ in range(4):
        parser.reset()
        parser.parse(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        assert parser.close
        assert parser.status == 200


def test_block_table_keeps_what_comes_twice_and_stays_bounded() -> None:
    table = BlockTable()
    content = ([], {}, None, -1, False, False)
    table.keep(b"once", content)
    assert table.get(b"once") is None
    table.keep(b"once", content)
    assert table.get(b"once") is content
    for number in range(3000):
        for _ in range(2):
            table.keep(b"%d" % number, content)
    assert len(table.known) <= 512
    table.keep(b"x" * 5000, content)
    table.keep(b"x" * 5000, content)
    assert table.get(b"x" * 5000) is None


def test_response_recalled_from_the_front_of_what_was_received_gives_the_rest() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\n"
    parser = ResponseParser()
    assert parser.recall(head + b"ok") is None
    for _ in range(2):
        parser.reset()
        parser.parse(head)
    fields = list(parser.fields)
    parser.reset()
    assert parser.recall(head + b"ok") == b"ok"
    assert (parser.status, parser.fields, parser.content_length) == (200, fields, 2)
    assert parser.recall(head[:-2]) is None


def test_request_recalled_is_exactly_one_head() -> None:
    parser = RequestParser()
    for _ in range(3):
        read(parser)
    assert parser.recall(REQUEST)
    assert not parser.recall(REQUEST + REQUEST)
    assert not parser.recall(REQUEST + b"abc")
    assert not parser.recall(REQUEST[:-1])
    assert not parser.recall(b"")
