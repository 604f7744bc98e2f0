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
    assert [table.is_wanted(b"block") for _ in range(3)] == [False, True, True]
    assert not any(table.is_wanted(b"x" * 5000) for _ in range(3))
    for number in range(10_000):
        table.is_wanted(b"seen %d" % number)
        table.keep(b"%d" % number, content)
    assert len(table.known) <= 512
    assert table.get(b"9999") is content
    assert table.get(b"0") is None


def test_response_taken_from_the_front_of_what_was_received_gives_the_rest() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\n"
    parser = ResponseParser()
    for _ in range(4):
        parser.reset()
        assert parser.take(head + b"ok") == b"ok"
        assert (parser.status, parser.content_length) == (200, 2)
        assert parser.fields == [(b"x-a", b"1"), (b"content-length", b"2")]
        parser.reset()
        assert parser.take(head[:-2]) is None


def test_request_taken_is_one_whole_head_at_the_front() -> None:
    parser = RequestParser()
    for _ in range(3):
        read(parser)
        for rest in (b"", REQUEST, b"abc"):
            parser.reset()
            assert parser.take(REQUEST + rest) == rest
            assert parser.raw_target == b"/p"
        for part in (REQUEST[:-1], REQUEST[:20], b"", b"\r\n" + REQUEST, b" " + REQUEST):
            parser.reset()
            assert parser.take(part) is None


@pytest.mark.parametrize("value", [b"2", b"a  b", b"\xff", b"a" * 700])
def test_block_with_one_line_that_changes_is_read_with_its_new_value(value: bytes) -> None:
    parser = RequestParser()
    for number in range(6):
        parser.reset()
        assert parser.take(b"GET / HTTP/1.1\r\nHost: h\r\nX-Id: %d\r\nX-B: b\r\n\r\n" % number) == b""
    parser.reset()
    assert parser.take(b"GET / HTTP/1.1\r\nHost: h\r\nX-Id: " + value + b"\r\nX-B: b\r\n\r\n") == b""
    assert parser.fields == [(b"x-id", value), (b"x-b", b"b")]
    assert parser.index == {b"x-id": value, b"x-b": b"b"}
    assert parser.host == b"h"


def test_block_whose_content_length_changes_is_framed_anew_each_time() -> None:
    parser = RequestParser()
    for length in [*range(200, 300), 7, 7, 7, 8]:
        parser.reset()
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nX-B: b\r\n\r\n" % length
        assert parser.take(head) == b""
        assert parser.content_length == length


@pytest.mark.parametrize(
    "value",
    [b" 1", b"1 ", b"1\t", b"", b"a\x00b", b"a\x7f", b"1\r\nX-C: c", b"1\r\nContent-Length: 3", b"1\n"],
)
def test_line_that_changes_to_something_odd_reads_as_in_a_new_parser(value: bytes) -> None:
    parser = RequestParser()
    start, end = b"GET / HTTP/1.1\r\nHost: h\r\nX-Odd: ", b"\r\nX-B: b\r\n\r\n"
    for number in range(6):
        parser.reset()
        parser.parse(start + b"%d" % number + end)
    outcomes = []
    for each in (parser, RequestParser()):
        each.reset()
        try:
            each.parse(start + value + end)
        except RemoteProtocolError as error:
            outcomes.append((error.status, str(error)))
        else:
            outcomes.append((each.fields, each.host, each.content_length, dict(each.fields)))
    assert outcomes[0] == outcomes[1]


def test_line_that_changes_and_then_stays_is_kept_as_a_block() -> None:
    parser = ResponseParser()
    for date in (b"1", b"2", b"3", b"4", b"4", b"4", b"4", b"5", b"5", b"5"):
        parser.reset()
        assert parser.take(b"HTTP/1.1 200 OK\r\nX-Date: " + date + b"\r\nContent-Length: 0\r\n\r\n") == b""
        assert parser.fields == [(b"x-date", date), (b"content-length", b"0")]
        assert (parser.content_length, parser.close) == (0, False)


def test_a_parser_that_let_go_keeps_nothing_and_reads_on() -> None:
    parser = RequestParser()
    plain = b"GET / HTTP/1.1\r\nhost: a\r\nx-one: 1\r\n\r\n"
    folded = b"GET / HTTP/1.1\r\nhost: b\r\nx-two: 2\t\r\n\r\n"
    for head, host in ((plain, b"a"), (folded, b"b"), (plain, b"a"), (plain, b"a")):
        parser.reset()
        parser.let_go()
        assert (parser.fields, parser.index, parser.host) == ([], None, None)
        parser.parse(head)
        assert parser.host == host
        assert [value for name, value in parser.fields if name != b"host"] in ([b"1"], [b"2"])
        parser.fields.append((b"x-forwarded-proto", b"http"))
