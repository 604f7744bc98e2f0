"""What both HTTP/2 codecs promise, each test on each."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_reference import H2ReferenceConnection
from sidecar.codec.h2_types import CONNECTION_PREFACE, ErrorCode, H2Settings
from sidecar.core.errors import LocalProtocolError
from tests.support.h2_frames import (
    ACK,
    CLIENT_START,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    POST,
    PRIORITY,
    PRIORITY_FLAG,
    PUSH,
    REQUEST,
    RESPONSE,
    RST,
    SERVER_START,
    SETTINGS,
    WINDOW_UPDATE,
    Recorder,
    block,
    feed,
    frame,
    headers,
    parse,
    request,
    settings,
    u32,
)

Make = Callable[..., tuple[Any, Recorder]]


@pytest.fixture(params=[H2Connection, H2ReferenceConnection], ids=["own", "h2"])
def make(request: pytest.FixtureRequest) -> Make:
    def build(*, client: bool = False, start: bool = True, **changes: Any) -> tuple[Any, Recorder]:
        recorder = Recorder()
        codec = request.param(recorder, client=client, settings=H2Settings(**changes))
        if start:
            codec.take_output()
            codec.receive_data(SERVER_START if client else CLIENT_START)
            codec.take_output()
            recorder.calls.clear()
        return codec, recorder

    return build


@pytest.fixture
def make_own() -> Make:
    """For what the h2 package has not."""

    def build(*, client: bool = False, start: bool = True, **changes: Any) -> tuple[Any, Recorder]:
        recorder = Recorder()
        codec = H2Connection(recorder, client=client, settings=H2Settings(**changes))
        if start:
            codec.take_output()
            codec.receive_data(SERVER_START if client else CLIENT_START)
            codec.take_output()
            recorder.calls.clear()
        return codec, recorder

    return build


@pytest.fixture
def server(make: Make) -> tuple[Any, Recorder]:
    return make()


@pytest.fixture
def client(make: Make) -> tuple[Any, Recorder]:
    return make(client=True)


# -- connection start -----------------------------------------------------------------------------------
def test_server_start_sends_envoys_settings(make: Make) -> None:
    codec, _ = make(start=False)
    kind, _, _, payload = parse(codec.take_output())[0]
    assert kind == SETTINGS
    pairs = {
        int.from_bytes(payload[i : i + 2], "big"): payload[i + 2 : i + 6] for i in range(0, len(payload), 6)
    }
    assert pairs[1] == u32(4096)
    assert pairs[3] == u32(1024)
    assert pairs[4] == u32(16 << 20)


def test_start_opens_the_connection_window(make: Make) -> None:
    codec, _ = make(start=False)
    assert (WINDOW_UPDATE, 0, 0, u32(25100289)) in parse(codec.take_output())


def test_client_start_sends_the_preface(make: Make) -> None:
    codec, _ = make(start=False, client=True)
    assert codec.take_output().startswith(CONNECTION_PREFACE)


def test_settings_received_are_acknowledged(make: Make) -> None:
    codec, recorder = make(start=False)
    codec.take_output()
    codec.receive_data(CLIENT_START)
    assert (SETTINGS, ACK, 0, b"") in parse(codec.take_output())
    assert ("settings",) in recorder.calls


# -- requests -------------------------------------------------------------------------------------------
def test_request_without_body_is_told(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    codec.receive_data(request())
    assert recorder.calls == [("headers", 1, REQUEST, True)]


def test_request_repeated_by_index_gives_a_list_of_its_own(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    indexed = b"\x82\x84\x86\x01\x04host"
    for stream_id in (1, 3, 5):
        codec.receive_data(frame(HEADERS, 5, stream_id, indexed))
    assert [call[2] for call in recorder.calls] == [
        ((b":method", b"GET"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"host"))
    ] * 3


def test_block_means_something_else_once_the_table_changed(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    first_entry = block(*REQUEST) + b"\xbe"
    codec.receive_data(frame(HEADERS, 5, 1, block(*REQUEST) + b"\x40\x01a\x01b"))
    codec.receive_data(frame(HEADERS, 5, 3, first_entry) + frame(HEADERS, 5, 5, first_entry))
    codec.receive_data(frame(HEADERS, 5, 7, block(*REQUEST) + b"\x40\x01c\x01d"))
    codec.receive_data(frame(HEADERS, 5, 9, first_entry))
    assert [call[2][-1] for call in recorder.calls] == [
        (b"a", b"b"), (b"a", b"b"), (b"a", b"b"), (b"c", b"d"), (b"c", b"d")
    ]  # fmt: skip


def test_request_in_continuations_is_one(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    whole = block(*REQUEST)
    codec.receive_data(frame(HEADERS, END_STREAM, 1, whole[:3]) + frame(CONTINUATION, 0, 1, whole[3:9]))
    assert recorder.calls == []
    codec.receive_data(frame(CONTINUATION, END_HEADERS, 1, whole[9:]))
    assert recorder.calls == [("headers", 1, REQUEST, True)]


def test_request_with_padding_and_priority_is_stripped(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    payload = b"\x03" + u32(0) + b"\x10" + block(*REQUEST) + b"\0\0\0"
    codec.receive_data(frame(HEADERS, 5 | PADDED | PRIORITY_FLAG, 1, payload))
    assert recorder.calls == [("headers", 1, REQUEST, True)]


def test_body_and_trailers_are_told_in_order(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    codec.receive_data(headers(1, *POST, flags=END_HEADERS) + frame(DATA, 0, 1, b"ab"))
    codec.receive_data(frame(DATA, PADDED, 1, b"\x02c\0\0") + headers(1, (b"x-t", b"1")))
    assert recorder.calls == [
        ("headers", 1, POST, False),
        ("data", 1, b"ab", False, 2),
        ("data", 1, b"c", False, 4),
        ("trailers", 1, ((b"x-t", b"1"),)),
    ]


def test_cookie_crumbs_are_joined(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    codec.receive_data(request(1, (b"cookie", b"a=1"), (b"x-a", b"b"), (b"cookie", b"c=2")))
    assert recorder.calls[0][2] == (*REQUEST, (b"x-a", b"b"), (b"cookie", b"a=1; c=2"))


def test_unknown_frame_is_passed_over(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    codec.receive_data(frame(0x4D, 3, 0, b"abc") + request())
    assert len(recorder.calls) == 1


def test_ping_is_answered(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    codec.receive_data(frame(PING, 0, 0, b"12345678"))
    assert parse(codec.take_output()) == [(PING, ACK, 0, b"12345678")]


# -- responses ------------------------------------------------------------------------------------------
def open_get(codec: Any, method: bytes = b"GET") -> int:
    stream_id: int = codec.open_stream()
    codec.send_headers(stream_id, [(b":method", method), *REQUEST[1:]], True)
    return stream_id


def test_response_and_informational_are_told(client: tuple[Any, Recorder]) -> None:
    codec, recorder = client
    stream_id = open_get(codec)
    codec.receive_data(headers(stream_id, (b":status", b"103"), (b"link", b"x"), flags=END_HEADERS))
    codec.receive_data(
        headers(stream_id, *RESPONSE, flags=END_HEADERS) + frame(DATA, END_STREAM, stream_id, b"hi")
    )
    assert recorder.calls == [
        ("informational", 1, ((b":status", b"103"), (b"link", b"x"))),
        ("headers", 1, RESPONSE, False),
        ("data", 1, b"hi", True, 2),
    ]
    assert codec.is_closed(stream_id)


def test_response_to_head_may_declare_a_length(client: tuple[Any, Recorder]) -> None:
    codec, recorder = client
    stream_id = open_get(codec, b"HEAD")
    codec.receive_data(headers(stream_id, *RESPONSE, (b"content-length", b"10")))
    assert recorder.calls[-1][0] == "headers"


def test_response_sent_is_what_a_client_reads(make: Make) -> None:
    codec, _ = make()
    peer, recorder = make(client=True)
    stream_id = open_get(peer)
    codec.receive_data(peer.take_output())
    codec.send_headers(stream_id, [*RESPONSE, (b"x-a", b"b")], False)
    codec.send_data(stream_id, b"body", False)
    codec.send_trailers(stream_id, [(b"x-t", b"1")])
    peer.receive_data(codec.take_output())
    assert recorder.messages() == [
        ("headers", 1, (*RESPONSE, (b"x-a", b"b")), False),
        ("data", 1, b"body", False, 4),
        ("trailers", 1, ((b"x-t", b"1"),)),
    ]
    assert codec.is_closed(1)
    assert peer.is_closed(1)


def test_long_header_block_is_sent_in_continuations(make: Make) -> None:
    codec, _ = make()
    peer, recorder = make(client=True)
    stream_id = open_get(peer)
    codec.receive_data(peer.take_output())
    fields = [*RESPONSE, *((b"x-%d" % number, b"%d" % number * 700) for number in range(20))]
    codec.send_headers(stream_id, fields, True)
    data = codec.take_output()
    assert [entry[0] for entry in parse(data)] == [HEADERS, *[CONTINUATION] * (len(parse(data)) - 1)]
    peer.receive_data(data)
    assert recorder.messages() == [("headers", 1, tuple(fields), True)]


def test_peer_stream_limit_closes_can_open(client: tuple[Any, Recorder]) -> None:
    codec, _ = client
    codec.receive_data(settings((3, 1)))
    assert codec.can_open
    open_get(codec)
    assert not codec.can_open
    with pytest.raises(LocalProtocolError):
        codec.open_stream()


# -- flow control ---------------------------------------------------------------------------------------
def test_send_window_starts_at_the_default_and_opens(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    codec.receive_data(request(flags=END_HEADERS))
    codec.send_headers(1, list(RESPONSE), False)
    assert codec.send_window(1) == 65535
    codec.send_data(1, b"x" * 65535, False)
    assert codec.send_window(1) == 0
    with pytest.raises(LocalProtocolError):
        codec.send_data(1, b"y", False)
    codec.receive_data(frame(WINDOW_UPDATE, 0, 1, u32(10)))
    assert codec.send_window(1) == 0
    codec.receive_data(frame(WINDOW_UPDATE, 0, 0, u32(5)))
    assert codec.send_window(1) == 5
    assert recorder.calls[-2:] == [("window", 1), ("window", 0)]


def test_initial_window_change_applies_to_open_streams(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    codec.receive_data(request(flags=END_HEADERS))
    codec.receive_data(settings((4, 100)))
    assert codec.send_window(1) == 100
    codec.send_headers(1, list(RESPONSE), False)
    codec.send_data(1, b"x" * 100, False)
    codec.receive_data(settings((4, 50)))
    assert codec.send_window(1) == 0
    codec.receive_data(settings((4, 130)))
    assert codec.send_window(1) == 30
    assert ("window", 1) in recorder.calls


def test_data_is_split_by_the_peers_frame_size(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    codec.receive_data(request())
    codec.send_headers(1, list(RESPONSE), False)
    codec.take_output()
    codec.send_data(1, b"x" * 40000, True)
    assert [(entry[1], len(entry[3])) for entry in parse(codec.take_output())] == [
        (0, 16384), (0, 16384), (END_STREAM, 7232)
    ]  # fmt: skip


def test_consumed_bytes_open_the_peers_window(make: Make) -> None:
    codec, _ = make(initial_stream_window_size=65535, initial_connection_window_size=65535)
    codec.receive_data(headers(1, *POST, flags=END_HEADERS))
    for _ in range(3):
        codec.receive_data(frame(DATA, 0, 1, b"x" * 16384))
    assert parse(codec.take_output()) == []
    codec.consume(1, 3 * 16384)
    updates = parse(codec.take_output())
    assert sorted((entry[0], entry[2]) for entry in updates) == [(WINDOW_UPDATE, 0), (WINDOW_UPDATE, 1)]


def test_data_beyond_the_window_ends_the_connection(make: Make) -> None:
    codec, _ = make(initial_stream_window_size=65535)
    codec.receive_data(headers(1, *POST, flags=END_HEADERS))
    error = feed(codec, frame(DATA, 0, 1, b"x" * 16384) * 4)
    assert error is not None
    assert error.h2_code == ErrorCode.FLOW_CONTROL_ERROR


def test_reset_gives_the_connection_window_back(make: Make) -> None:
    codec, _ = make(initial_connection_window_size=65535)
    codec.receive_data(headers(1, *POST, flags=END_HEADERS))
    codec.receive_data(frame(DATA, 0, 1, b"x" * 16384) * 3)
    codec.reset_stream(1, ErrorCode.CANCEL)
    frames = parse(codec.take_output())
    assert (RST, 0, 1, u32(8)) in frames
    assert any(entry[0] == WINDOW_UPDATE and entry[2] == 0 for entry in frames)


def test_data_for_a_reset_stream_is_dropped_and_its_window_returned(make: Make) -> None:
    codec, recorder = make(initial_connection_window_size=65535)
    codec.receive_data(headers(1, *POST, flags=END_HEADERS))
    codec.reset_stream(1, ErrorCode.CANCEL)
    codec.take_output()
    recorder.calls.clear()
    for _ in range(10):
        codec.receive_data(frame(DATA, 0, 1, b"x" * 16384))
        codec.take_output()
    assert recorder.calls == []


# -- ends -----------------------------------------------------------------------------------------------
def test_reset_by_the_peer_is_told(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    codec.receive_data(request(flags=END_HEADERS) + frame(RST, 0, 1, u32(8)))
    assert recorder.calls[-1] == ("reset", 1, 8, True)
    assert codec.is_closed(1)


def test_goaway_resets_what_the_peer_did_not_see(client: tuple[Any, Recorder]) -> None:
    codec, recorder = client
    open_get(codec)
    open_get(codec)
    codec.receive_data(frame(GOAWAY, 0, 0, u32(1) + u32(0)))
    assert recorder.calls == [("reset", 3, 7, True), ("goaway", 1, 0)]
    assert not codec.can_open
    codec.receive_data(headers(1, *RESPONSE))
    assert recorder.calls[-1] == ("headers", 1, RESPONSE, True)


def test_goaway_sent_lets_open_streams_finish_and_new_ones_go_unseen(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    codec.receive_data(request(1))
    codec.goaway(0, notice=True)
    codec.receive_data(request(3))
    codec.goaway(0)
    codec.receive_data(request(5))
    assert [entry[1] for entry in recorder.calls] == [1, 3]
    codec.send_headers(3, list(RESPONSE), True)
    frames = parse(codec.take_output())
    assert [entry[3][:4] for entry in frames if entry[0] == GOAWAY] == [u32(2**31 - 1), u32(3)]


def test_codec_after_an_error_stays_failed(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    assert feed(codec, frame(PING, 0, 0, b"short")) is not None
    assert feed(codec, request()) is not None


# -- what is refused ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(DATA, 0, 0, b"a"), 1, id="data on stream 0"),
        pytest.param(frame(DATA, 0, 1, b"a"), 1, id="data on an idle stream"),
        pytest.param(frame(DATA, 0, 1, b"a" * 16385), 6, id="frame too large"),
        pytest.param(frame(RST, 0, 1, b"a"), 6, id="reset too short"),
        pytest.param(frame(WINDOW_UPDATE, 0, 0, b"abc"), 6, id="window too short"),
        pytest.param(frame(SETTINGS, 0, 0, b"abc"), 6, id="settings torn"),
        pytest.param(frame(SETTINGS, ACK, 0, b"abcdef"), 6, id="settings ack with payload"),
        pytest.param(frame(PING, 0, 0, b"abc"), 6, id="ping too short"),
        pytest.param(frame(GOAWAY, 0, 0, u32(0)), 6, id="goaway too short"),
        pytest.param(frame(PRIORITY, 0, 1, u32(1)), 6, id="priority too short"),
        pytest.param(frame(CONTINUATION, END_HEADERS, 1, block(*REQUEST)), 1, id="continuation alone"),
        pytest.param(request(flags=END_STREAM) + frame(PING, 0, 0, b"12345678"), 1, id="block interrupted"),
        pytest.param(request(flags=END_STREAM) + frame(CONTINUATION, 4, 3), 1, id="continuation elsewhere"),
        pytest.param(request() + frame(DATA, 0, 1, b"a"), 5, id="data behind the end"),
        pytest.param(frame(HEADERS, 5 | PADDED, 1, b"\xff" + block(*REQUEST)), 1, id="padding too long"),
        pytest.param(frame(HEADERS, 5, 1, block(*REQUEST) + b"\x40"), 9, id="string cut short"),
        pytest.param(frame(HEADERS, 5, 1, block(*REQUEST) + b"\x20"), 9, id="late table size update"),
        pytest.param(frame(HEADERS, 5, 1, block(*REQUEST) + b"\x00\x03x-a\x81a"), 9, id="huffman padding"),
        pytest.param(frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff"), 9, id="endless integer"),
    ],
)
def test_unreadable_frame_ends_the_connection_with_goaway(
    server: tuple[Any, Recorder], data: bytes, code: int
) -> None:
    codec, _ = server
    error = feed(codec, data)
    sent = parse(codec.take_output())
    if isinstance(codec, H2ReferenceConnection) and code == ErrorCode.STREAM_CLOSED:
        # RFC 9113 §5.1 leaves the choice: the package resets the stream, our wrapper ends it in silence.
        assert error is not None
        assert not sent
        return
    assert error is not None
    assert not error.is_silent
    assert sent[-1][0] == GOAWAY
    if isinstance(codec, H2Connection):
        assert error.h2_code == code
        assert sent[-1][3][4:8] == u32(code)


def test_read_that_ends_the_connection_takes_its_answers_along(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    ping = frame(PING, 0, 0, b"12345678")
    codec.receive_data(ping)
    feed(codec, ping + settings() + frame(PING, 0, 0, b"abc"))
    assert [each[0] for each in parse(codec.take_output())] == [PING, GOAWAY]


def test_silent_end_takes_its_answers_along(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    feed(codec, frame(PING, 0, 0, b"12345678") + frame(RST, 0, 1, u32(0)))
    assert codec.take_output() == b""


@pytest.mark.parametrize(
    ("data", "kinds"),
    [(frame(PING, 0, 0, b"abc"), [SETTINGS, GOAWAY]), (frame(RST, 0, 1, u32(0)), [])],
    ids=["with GOAWAY", "silent"],
)
def test_connection_that_breaks_in_its_first_read(make: Make, data: bytes, kinds: list[int]) -> None:
    codec, _ = make(start=False)
    feed(codec, CLIENT_START + data)
    assert [each[0] for each in parse(codec.take_output())] == kinds


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(RST, 0, 1, u32(0)), 1, id="reset of an idle stream"),
        pytest.param(frame(WINDOW_UPDATE, 0, 1, u32(1)), 1, id="window of an idle stream"),
        pytest.param(frame(WINDOW_UPDATE, 0, 0, u32(0)), 1, id="window of nothing"),
        pytest.param(frame(SETTINGS, 0, 1), 1, id="settings on a stream"),
        pytest.param(settings((2, 2)), 1, id="enable push 2"),
        pytest.param(settings((4, 2**31)), 3, id="initial window too large"),
        pytest.param(settings((5, 100)), 1, id="max frame size too small"),
        pytest.param(frame(PING, 0, 1, b"12345678"), 1, id="ping on a stream"),
        pytest.param(frame(GOAWAY, 0, 1, u32(0) + u32(0)), 1, id="goaway on a stream"),
        pytest.param(frame(PUSH, END_HEADERS, 1, u32(2) + block(*REQUEST)), 1, id="push"),
        pytest.param(request(2), 1, id="even stream"),
        pytest.param(request(0), 1, id="headers on stream 0"),
        pytest.param(request(5) + request(3), None, id="older stream"),
        pytest.param(request() + request(), 5, id="headers behind the end"),
        pytest.param(request(flags=END_HEADERS) + headers(1, (b"x", b"y"), flags=4), 1, id="trailers go on"),
        pytest.param(request(flags=END_HEADERS) + headers(1, (b":path", b"/")), 1, id="pseudo trailer"),
    ],
)
def test_frame_that_breaks_a_rule_ends_the_connection_in_silence(
    server: tuple[Any, Recorder], data: bytes, code: int | None
) -> None:
    codec, _ = server
    error = feed(codec, data)
    sent = parse(codec.take_output())
    if isinstance(codec, H2ReferenceConnection):
        # The package may reset the stream instead, or say GOAWAY.
        assert error is not None or sent[-1][0] == RST
        return
    assert error is not None
    assert error.is_silent
    assert not any(entry[0] == GOAWAY for entry in sent)
    assert code is None or error.h2_code == code


def test_failed_connection_sends_no_more_resets(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    feed(codec, request() + frame(PING, 0, 1, b"12345678"))
    codec.take_output()
    codec.reset_stream(1, ErrorCode.INTERNAL_ERROR)
    assert codec.take_output() == b""


def test_bad_preface_is_answered_with_nothing(make: Make) -> None:
    codec, _ = make(start=False)
    error = feed(codec, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    assert error is not None
    assert codec.take_output() == b""


def test_priority_of_any_stream_means_nothing(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    data = frame(PRIORITY, 0, 1, u32(3) + b"\0") + frame(PRIORITY, 0, 4, u32(0x80000000) + b"\0") + request()
    assert feed(codec, data) is None
    assert len(recorder.calls) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(PRIORITY, 0, 1, u32(0x80000001) + b"\0"), 1, id="priority on itself"),
        pytest.param(frame(PRIORITY, 0, 0, u32(1) + b"\0"), 1, id="priority on stream 0"),
        pytest.param(frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)), 3, id="window overflow"),
    ],
)
def test_frame_that_only_the_rfc_refuses_ends_the_connection_with_goaway(
    server: tuple[Any, Recorder], data: bytes, code: int
) -> None:
    codec, _ = server
    error = feed(codec, data)
    assert error is not None
    assert error.h2_code == code
    last = parse(codec.take_output())[-1]
    assert (last[0], last[3][4:8]) == (GOAWAY, u32(code))


def test_overflow_of_a_streams_window_resets_the_stream_alone(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    data = request(flags=END_HEADERS) + frame(WINDOW_UPDATE, 0, 1, u32(2**31 - 1))
    assert feed(codec, data) is None
    assert recorder.messages()[-1] == ("reset", 1, 3, False)
    assert [entry[2:] for entry in parse(codec.take_output()) if entry[0] == RST] == [(1, u32(3))]
    assert codec.is_closed(1)
    assert feed(codec, request(3)) is None
    assert recorder.messages()[-1][:2] == ("headers", 3)


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(frame(DATA, END_STREAM, 1, b"late"), id="data"),
        pytest.param(request(1), id="headers"),
    ],
)
def test_frame_behind_the_peers_reset_is_answered_with_stream_closed(
    server: tuple[Any, Recorder], late: bytes
) -> None:
    codec, recorder = server
    assert feed(codec, request(flags=END_HEADERS) + frame(RST, 0, 1, u32(8))) is None
    codec.take_output()
    said = len(recorder.calls)
    assert feed(codec, late) is None
    assert [entry[2:] for entry in parse(codec.take_output()) if entry[0] == RST] == [(1, u32(5))]
    assert len(recorder.calls) == said


def test_data_behind_both_ends_is_answered_with_stream_closed(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    feed(codec, request())
    codec.send_headers(1, [(b":status", b"200")], True)
    codec.take_output()
    assert feed(codec, frame(DATA, END_STREAM, 1, b"late")) is None
    assert [entry[2:] for entry in parse(codec.take_output()) if entry[0] == RST] == [(1, u32(5))]
    assert codec.is_closed(1)


def test_trailers_before_the_declared_length_reset_the_stream(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    feed(codec, request(1, (b"content-length", b"3"), flags=END_HEADERS) + frame(DATA, 0, 1, b"12"))
    assert feed(codec, headers(1, (b"x-trailer", b"1"))) is None
    assert recorder.messages()[-1] == ("reset", 1, 1, False)


def test_frames_behind_our_own_reset_are_let_pass(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    feed(codec, request(flags=END_HEADERS))
    codec.reset_stream(1, ErrorCode.NO_ERROR)
    codec.take_output()
    said = len(recorder.calls)
    assert feed(codec, frame(DATA, 0, 1, b"late") + headers(1, (b"x-trailer", b"1"))) is None
    # The package repeats itself.
    assert codec.take_output() == b"" or isinstance(codec, H2ReferenceConnection)
    assert len(recorder.calls) == said


def test_malformed_request_names_its_stream(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    error = feed(codec, request(1, (b"connection", b"close")))
    assert error is not None
    assert (error.stream_id, error.details) == (1, "http2.invalid.header.field")


def pseudo(**changes: bytes | None) -> list[tuple[bytes, bytes]]:
    values: dict[str, bytes | None] = {
        "method": b"GET",
        "path": b"/",
        "scheme": b"http",
        "authority": b"host",
    }
    values.update(changes)
    return [(b":" + name.encode(), value) for name, value in values.items() if value is not None]


MALFORMED = [
    [*REQUEST, (b"X-A", b"b")],
    [*REQUEST, (b"x a", b"b")],
    [*REQUEST, (b"", b"b")],
    [*REQUEST, (b"x-a", b"b\0c")],
    [*REQUEST, (b"x-a", b"b\nc")],
    [*REQUEST, (b"x-a", b"b\x7f")],
    [*REQUEST, (b"connection", b"close")],
    [*REQUEST, (b"upgrade", b"x")],
    [*REQUEST, (b"keep-alive", b"x")],
    [*REQUEST, (b"transfer-encoding", b"chunked")],
    [*REQUEST, (b"te", b"gzip")],
    [*REQUEST, (b"te", b"trailers, deflate")],
    [*REQUEST, (b"x-a", b"b"), (b":path", b"/")],
    [*REQUEST, (b":path", b"/")],
    [*REQUEST, (b":foo", b"x")],
    [*REQUEST, (b":status", b"200")],
    pseudo(path=None),
    pseudo(scheme=None),
    pseudo(method=None),
    pseudo(authority=None),
    pseudo(path=b""),
    pseudo(path=b"foo"),
    pseudo(path=b"*"),
    pseudo(path=b"/a b"),
    pseudo(method=b"G T"),
    pseudo(scheme=b"ht tp"),
    pseudo(authority=b"a b"),
    pseudo(authority=b"user@a"),
    pseudo(authority=b""),
    pseudo(method=b"CONNECT"),
    pseudo(method=b"CONNECT", protocol=b"websocket"),
    [*REQUEST, (b"content-length", b"x")],
    [*REQUEST, (b"content-length", b"+3")],
    [*REQUEST, (b"content-length", b"0"), (b"content-length", b"0")],
    [*REQUEST, (b"content-length", b"3")],
]


@pytest.mark.parametrize("fields", MALFORMED, ids=repr)
def test_malformed_request_ends_the_connection(make: Make, fields: list[tuple[bytes, bytes]]) -> None:
    codec, recorder = make()
    error = feed(codec, headers(1, *fields))
    assert error is not None
    assert error.h2_code == ErrorCode.PROTOCOL_ERROR
    assert recorder.messages() == []


@pytest.mark.parametrize("fields", MALFORMED, ids=repr)
def test_malformed_request_ends_its_stream_where_so_configured(
    make: Make, fields: list[tuple[bytes, bytes]]
) -> None:
    codec, recorder = make(override_stream_error_on_invalid_http_message=True)
    error = feed(codec, headers(1, *fields) + request(3))
    if isinstance(codec, H2ReferenceConnection) and error is not None:
        # The package itself looks at content-length and knows only errors of the connection.
        assert fields[-1][0] == b"content-length"
        return
    assert error is None
    assert recorder.messages() == [("reset", 1, 1, False), ("headers", 3, REQUEST, True)]


@pytest.mark.parametrize(
    "fields",
    [
        [*REQUEST, (b"x-a", b" c ")],
        [*REQUEST, (b"x-a", b"\xff\x80\t")],
        [*REQUEST, (b"te", b"trailers")],
        [*REQUEST, (b"host", b"other")],
        [*pseudo(authority=None), (b"host", b"b")],
        pseudo(method=b"OPTIONS", path=b"*"),
        pseudo(path=b"/a#b"),
        pseudo(path=b"/\xff"),
        pseudo(method=b"get"),
        pseudo(scheme=b"ftp"),
        pseudo(method=b"CONNECT", path=None, scheme=None),
        [*REQUEST, (b"content-length", b"0")],
    ],
    ids=repr,
)
def test_odd_request_that_envoy_takes_is_taken(make: Make, fields: list[tuple[bytes, bytes]]) -> None:
    codec, recorder = make()
    codec.receive_data(headers(1, *fields))
    assert [call[0] for call in recorder.calls] == ["headers"]


def test_extended_connect_is_taken_where_allowed(make: Make) -> None:
    codec, recorder = make(allow_connect=True)
    codec.receive_data(headers(1, *pseudo(method=b"CONNECT", protocol=b"websocket"), flags=END_HEADERS))
    assert [call[0] for call in recorder.calls] == ["headers"]


@pytest.mark.parametrize(
    "fields",
    [
        [(b"x-a", b"b")],
        [(b":status", b"20")],
        [(b":status", b"2x0")],
        [(b":status", b"101")],
        [(b":status", b"103")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b":status", b"200"), (b":path", b"/")],
        [(b":status", b"200"), (b"connection", b"close")],
        [(b":status", b"200"), (b"content-length", b"5")],
    ],
    ids=repr,
)
def test_malformed_response_ends_the_connection(make: Make, fields: list[tuple[bytes, bytes]]) -> None:
    codec, recorder = make(client=True)
    open_get(codec)
    assert feed(codec, headers(1, *fields)) is not None
    assert recorder.messages() == []


def test_response_on_a_stream_that_was_never_opened_ends_the_connection(client: tuple[Any, Recorder]) -> None:
    codec, _ = client
    assert feed(codec, headers(1, *RESPONSE)) is not None


# -- limits ---------------------------------------------------------------------------------------------
def test_header_list_over_the_limit_ends_the_stream(server: tuple[Any, Recorder]) -> None:
    codec, recorder = server
    whole = block(*REQUEST, *((b"x-%03d" % number, b"a" * 1024) for number in range(62)))
    pieces = [whole[at : at + 16384] for at in range(0, len(whole), 16384)]
    data = frame(HEADERS, END_STREAM, 1, pieces[0])
    for number, piece in enumerate(pieces[1:], 2):
        data += frame(CONTINUATION, END_HEADERS if number == len(pieces) else 0, 1, piece)
    codec.receive_data(data + request(3))
    assert recorder.messages() == [("reset", 1, 2, False), ("headers", 3, REQUEST, True)]
    assert (RST, 0, 1, u32(2)) in parse(codec.take_output())
    assert codec.details == "http2.header_list_size_too_large"


@pytest.mark.parametrize(("count", "taken"), [(96, True), (97, False)])
def test_header_count_limit_counts_pseudo_headers(
    server: tuple[Any, Recorder], count: int, taken: bool
) -> None:
    codec, recorder = server
    codec.receive_data(request(1, *((b"x-%d" % number, b"a") for number in range(count))))
    assert [call[0] for call in recorder.calls] == ["headers" if taken else "reset"]


def test_decompression_bomb_ends_the_connection(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    bomb = b"\x40\x03x-a\x7f\x81\x1e" + b"a" * 3968 + b"\xbe" * 12000
    error = feed(codec, frame(HEADERS, 5, 1, bomb))
    assert error is not None


@pytest.mark.parametrize("body", [b"aa", b"aaaa"], ids=["short", "long"])
def test_body_that_differs_from_its_length_is_refused(make: Make, body: bytes) -> None:
    codec, recorder = make()
    error = feed(codec, headers(1, *POST, (b"content-length", b"3"), flags=4) + frame(DATA, 1, 1, body))
    assert error is not None or recorder.messages()[-1] == ("reset", 1, 1, False)
    assert not any(call[0] == "data" for call in recorder.calls)


def test_streams_beyond_the_limit_are_refused_before_the_acknowledgement(make: Make) -> None:
    codec, recorder = make(max_concurrent_streams=1)
    error = feed(codec, request(1) + request(3))
    if isinstance(codec, H2ReferenceConnection):
        # The package does not wait for the acknowledgement.
        assert error is not None
        return
    assert recorder.messages() == [("headers", 1, REQUEST, True), ("reset", 3, 7, False)]


def test_streams_beyond_the_limit_end_the_connection_after_it(make: Make) -> None:
    codec, _ = make(max_concurrent_streams=1)
    assert feed(codec, frame(SETTINGS, ACK, 0) + request(1) + request(3)) is not None


@pytest.mark.parametrize(
    ("data", "harmless", "fatal"),
    [
        pytest.param(frame(PING, 0, 0, b"12345678"), 1000, 1001, id="ping"),
        pytest.param(settings(), 999, 1000 + 1, id="settings"),
        pytest.param(frame(PRIORITY, 0, 3, u32(0) + b"\0"), 200, 201, id="priority"),
        pytest.param(frame(WINDOW_UPDATE, 0, 0, u32(1)), 7, 8, id="window update"),
        pytest.param(frame(DATA, 0, 1), 1, 2, id="empty data"),
    ],
)
def test_flood_ends_the_connection(make: Make, data: bytes, harmless: int, fatal: int) -> None:
    codec, _ = make()
    codec.receive_data(request(flags=END_HEADERS))
    assert feed(codec, data * harmless) is None
    codec, _ = make()
    codec.receive_data(request(flags=END_HEADERS))
    error = feed(codec, data * fatal)
    assert error is not None
    assert error.h2_code == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("flood", "stat", "others"),
    [
        pytest.param(
            frame(DATA, 0, 1) * 2,
            "http2.inbound_empty_frames_flood",
            "codec_error:Too_many_consecutive_frames_with_an_empty_payload",
            id="empty data",
        ),
        pytest.param(
            frame(PRIORITY, 0, 3, u32(0) + b"\0") * 201,
            "http2.inbound_priority_frames_flood",
            "codec_error:Too_many_PRIORITY_frames",
            id="priority",
        ),
        pytest.param(
            frame(PING, 0, 0, b"12345678") * 1001,
            "http2.outbound_control_frames_flood",
            "codec_error:Too_many_control_frames_in_the_outbound_queue.",
            id="ping",
        ),
    ],
)
def test_flood_is_named_as_envoy_names_it(
    server: tuple[Any, Recorder], flood: bytes, stat: str, others: str
) -> None:
    codec, _ = server
    codec.receive_data(request(flags=END_HEADERS))
    error = feed(codec, flood)
    assert error is not None
    assert (error.is_flood, error.details, error.others) == (True, stat, others)


def test_frames_of_a_peer_that_does_not_read_are_a_flood(make_own: Make) -> None:
    codec, _ = make_own(max_outbound_frames=10)
    codec.receive_data(request(1) + request(3) + request(5))
    for stream_id in (1, 3, 5):
        codec.send_headers(stream_id, list(RESPONSE), False)
        for _ in range(4):
            codec.send_data(stream_id, b"x", False)
    error = feed(codec, request(7))
    assert error is not None
    assert error.others == "codec_error:Too_many_frames_in_the_outbound_queue."


def test_resets_of_our_own_count_as_control_frames(make_own: Make) -> None:
    codec, _ = make_own(max_outbound_control_frames=2)
    codec.receive_data(b"".join(request(number, flags=END_HEADERS) for number in (1, 3, 5)))
    for stream_id in (1, 3, 5):
        codec.reset_stream(stream_id, ErrorCode.NO_ERROR)
    error = feed(codec, request(7))
    assert error is not None
    assert error.details == "http2.outbound_control_frames_flood"


def test_custom_settings_stand_before_the_named_ones(make_own: Make) -> None:
    for client, push in ((False, []), (True, [(2, 0)])):
        codec, _ = make_own(client=client, start=False, custom_settings=((3, 7), (2, 0), (4660, 5)))
        payload = parse(codec.take_output())[0][3]
        pairs = list(struct.iter_unpack(">HI", payload))
        own = [(3, 7), (4660, 5)] if client else [(3, 7), (2, 0), (4660, 5)]
        assert pairs == [*push, *own, (1, 4096), (8, 0), (3, 1024), (4, 16 << 20)]


def test_custom_settings_are_announced(make: Make) -> None:
    # hyperframe writes the low octet of an identifier alone.
    codec, _ = make(start=False, custom_settings=((99, 5),))
    pairs = dict(struct.iter_unpack(">HI", parse(codec.take_output())[0][3]))
    assert (pairs[99], pairs[3]) == (5, 1024)


@pytest.mark.parametrize("is_on", [True, False])
def test_huffman_coding_can_be_switched_off(make: Make, is_on: bool) -> None:
    codec, _ = make(enable_huffman_encoding=is_on)
    codec.receive_data(request())
    codec.send_headers(1, [(b":status", b"200"), (b"x-a", b"some-plain-text")], True)
    assert (b"some-plain-text" in codec.take_output()) is not is_on


def test_octets_beyond_ascii_are_refused_where_it_is_asked(make: Make) -> None:
    data = request(1, (b"x-a", b"\xff"))
    assert feed(make()[0], data) is None
    error = feed(make(disallow_obs_text=True)[0], data)
    assert error is not None
    assert error.details == "http2.invalid.header.field"


@pytest.mark.parametrize(("size", "is_taken"), [(65536, True), (65537, False)])
def test_field_that_is_too_long_ends_the_connection(make_own: Make, size: int, is_taken: bool) -> None:
    codec, recorder = make_own(max_headers_bytes=1 << 20)
    whole = block(*REQUEST, (b"x-big", b"a" * size))
    pieces = [whole[at : at + 16000] for at in range(0, len(whole), 16000)]
    data = frame(HEADERS, END_STREAM, 1, pieces[0])
    for number, piece in enumerate(pieces[1:], 2):
        data += frame(CONTINUATION, END_HEADERS if number == len(pieces) else 0, 1, piece)
    error = feed(codec, data)
    if is_taken:
        assert error is None
        assert len(recorder.messages()) == 1
    else:
        assert error is not None
        assert error.h2_code == ErrorCode.COMPRESSION_ERROR


def test_preface_that_is_http_1_is_refused_at_its_first_byte(make: Make) -> None:
    codec, _ = make(start=False)
    assert feed(codec, b"GET") is not None


def test_first_frame_other_than_settings_is_refused(make: Make) -> None:
    codec, _ = make(start=False)
    assert feed(codec, CONNECTION_PREFACE + frame(PING, 0, 0, b"12345678")) is not None


# -- whole messages ---------------------------------------------------------------------------------------
def test_whole_message_ends_the_stream(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    codec.receive_data(request(1))
    assert codec.send_whole(1, RESPONSE, b"ok")
    kinds = [(kind, flags, stream_id) for kind, flags, stream_id, _ in parse(codec.take_output())]
    assert kinds == [(HEADERS, END_HEADERS, 1), (DATA, END_STREAM, 1)]
    assert codec.is_closed(1)
    with pytest.raises(LocalProtocolError):
        codec.send_whole(1, RESPONSE, b"ok")


@pytest.mark.parametrize("size", [0, 101])
def test_whole_message_that_is_empty_or_too_large_for_the_window_is_left_to_the_caller(
    make: Make, size: int
) -> None:
    codec, _ = make(start=False)
    codec.receive_data(CONNECTION_PREFACE + settings((4, 100)))
    codec.receive_data(request(1))
    codec.take_output()
    assert not codec.send_whole(1, RESPONSE, b"x" * size)
    assert not codec.take_output()
    assert codec.send_window(1) == 100
    assert codec.send_whole(1, RESPONSE, b"x" * 100)


def test_whole_message_takes_from_the_connections_window(server: tuple[Any, Recorder]) -> None:
    codec, _ = server
    codec.receive_data(request(1) + request(3))
    assert codec.send_whole(1, RESPONSE, b"x" * 1000)
    assert codec.send_window(3) == 65535 - 1000
