"""Long DATA frames that are alike, one behind the other: taken, kept and sent together."""

from __future__ import annotations

import pytest

from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_stream import H2Run
from sidecar.codec.h2_types import ErrorCode, H2Settings
from sidecar.core.errors import LocalProtocolError
from sidecar.core.headers import Field
from sidecar.net.h2_wire import H2Body, H2Wire
from sidecar.observability.stats import Counter
from tests.support.h2_frames import (
    CLIENT_START,
    DATA,
    END_HEADERS,
    END_STREAM,
    RESPONSE,
    Recorder,
    feed,
    frame,
    parse,
    request,
)
from tests.support.strands import open_lab

EACH = 8192


class RunRecorder(Recorder):
    """Also takes runs, and keeps what each was."""

    def on_run(self, stream_id: int, run: H2Run) -> None:
        self.calls.append(("run", stream_id, b"".join(run.first(run.count)), run.count, len(run)))


def server(*fields: Field, **changes: int) -> tuple[H2Connection, RunRecorder]:
    recorder = RunRecorder()
    codec = H2Connection(recorder, client=False, settings=H2Settings(**changes))  # type: ignore[arg-type]
    codec.receive_data(CLIENT_START + request(1, *fields, flags=END_HEADERS) + request(3, flags=END_HEADERS))
    codec.take_output()
    recorder.calls.clear()
    return codec, recorder


def letters(count: int) -> list[bytes]:
    return [bytes([65 + number]) * EACH for number in range(count)]


def run_of(payloads: list[bytes], stream_id: int = 1) -> H2Run:
    data = b"".join(frame(DATA, 0, stream_id, each) for each in payloads)
    return H2Run(memoryview(data), 9, len(payloads[0]), len(payloads))


def test_frames_alike_are_told_together() -> None:
    codec, recorder = server()
    codec.receive_data(b"".join(frame(DATA, 0, 1, each) for each in letters(3)))
    assert recorder.calls == [("run", 1, b"".join(letters(3)), 3, 3 * EACH)]


def test_a_run_ends_where_size_stream_or_flags_differ() -> None:
    codec, recorder = server()
    a, b, c = letters(3)
    codec.receive_data(
        frame(DATA, 0, 1, a) * 2
        + frame(DATA, 0, 1, b + b"b")
        + frame(DATA, 0, 3, c) * 2
        + frame(DATA, 0, 1, a)
        + frame(DATA, END_STREAM, 1, a)
        + frame(DATA, END_STREAM, 3)
    )
    assert [(each[0], each[1], len(each[2])) for each in recorder.calls] == [
        ("run", 1, 2 * EACH),
        ("data", 1, EACH + 1),
        ("run", 3, 2 * EACH),
        ("data", 1, EACH),
        ("data", 1, EACH),
        ("data", 3, 0),
    ]


@pytest.mark.parametrize("cut", [1, 9, 10, EACH, EACH + 9, EACH + 12, 2 * EACH + 18, 3 * EACH])
def test_a_run_in_two_reads_arrives_whole(cut: int) -> None:
    codec, recorder = server()
    data = b"".join(frame(DATA, 0, 1, each) for each in letters(4))
    codec.receive_data(data[:cut])
    codec.receive_data(data[cut:])
    assert b"".join(call[2] for call in recorder.calls) == b"".join(letters(4))


def test_a_run_is_compared_with_content_length() -> None:
    codec, recorder = server((b"content-length", b"%d" % (3 * EACH)))
    codec.receive_data(frame(DATA, 0, 1, b"x" * EACH) * 3)
    assert [call[0] for call in recorder.calls] == ["run"]
    codec.receive_data(frame(DATA, END_STREAM, 1))
    assert [call[0] for call in recorder.calls] == ["run", "data"]
    codec, recorder = server((b"content-length", b"%d" % (3 * EACH)))
    codec.receive_data(frame(DATA, 0, 1, b"x" * EACH) * 4)
    assert recorder.calls[-1] == ("reset", 1, ErrorCode.PROTOCOL_ERROR, False)


def test_a_run_beyond_the_window_ends_the_connection() -> None:
    codec, _ = server(initial_stream_window_size=65535)
    error = feed(codec, frame(DATA, 0, 1, b"x" * EACH) * 9)
    assert error is not None
    assert error.h2_code == ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("end_stream", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_run_leaves_in_few_frames(count: int, *, end_stream: bool) -> None:
    codec, _ = server()
    codec.receive_data(frame(DATA, END_STREAM, 1))
    codec.send_headers(1, list(RESPONSE), False)
    codec.take_output()
    run = run_of(letters(5), 7)
    codec.send_run(1, run, count, end_stream)
    sent = parse(b"".join(codec.take_pieces()))
    assert {each[2] for each in sent} == {1}
    assert b"".join(each[3] for each in sent) == b"".join(letters(count))
    assert len(sent) == (count + 1) // 2
    assert [each[1] for each in sent] == [0] * (len(sent) - 1) + [END_STREAM * end_stream]
    assert codec.is_closed(1) == end_stream
    # The rest of it is untouched.
    assert b"".join(run.first(run.count)) == b"".join(letters(5)[count:])


def test_a_run_that_does_not_fit_the_window_is_refused() -> None:
    codec, _ = server()
    codec.send_headers(1, list(RESPONSE), False)
    with pytest.raises(LocalProtocolError):
        codec.send_run(1, run_of(letters(8)), 8, False)


async def test_a_body_of_runs_is_read_and_joined_and_gives_its_window_back() -> None:
    async with open_lab() as lab:
        transport, _client = lab.pair()
        codec, _ = server()
        wire = H2Wire(lab.reactor, transport, codec, Counter("tx"))
        whole = b"".join(letters(3))
        body = H2Body(wire, 1)
        body.push(run_of(letters(3)), False, 3 * EACH)
        body.push(b"end", True, 3)
        assert body.early_bytes == wire.unread == 3 * EACH + 3
        assert body.take_whole() == whole + b"end"
        assert wire.unread == 0
        body = H2Body(wire, 1)
        body.push(run_of(letters(3)), False, 3 * EACH)
        assert await body.receive() == whole
        body.push(run_of(letters(2)), False, 2 * EACH)
        body.discard()
        assert wire.unread == 0


async def test_as_much_of_a_run_is_forwarded_as_the_window_takes() -> None:
    async with open_lab() as lab:
        transport, client = lab.pair()
        codec, _ = server()
        codec.receive_data(frame(DATA, END_STREAM, 1))
        codec.send_headers(1, list(RESPONSE), False)
        wire = H2Wire(lab.reactor, transport, codec, Counter("tx"))
        body = H2Body(wire, 3)
        body.push(run_of(letters(12)), True, 12 * EACH)
        assert await wire.forward(1, body) == 7 * EACH
        assert (body.ended, wire.unread) == (False, 5 * EACH)
        assert await wire.forward(1, body) == 0
        codec.receive_data(frame(8, 0, 0, (1 << 20).to_bytes(4, "big")))
        codec.receive_data(frame(8, 0, 1, (1 << 20).to_bytes(4, "big")))
        assert await wire.forward(1, body) == 5 * EACH
        assert body.ended
        wire.flush()
        received = b""
        while len(received) < 12 * EACH:
            received += client.recv(1 << 20)
        frames = [each for each in parse(received) if each[0] == DATA]
        assert b"".join(each[3] for each in frames) == b"".join(letters(12))
        assert [each[1] for each in frames][-2:] == [0, END_STREAM]
