"""The contract of HTTP/1 codecs, heads: what is read, what is refused, what is read as Envoy reads it.

Both codecs of ``--http1-codec`` run through it; test_h1_chunks.py is the same for bodies.
"""

from __future__ import annotations

import pytest

from sidecar.codec.h1 import RequestParser, ResponseParser, encode_fields, find_head_end, reason_phrase
from sidecar.codec.h1_choice import h1_codec
from sidecar.core.errors import RemoteProtocolError


@pytest.fixture(autouse=True, params=["llhttp", "h11"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs with the parsers of either codec."""
    chosen = h1_codec(request.param)
    monkeypatch.setitem(globals(), "RequestParser", chosen.request_parser)
    monkeypatch.setitem(globals(), "ResponseParser", chosen.response_parser)


START = b"GET / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked"


def request(head: bytes) -> RequestParser:
    parser = RequestParser()
    parser.parse(head)
    return parser


def with_fields(*lines: bytes) -> RequestParser:
    return request(START + b"".join(line + b"\r\n" for line in lines) + b"\r\n")


def response(head: bytes) -> ResponseParser:
    parser = ResponseParser()
    parser.parse(head)
    return parser


def refusal(head: bytes) -> tuple[int, str]:
    with pytest.raises(RemoteProtocolError) as caught:
        request(head)
    return caught.value.status, caught.value.details


# -- request lines --------------------------------------------------------------------------------------
def test_request_head_gives_method_target_version_and_fields_in_lower_case() -> None:
    parser = request(b"POST /a?b=c HTTP/1.1\r\nHost: h:1\r\nX-Abc: Def\r\naccept:*/*\r\n\r\n")
    assert (parser.method, parser.raw_target, parser.minor_version) == (b"POST", b"/a?b=c", 1)
    assert parser.host == b"h:1"
    assert parser.fields == [(b"x-abc", b"Def"), (b"accept", b"*/*")]
    assert (parser.content_length, parser.is_chunked, parser.close) == (-1, False, False)


@pytest.mark.parametrize(
    ("version", "minor"),
    [(b"HTTP/1.1", 1), (b"HTTP/1.0", 0), (b"HTTP/0.9", 0), (b"HTTP/2.0", 0)],
)
def test_request_version_other_than_1_1_is_read_as_1_0(version: bytes, minor: int) -> None:
    assert request(b"GET / " + version + b"\r\nHost: a\r\n\r\n").minor_version == minor


@pytest.mark.parametrize(
    "line",
    [
        b"get / HTTP/1.1",
        b"G@T / HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET / HTTP/1.10",
        b"GET / FTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"\x16\x03\x01\x02",
    ],
)
def test_request_line_that_is_not_http_is_refused(line: bytes) -> None:
    assert refusal(line + b"\r\nHost: a\r\n\r\n") == (400, "http1.codec_error")


@pytest.mark.parametrize(
    ("line", "minor"),
    [
        (b"GET\t/\tHTTP/1.1", 1),
        (b"GET  /  HTTP/1.1", 1),
        (b"GET / HTTP/1.1 ", 1),
        (b"GET / HTTP/1.2", 0),
        (b"GET / HTTP/3.0", 0),
        (b"GET / ", 0),
    ],
)
def test_request_line_that_envoy_reads_is_read(line: bytes, minor: int) -> None:
    parser = request(line + b"\r\nHost: a\r\n\r\n")
    assert (parser.method, parser.raw_target, parser.minor_version) == (b"GET", b"/", minor)


def test_version_is_that_of_the_first_line_whatever_ends_it() -> None:
    assert request(b"GET / HTTP/1.0\nX: HTTP/1.1\r\n\r\n").minor_version == 0


@pytest.mark.parametrize("plain", [True, False])
def test_header_lines_over_the_limit_are_answered_431(plain: bool) -> None:
    lines = b"".join(b"X-%d: 1\r\n" % number for number in range(99))
    lines += b"Accept: b\r\n" if plain else b"Upgrade: b\r\n"
    assert len(request(START.replace(b"Host: a\r\n", b"") + lines + b"\r\n").fields) == 99 + plain
    too_many = (431, "http1.too_many_headers")
    assert refusal(START + b"Connection: keep-alive\r\n" + lines + b"\r\n") == too_many


@pytest.mark.parametrize("target", [b"*", b"http://h/p?q", b"/%00", b"/a;b", b"//x"])
def test_request_target_is_kept_as_it_came(target: bytes) -> None:
    assert request(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n").raw_target == target


def test_connect_keeps_its_authority_form() -> None:
    parser = request(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
    assert (parser.method, parser.raw_target) == (b"CONNECT", b"a:443")


def test_long_request_line_is_given_whole() -> None:
    target = b"/" + b"x" * 50_000
    assert request(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n").raw_target == target


# -- fields ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("blanks", [b" ", b"\t", b" \t ", b"\t\t"])
def test_field_value_loses_blanks_at_both_ends(blanks: bytes) -> None:
    parser = with_fields(b"X-A:" + blanks + b"in ner" + blanks, b"Host2: b" + blanks)
    assert parser.fields == [(b"x-a", b"in ner"), (b"host2", b"b")]


def test_empty_field_value_is_kept() -> None:
    assert with_fields(b"X-A:", b"X-B: ").fields == [(b"x-a", b""), (b"x-b", b"")]


def test_repeated_field_is_kept_in_order() -> None:
    assert with_fields(b"A: 1", b"B: 2", b"a: 3").fields == [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]


def test_bytes_above_ascii_in_a_value_are_kept() -> None:
    assert with_fields(b"X-A: \x80\xff").fields == [(b"x-a", b"\x80\xff")]


def test_second_host_is_joined_to_the_first() -> None:
    assert with_fields(b"Host: b").host == b"a,b"


@pytest.mark.parametrize(
    "line",
    [
        b"X-A",
        b": a",
        b"X-A : a",
        b"X A: a",
        b"X\x80: a",
        b"X-A: a\rb",
    ],
)
def test_malformed_field_is_refused(line: bytes) -> None:
    assert refusal(START + line + b"\r\n\r\n") == (400, "http1.codec_error")


@pytest.mark.parametrize("line", [b"X-A: a\x00b", b"X-A: \x01", b"X-A: a\x7f", b"X\x00A: b"])
def test_control_characters_in_a_field_are_named_in_the_details(line: bytes) -> None:
    assert refusal(START + line + b"\r\n\r\n") == (400, "http1.invalid_characters")


def test_request_line_without_a_version_has_no_fields() -> None:
    parser = request(b"GET /x\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    assert (parser.raw_target, parser.minor_version, parser.close) == (b"/x", 0, True)
    assert (parser.host, parser.fields, parser.content_length) == (None, [], -1)


def test_names_beyond_the_cache_are_still_lowered() -> None:
    for number in range(5000):
        assert with_fields(b"X-%d: 1" % number).fields[0][0] == b"x-%d" % number


# -- second reading: bare line feeds and folded lines -----------------------------------------------------
@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\nHost: a\nX: b\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\r\nX: b \r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n",
    ],
)
def test_bare_line_feeds_end_lines(head: bytes) -> None:
    parser = request(head)
    assert (parser.method, parser.host, parser.fields) == (b"GET", b"a", [(b"x", b"b")])


@pytest.mark.parametrize("end", [b"\n\n", b"\n\r\n", b"\r\n\n", b"\r\n\r\n"])
def test_framing_field_on_the_last_line_is_read_whatever_ends_the_head(end: bytes) -> None:
    assert request(START + b"Content-Length: 5" + end).content_length == 5
    assert request(START + b"Transfer-Encoding: chunked" + end).is_chunked
    assert response(b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5" + end).content_length == 5


@pytest.mark.parametrize(
    ("fold", "joint"),
    [
        (b"\r\n ", b" "),
        (b"\r\n\t", b"\t"),
        (b" \r\n  \t", b"   \t"),
        (b"\n ", b" "),
        (b"\r\n \r\n ", b"  "),
    ],
)
def test_folded_value_loses_its_line_ends_and_keeps_its_blanks(fold: bytes, joint: bytes) -> None:
    assert with_fields(b"X-A: one" + fold + b"two", b"X-B: 3").fields == [
        (b"x-a", b"one" + joint + b"two"),
        (b"x-b", b"3"),
    ]


@pytest.mark.parametrize("value", [b"b\rc", b"b\r", b"\rb"])
def test_bare_cr_in_a_value_is_refused(value: bytes) -> None:
    assert refusal(START + b"X-A: " + value + b"\r\n\r\n") == (400, "http1.codec_error")


def test_folded_framing_field_frames_the_message() -> None:
    assert with_fields(b"Transfer-Encoding:\r\n chunked").is_chunked
    assert with_fields(b"Content-Length:\r\n 5").content_length == 5


def test_folded_length_beside_chunked_is_refused() -> None:
    head = START + b"Content-Length:\r\n 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert refusal(head)[0] == 400


def test_fold_behind_the_request_line_is_refused() -> None:
    assert refusal(b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n")[0] == 400


def test_head_with_bare_line_feeds_in_front_of_another_head_is_refused_not_merged() -> None:
    smuggled = b"GET / HTTP/1.1\nHost: a\n\nGET /admin HTTP/1.1\r\nHost: b\r\n\r\n"
    assert refusal(smuggled)[0] == 400


def test_parser_reads_the_next_head_after_a_refused_one() -> None:
    parser = RequestParser()
    with pytest.raises(RemoteProtocolError):
        parser.parse(START + b"bad\r\n\r\n")
    parser.reset()
    parser.parse(START + b"X: y\r\n\r\n")
    assert parser.fields == [(b"x", b"y")]


# -- framing --------------------------------------------------------------------------------------------
def test_content_length_is_read_and_stays_a_field() -> None:
    parser = with_fields(b"Content-Length: 5 ")
    assert (parser.content_length, parser.fields) == (5, [(b"content-length", b"5")])


@pytest.mark.parametrize("value", [b"+5", b"-5", b"0x5", b"5, 5", b"5 5", b"", b"five", b"9" * 30])
def test_content_length_that_is_no_number_is_refused(value: bytes) -> None:
    assert refusal(START + b"Content-Length: " + value + b"\r\n\r\n") == (400, "http1.codec_error")


@pytest.mark.parametrize("second", [b"5", b"6"])
def test_second_content_length_is_refused(second: bytes) -> None:
    assert refusal(START + b"Content-Length: 5\r\nContent-Length: " + second + b"\r\n\r\n")[0] == 400


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_content_length_beside_transfer_encoding_is_refused(lines: bytes) -> None:
    assert refusal(START + lines + b"\r\n")[0] == 400


@pytest.mark.parametrize(
    "value", [b"chunked", b"Chunked", b"CHUNKED", b"chunked ", b"chunked\t", b"\tchunked"]
)
def test_transfer_encoding_chunked_is_taken_out_of_the_fields(value: bytes) -> None:
    parser = with_fields(b"Transfer-Encoding: " + value)
    assert parser.is_chunked
    assert parser.fields == []
    # A field that the table does not know as plain leaves the head to llhttp.
    assert with_fields(b"Transfer-Encoding: " + value, b"X: a\r\n b").is_chunked


@pytest.mark.parametrize(
    "value",
    [
        b"gzip",
        b"identity",
        b"xchunked",
        b"gzip, chunked",
        b"chunked;q=1",
        b"chunked, gzip",
        b"chunked,",
        b"chunked, chunked",
    ],
)
def test_other_transfer_coding_is_answered_501(value: bytes) -> None:
    expected = (501, "http1.invalid_transfer_encoding")
    assert refusal(START + b"Transfer-Encoding: " + value + b"\r\n\r\n") == expected


@pytest.mark.parametrize("fold", [b"", b" \r\n", b" x: y\r\n", b" folded\r\n"])
def test_empty_transfer_coding_beside_a_length_is_answered_400(fold: bytes) -> None:
    assert refusal(START + b"Transfer-Encoding:\r\nContent-Length: 3\r\n" + fold + b"\r\n")[0] == 400


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding:\r\n",
    ],
)
def test_transfer_encoding_that_two_readers_could_read_differently_is_refused(lines: bytes) -> None:
    assert refusal(START + lines + b"\r\n")[0] in (400, 501)


# -- hop by hop -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "close", "keep_alive", "tokens"),
    [
        (b"Connection: close", True, False, ()),
        (b"Connection: Close", True, False, ()),
        (b"Connection: keep-alive", False, True, ()),
        (b"Connection: Keep-Alive, X-A", False, True, (b"x-a",)),
        (b"Connection: X-A , ,close", True, False, (b"x-a",)),
        (b"Proxy-Connection: close", True, False, ()),
        (b"Proxy-Connection: keep-alive", False, False, ()),
    ],
)
def test_connection_fields_are_taken_out_and_understood(
    line: bytes, close: bool, keep_alive: bool, tokens: tuple[bytes, ...]
) -> None:
    parser = with_fields(line)
    assert (parser.close, parser.keep_alive_token, parser.connection_tokens) == (close, keep_alive, tokens)
    assert parser.fields == []


def test_upgrade_is_told_by_its_field() -> None:
    parser = with_fields(b"Upgrade: websocket", b"Connection: Upgrade", b"X: y")
    assert (parser.upgrade, parser.connection_tokens) == (b"websocket", (b"upgrade",))
    assert parser.fields == [(b"x", b"y")]


@pytest.mark.parametrize(
    ("value", "expected"), [(b"100-continue", True), (b"100-Continue", True), (b"x", False)]
)
def test_expect_is_told_and_stays_a_field(value: bytes, expected: bool) -> None:
    parser = with_fields(b"Expect: " + value)
    assert parser.expect_continue is expected
    assert parser.fields == [(b"expect", value)]


def test_reset_forgets_everything_of_the_last_head() -> None:
    parser = with_fields(
        b"Connection: close, x", b"Expect: 100-continue", b"Content-Length: 3", b"Upgrade: u"
    )
    parser.reset()
    parser.parse(b"GET /b HTTP/1.1\r\nA: b\r\n\r\n")
    assert parser.fields == [(b"a", b"b")]
    assert (parser.host, parser.content_length, parser.close, parser.upgrade) == (None, -1, False, None)
    assert (parser.expect_continue, parser.connection_tokens, parser.raw_target) == (False, (), b"/b")


# -- responses ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "status", "minor"),
    [
        (b"HTTP/1.1 200 OK", 200, 1),
        (b"HTTP/1.1 200", 200, 1),
        (b"HTTP/1.1 200 ", 200, 1),
        (b"HTTP/1.0 404 Not Here At All", 404, 0),
        (b"HTTP/1.1 100 Continue", 100, 1),
        (b"HTTP/1.1 599 \x80", 599, 1),
    ],
)
def test_response_line_gives_status_and_version(line: bytes, status: int, minor: int) -> None:
    parser = response(line + b"\r\nServer: x\r\n\r\n")
    assert (parser.status, parser.minor_version, parser.fields) == (status, minor, [(b"server", b"x")])


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 99 x",
        b"HTTP/1.1 1000 x",
        b"HTTP/1.1 20x x",
        b"HTTP/2 200",
        b"ICY 200 OK",
        b"HTTP/1.1 200OK",
        b"GET / HTTP/1.1",
    ],
)
def test_response_line_that_is_not_http_is_refused(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        response(line + b"\r\n\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
    ],
)
def test_response_framing_that_is_ambiguous_is_refused(lines: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        response(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n")


def test_response_parser_serves_one_head_after_another() -> None:
    parser = ResponseParser()
    for length in (3, 0, 7):
        parser.reset()
        parser.parse(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        assert (parser.status, parser.content_length) == (200, length)


# -- small things ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", -1),
        (b"GET / HTTP/1.1\r\n", -1),
        (b"GET / HTTP/1.1\r\n\r", -1),
        (b"GET / HTTP/1.1\r\n\r\nrest", 18),
        (b"GET / HTTP/1.1\n\nrest", 16),
        (b"GET / HTTP/1.1\n\r\nrest", 17),
        (b"a\r\n\r\nb\r\n\r\n", 5),
    ],
)
def test_find_head_end_gives_the_offset_behind_the_first_empty_line(data: bytes, end: int) -> None:
    assert find_head_end(data) == end


def test_encode_fields_writes_one_line_each() -> None:
    assert encode_fields([]) == b""
    assert encode_fields([(b"a", b"1"), (b"b", b"")]) == b"a: 1\r\nb: \r\n"


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, b"OK"),
        (404, b"Not Found"),
        (421, b"Misdirected Request"),
        (425, b"Too Early"),
        (299, b"Unknown"),
    ],
)
def test_reason_phrase_is_envoys(status: int, phrase: bytes) -> None:
    assert reason_phrase(status) == phrase


@pytest.mark.parametrize("value", [b"a\t", b"a \t", b"a "])
def test_blanks_behind_a_value_go_where_llhttp_reads_the_head_too(value: bytes) -> None:
    parser = with_fields(b"X-A: " + value, b"Upgrade: u")
    assert (parser.upgrade, parser.fields) == (b"u", [(b"x-a", b"a")])


def test_parser_reads_a_head_behind_one_that_says_close() -> None:
    parser = ResponseParser()
    for _ in range(2):
        parser.reset()
        parser.parse(b"HTTP/1.1 100 Continue\r\nConnection: close\r\nUpgrade: u\r\n\r\n")
        assert (parser.status, parser.close) == (100, True)


# -- options and Envoy's own rules ----------------------------------------------------------------------
@pytest.mark.parametrize("method", [b"BREW", b"get", b"M-SEARCH", b"PRI", b"DESCRIBE"])
def test_method_that_envoy_does_not_know_is_refused_unless_custom_methods_are_allowed(method: bytes) -> None:
    head = method + b" / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert refusal(head) == (400, "http1.codec_error")
    parser = RequestParser(allow_custom_methods=True)
    parser.parse(head)
    assert parser.method == method


@pytest.mark.parametrize("method", [b"MSEARCH", b"QUERY", b"UNLINK"])
def test_method_that_envoy_knows_is_taken(method: bytes) -> None:
    assert request(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n").method == method


@pytest.mark.parametrize("lines", [(b"Content-Length: 9", CHUNKED), (CHUNKED, b"content-length: x")])
def test_length_beside_chunked_is_taken_out_where_that_is_allowed(lines: tuple[bytes, ...]) -> None:
    head = START + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    assert refusal(head)[0] == 400
    for parser in (RequestParser(allow_chunked_length=True), ResponseParser(allow_chunked_length=True)):
        is_request = isinstance(parser, RequestParser)
        parser.parse(head if is_request else b"HTTP/1.1 200 OK" + head[head.index(b"\r\n") :])
        assert (parser.is_chunked, parser.content_length) == (True, -1)
        assert b"content-length" not in dict(parser.fields)


def test_two_lengths_beside_chunked_stay_refused() -> None:
    head = START + b"Content-Length: 1\r\nContent-Length: 2\r\n" + CHUNKED + b"\r\n\r\n"
    with pytest.raises(RemoteProtocolError):
        RequestParser(allow_chunked_length=True).parse(head)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"Content-Length: 5", (400, "http1.body_disallowed")),
        (b"Transfer-Encoding: chunked", (501, "http1.invalid_transfer_encoding")),
    ],
)
def test_connect_with_a_body_is_refused(line: bytes, expected: tuple[int, str]) -> None:
    assert refusal(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n") == expected


def test_connect_with_length_0_loses_it() -> None:
    parser = request(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert (parser.content_length, parser.fields) == (-1, [])


@pytest.mark.parametrize("version", [b"RTSP/1.0", b"ICE/1.0"])
def test_protocol_that_is_not_http_is_refused(version: bytes) -> None:
    assert refusal(b"GET / " + version + b"\r\nHost: a\r\n\r\n")[0] == 400


def test_unknown_coding_beside_a_length_is_about_the_length() -> None:
    length, coding = b"Content-Length: 1\r\n", b"Transfer-Encoding: x\r\n"
    for lines in (length + coding, coding + length):
        assert refusal(START + lines + b"\r\n")[0] == 400


def test_two_codings_are_unknown() -> None:
    head = START + CHUNKED + b"\r\n" + CHUNKED + b"\r\n\r\n"
    assert refusal(head) == (501, "http1.invalid_transfer_encoding")
    with pytest.raises(RemoteProtocolError):
        response(b"HTTP/1.1 200 OK" + head[head.index(b"\r\n") :])


@pytest.mark.parametrize(
    "head",
    [b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\nHost: a\r\n\n", b"GET / HTTP/1.1\nHost: a\n\r\n"],
)
def test_head_with_bare_line_feeds_ends_before_the_next(head: bytes) -> None:
    assert find_head_end(head + START + b"\r\n") == len(head)
    assert request(head).host == b"a"


@pytest.mark.parametrize(
    "head", [b"\r\nHTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 O\x01K\r\n\r\n", b"HTTP/1.1 099 x\r\n\r\n"]
)
def test_response_that_does_not_begin_with_its_line_is_refused(head: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        response(head)


def test_host_is_a_field_of_a_response_like_any_other() -> None:
    lines = b"Host: a\r\nX: y\r\nContent-Length: 0\r\n\r\n"
    for _ in range(3):  # once the block is known, it must not be taken for a request's
        assert request(b"GET / HTTP/1.1\r\n" + lines).fields == [(b"x", b"y"), (b"content-length", b"0")]
        fields = [(b"host", b"a"), (b"x", b"y"), (b"content-length", b"0")]
        assert response(b"HTTP/1.1 200 OK\r\n" + lines).fields == fields


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("lines", [(), (b"upgrade: x",), (b"upgrade: x", b"connection: upgrade")])
def test_101_is_read_whatever_it_says_of_the_upgrade(end: bytes, lines: tuple[bytes, ...]) -> None:
    assert response(end.join([b"HTTP/1.1 101 Switching", *lines, b"", b""])).status == 101
