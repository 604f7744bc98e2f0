"""Messages: bodies that are pulled, stages in between, and keeping a body whole."""

from __future__ import annotations

import pytest

from sidecar.api.message import Body, FixedBody, LocalReply, Message, RequestMessage, held_bytes
from sidecar.core.errors import StreamAborted
from sidecar.core.headers import HeaderMap, RequestHeaders

OVERFLOW = LocalReply(413, details="too_large")


class ScriptedBody(Body):
    """Gives its chunks one by one, then perhaps trailers; ``early`` tells the end with the last chunk."""

    def __init__(self, *chunks: bytes, trailers: HeaderMap | None = None, early: bool = False) -> None:
        super().__init__()
        self._chunks = list(chunks)
        self._trailers = trailers
        self._early = early

    async def receive(self) -> bytes:
        data = self._chunks.pop(0) if self._chunks else b""
        if not data or (self._early and not self._chunks):
            self.ended = True
            self.trailers = self._trailers
        return data


class Stage:
    """Marks what passes; ``hold`` keeps it back until the end."""

    def __init__(self, mark: bytes = b"", *, hold: bool = False, wait: bool = False) -> None:
        self.mark = mark
        self.hold = hold
        self.wait = wait
        self.held = b""
        self.calls: list[object] = []

    def push(self, data: bytes, end_stream: bool):  # type: ignore[no-untyped-def]
        self.calls.append((data, end_stream))
        if self.hold:
            self.held += data
            out = self.held if end_stream else b""
        else:
            out = data + self.mark if data else data
        return self._later(out) if self.wait else out

    def end(self, trailers: HeaderMap) -> bytes:
        self.calls.append("end")
        trailers.set(b"seen", self.mark)
        return self.held

    async def _later(self, data: bytes) -> bytes:
        return data


async def chunks_of(body: Body | None) -> list[bytes]:
    assert body is not None
    chunks = []
    while data := await body.receive():
        chunks.append(data)
    assert body.ended
    assert await body.receive() == b""
    return chunks


async def test_fixed_body_is_whole_and_given_once() -> None:
    body = FixedBody(b"data")
    assert (body.whole, body.ended, body.trailers) == (b"data", True, None)
    assert await chunks_of(body) == [b"data"]
    assert body.whole == b""


async def test_fixed_body_with_trailers_is_not_whole() -> None:
    trailers = HeaderMap([(b"a", b"b")])
    body = FixedBody(b"data", trailers)
    assert body.whole is None
    assert await chunks_of(body) == [b"data"]
    assert body.trailers is trailers


def test_message_without_a_body_ends_with_its_headers() -> None:
    message = Message()
    assert message.end_stream
    message.pipe_body(Stage())
    assert message.body is None
    message.body = FixedBody(b"")
    assert not message.end_stream


# -- stages ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("wait", [True, False])
async def test_stage_sees_every_chunk_and_is_told_the_end_once(early: bool, wait: bool) -> None:
    message = Message(ScriptedBody(b"a", b"b", early=early))
    stage = Stage(b"!", wait=wait)
    message.pipe_body(stage)
    assert b"".join(await chunks_of(message.body)) == b"a!b!"
    last = [(b"b", True)] if early else [(b"b", False), (b"", True)]
    assert stage.calls == [(b"a", False), *last]


async def test_stage_that_holds_everything_back_gives_it_at_the_end() -> None:
    message = Message(ScriptedBody(b"a", b"b", b"c"))
    message.pipe_body(Stage(hold=True))
    assert await chunks_of(message.body) == [b"abc"]


@pytest.mark.parametrize("early", [True, False])
async def test_stage_of_a_body_with_trailers_ends_with_them(early: bool) -> None:
    trailers = HeaderMap([(b"x", b"y")])
    message = Message(ScriptedBody(b"a", b"b", trailers=trailers, early=early))
    stage = Stage(b"!", hold=True)
    message.pipe_body(stage)
    assert await chunks_of(message.body) == [b"ab"]
    assert stage.calls == [(b"a", False), (b"b", False), "end"]
    assert message.body is not None
    assert message.body.trailers is trailers
    assert trailers.fields == [(b"x", b"y"), (b"seen", b"!")]


async def test_stages_run_in_the_order_in_which_they_were_installed() -> None:
    message = Message(ScriptedBody(b"x", early=True))
    first, second = Stage(b"1"), Stage(b"2")
    message.pipe_body(first)
    message.pipe_body(second)
    assert await chunks_of(message.body) == [b"x12"]
    assert second.calls == [(b"x1", True)]


async def test_stage_of_an_empty_body_is_told_the_end() -> None:
    message = Message(FixedBody(b""))
    stage = Stage(b"!")
    message.pipe_body(stage)
    assert await chunks_of(message.body) == []
    assert stage.calls == [(b"", True)]


async def test_stage_may_abort_the_stream() -> None:
    class Abort(Stage):
        def push(self, data: bytes, end_stream: bool) -> bytes:
            raise StreamAborted(OVERFLOW)

    message = Message(ScriptedBody(b"a"))
    message.pipe_body(Abort())
    assert message.body is not None
    with pytest.raises(StreamAborted) as caught:
        await message.body.receive()
    assert caught.value.reply is OVERFLOW


# -- buffering ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("body", [ScriptedBody(b"ab", b"c"), FixedBody(b"abc")], ids=["pieces", "whole"])
async def test_buffered_body_is_read_and_kept_for_the_next_reader(body: Body) -> None:
    message = RequestMessage(RequestHeaders(), body)
    for _ in range(2):
        assert await message.buffer_body(3, OVERFLOW) == b"abc"
    assert message.body is not None
    assert message.body.whole == b"abc"
    assert await chunks_of(message.body) == [b"abc"]


@pytest.mark.parametrize("body", [ScriptedBody(b"ab", b"cd"), FixedBody(b"abcd")], ids=["pieces", "whole"])
async def test_buffered_body_over_the_limit_aborts_with_the_given_reply(body: Body) -> None:
    with pytest.raises(StreamAborted) as caught:
        await Message(body).buffer_body(3, OVERFLOW)
    assert caught.value.reply is OVERFLOW


async def test_buffered_body_keeps_its_trailers() -> None:
    trailers = HeaderMap([(b"a", b"b")])
    message = Message(ScriptedBody(b"x", b"y", trailers=trailers))
    assert await message.buffer_body(10, OVERFLOW) == b"xy"
    assert message.body is not None
    assert (message.body.trailers, message.body.whole) == (trailers, None)


async def test_buffering_goes_through_the_stages_that_were_installed_before() -> None:
    message = Message(ScriptedBody(b"a", b"b"))
    message.pipe_body(Stage(b"!"))
    assert await message.buffer_body(10, OVERFLOW) == b"a!b!"
    message.pipe_body(Stage(b"?"))
    assert await chunks_of(message.body) == [b"a!b!?"]


async def test_buffering_a_message_without_a_body_gives_nothing() -> None:
    message = Message()
    assert await message.buffer_body(10, OVERFLOW) == b""
    assert message.end_stream


async def test_held_bytes_of_bodies() -> None:
    assert held_bytes(None) == 0
    assert held_bytes(FixedBody(b"abc")) == 3
    message = Message(ScriptedBody(b"abcd", b"efgh", b"ij"))
    assert held_bytes(message.body) == 0
    reading = message.buffer_body(10, OVERFLOW)
    source = message.body
    assert isinstance(source, ScriptedBody)
    seen: list[int] = []
    receive = source.receive

    async def watched() -> bytes:
        seen.append(held_bytes(message.body))
        return await receive()

    source.receive = watched  # type: ignore[method-assign]
    await reading
    assert seen == [0, 4, 8, 10]
    assert held_bytes(message.body) == 10


async def test_body_that_is_too_long_to_be_kept_is_the_one_that_it_was() -> None:
    body = ScriptedBody(b"abcd")
    message = Message(body)
    with pytest.raises(StreamAborted):
        await message.buffer_body(3, OVERFLOW)
    assert message.body is body
