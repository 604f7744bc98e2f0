"""httpCall() where no cluster is needed: what the script does when the answer comes."""

from __future__ import annotations

from typing import Any

import pytest
from stream_fakes import ScriptedBody, read_all

from sidecar.core.errors import Disconnected
from sidecar.core.headers import ResponseHeaders
from sidecar.extensions.http.lua import LuaFilter, LuaStats
from sidecar.extensions.http.lua_script import Source
from sidecar.observability.stats import Store
from sidecar.router.http_client import ClientResponse

ASK = '{[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}'


class FakeCall:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.is_done = self.was_started = self.was_cancelled = False

    def start(self) -> None:
        self.was_started = True

    def cancel(self) -> None:
        self.was_cancelled = True

    async def result(self) -> ClientResponse:
        if self.error is not None:
            raise self.error
        return ClientResponse(ResponseHeaders(200, [(b"x-a", b"1"), (b"x-a", b"2")]), b"said")


class FakeClient:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.calls: list[FakeCall] = []

    def call(self, cluster: str, headers: Any, body: Any, **options: Any) -> FakeCall:
        self.calls.append(FakeCall(self.error))
        return self.calls[-1]


def lua(code: str, client: FakeClient) -> tuple[LuaFilter, Store]:
    store = Store()
    scope = store.scope("lua")
    stats = LuaStats(scope.counter("errors"), scope.counter("executions"))
    made = LuaFilter(
        Source(code.encode()), {}, stats, scope=scope, find_cluster={"up": 1}.get, get_client=lambda: client
    )
    return made, store


async def test_call_behind_chunks_of_a_response_is_answered(make_stream, respond):
    code = f"""
    function envoy_on_response(h)
      for chunk in h:bodyChunks() do end
      local headers, body = h:httpCall("up", {ASK}, nil, 100)
      h:stats():counter("returned_" .. headers[":status"] .. body):inc()
    end"""
    client = FakeClient()
    made, store = lua(code, client)
    stream = make_stream()
    respond(stream, body=ScriptedBody(b"a", b"b"))
    assert made.encode_headers(stream) is None
    assert b"".join(await read_all(stream.response.body)) == b"ab"
    assert store.counters["lua.returned_200said"].value == 1
    assert store.counters["lua.errors"].value == 0


async def test_client_that_leaves_gives_the_call_up(make_stream):
    code = (
        f'function envoy_on_request(h) h:httpCall("up", {ASK}, nil, 100) h:headers():add("x-after", "1") end'
    )
    client = FakeClient(Disconnected("gone"))
    made, _ = lua(code, client)
    stream = make_stream()
    with pytest.raises(Disconnected):
        await made.decode_headers(stream)
    assert client.calls[0].was_cancelled
    assert stream.request.headers.get(b"x-after") is None


async def test_two_streams_wait_in_one_state(make_stream):
    code = f"""
    function envoy_on_request(h)
      local id = h:headers():get("x-id")
      local headers = h:httpCall("up", {ASK}, nil, {{return_duplicate_headers = true}})
      h:headers():add("x-after", id .. headers["x-a"][2])
    end"""
    made, _ = lua(code, FakeClient())
    streams = [make_stream(), make_stream()]
    waits: list[Any] = []
    for number, stream in enumerate(streams):
        stream.request.headers.add(b"x-id", b"%d" % number)
        waits.append(made.decode_headers(stream))
    for wait in reversed(waits):
        assert await wait is None
    assert [stream.request.headers.get(b"x-after") for stream in streams] == [b"02", b"12"]
