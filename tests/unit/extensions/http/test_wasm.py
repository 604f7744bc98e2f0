"""The Wasm filter against what Envoy 1.40 did with the same guests."""

from __future__ import annotations

import gc
import inspect
import logging
import re
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from factory_fakes import Recorder
from google.protobuf.json_format import ParseDict
from stream_fakes import FakeRoute, ScriptedBody, read_all
from wat_guests import CONTINUE, PAUSE, Guest

from sidecar.api.message import FixedBody, LocalReply
from sidecar.api.stream import Flag, Stream
from sidecar.core.errors import Disconnected, StreamAborted
from sidecar.core.headers import HeaderMap
from sidecar.extensions.http.wasm import WasmFilter
from sidecar.extensions.http.wasm_config import WasmFactory
from wasm_abi import StreamType

LOCAL = (403, b"a b details", b"BODY", b"x-local", b"yes")


class Running:
    """A filter over one guest."""

    def __init__(self, guest: Guest, caplog: pytest.LogCaptureFixture, **config: Any) -> None:
        caplog.set_level(logging.INFO, "sidecar.wasm")
        self._caplog = caplog
        self.recorder = Recorder(files={"/guest.wasm": guest.code()})
        vm_config = {"vm_id": "vm", "code": {"local": {"filename": "/guest.wasm"}}}
        message = ParseDict(
            {"config": {"name": "p", "root_id": "r", "vm_config": vm_config, **config}}, Wasm()
        )
        self.factory = WasmFactory()
        self.filter: WasmFilter = self.factory.compile(message, self.recorder.context)

    async def request(self, stream: Stream) -> LocalReply | None:
        result: Any = self.filter.decode_headers(stream)
        return await result if inspect.isawaitable(result) else result

    async def response(self, stream: Stream) -> LocalReply | None:
        result: Any = self.filter.encode_headers(stream)
        return await result if inspect.isawaitable(result) else result

    @property
    def log(self) -> list[str]:
        """The guest's lines; the root context does not know the plugin's name."""
        matches = [
            re.match("wasm log (?:p )?r vm: (.*)", record.getMessage()) for record in self._caplog.records
        ]
        return [match[1] for match in matches if match is not None]

    def close(self) -> None:
        for close in self.recorder.closers:
            close()


@pytest.fixture
def run(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def start(guest: Guest, **config: Any) -> Running:
        made.append(Running(guest, caplog, **config))
        return made[-1]

    yield start
    for each in made:
        each.close()


def step(awaitable: Any) -> Any:
    """Run a hook's awaitable up to its first wait; the signal it waits for."""
    return awaitable.send(None)


# -- headers ----------------------------------------------------------------------------------


async def test_headers_are_changed_on_both_halves(run, make_stream, respond):
    guest = Guest()
    guest.on("request_headers", guest.add(0, b"X-Up", b"1") + guest.add(0, b"host", b"zz") + CONTINUE)
    guest.on(
        "response_headers",
        guest.call("proxy_replace_header_map_value", 2, b":status", b"201")
        + guest.add(2, b"x-down", b"2")
        + CONTINUE,
    )
    wasm = run(guest)
    stream = make_stream()
    assert await wasm.request(stream) is None
    assert stream.request.headers.fields == [(b"x-up", b"1")]
    assert stream.request.headers.authority == b"example.com,zz"
    response = respond(stream)
    assert await wasm.response(stream) is None
    assert (response.headers.status, response.headers.fields) == (201, [(b"x-down", b"2")])


async def test_hooks_are_only_those_that_the_guest_exports(run):
    request_only = Guest().on("request_headers", CONTINUE)
    assert run(request_only).filter.active_hooks() == {"decode_headers", "on_complete"}
    response_body = Guest().on("response_body", CONTINUE)
    assert run(response_body).filter.active_hooks() == {"decode_headers", "encode_headers", "on_complete"}
    assert run(Guest().on("log", "")).filter.active_hooks() == {"on_complete"}
    assert run(Guest()).filter.active_hooks() == frozenset()


async def test_stream_that_is_over_is_freed_without_the_garbage_collector(run, make_stream, respond):
    wasm = run(Guest().on("request_headers", CONTINUE).on("response_headers", CONTINUE))
    stream = make_stream(body=FixedBody(b"x"))
    await wasm.request(stream)
    respond(stream, body=FixedBody(b"y"))
    await wasm.response(stream)
    wasm.filter.on_complete(stream)
    request = weakref.ref(stream)
    gc.disable()
    try:
        del stream
        assert request() is None
    finally:
        gc.enable()


async def test_maps_are_open_in_their_callback_and_while_logging(run, make_stream, respond):
    guest = Guest()
    both = guest.log_header(0, b"x-a") + guest.log_header(2, b"x-b")
    for name in ("request_headers", "request_body", "response_headers"):
        guest.on(name, both + CONTINUE)
    guest.on("log", both)
    wasm = run(guest)
    stream = make_stream((b"x-a", b"1"), body=FixedBody(b"x"))
    stream.protocol = "HTTP/2"
    await wasm.request(stream)
    await read_all(stream.request.body)
    respond(stream, (b"x-b", b"2"))
    await wasm.response(stream)
    wasm.filter.on_complete(stream)
    assert wasm.log[::2] == ["0", "2", "2", "2", "2", "0", "0", "0"]


async def test_request_header_that_cannot_be_sent_is_answered_with_503(run, make_stream):
    guest = Guest()
    reply = await run(guest.on("request_headers", guest.add(0, b"hdr", b"k\r\nx: y") + CONTINUE)).request(
        make_stream()
    )
    assert reply is not None
    assert (reply.status, reply.body) == (503, b"invalid header value for: hdr")
    assert reply.flag == Flag.DOWNSTREAM_PROTOCOL_ERROR


async def test_response_header_that_cannot_be_sent_is_left_out(run, make_stream, respond):
    guest = Guest().on("request_headers", CONTINUE)
    wasm = run(guest.on("response_headers", guest.add(2, b"hdr", b"k\r\nx: y") + CONTINUE))
    stream = make_stream()
    await wasm.request(stream)
    response = respond(stream)
    assert await wasm.response(stream) is None
    assert response.headers.fields == []


async def test_response_of_a_stream_that_never_reached_the_guest_is_left_alone(run, make_stream, respond):
    guest = Guest()
    wasm = run(guest.on("response_headers", guest.add(2, b"x", b"y") + CONTINUE))
    stream = make_stream()
    response = respond(stream)
    assert await wasm.response(stream) is None
    assert response.headers.fields == []


# -- local responses ------------------------------------------------------------------------------


async def test_response_that_is_resumed_too_early_waits_all_the_same(run, make_stream, respond):
    guest = Guest().on("request_headers", Guest().call("proxy_continue_stream", 1) + CONTINUE)
    wasm = run(guest.on("response_headers", PAUSE))
    stream = make_stream()
    assert await wasm.request(stream) is None
    respond(stream)
    waiting = wasm.filter.encode_headers(stream)
    assert inspect.isawaitable(waiting)
    waiting.close()


async def test_local_response_answers_the_request(run, make_stream):
    guest = Guest()
    reply = await run(guest.on("request_headers", guest.local_response(*LOCAL) + CONTINUE)).request(
        make_stream()
    )
    assert reply == LocalReply(403, b"BODY", "a_b_details", headers=[(b"x-local", b"yes")])


async def test_local_response_on_the_response_replaces_it(run, make_stream, respond):
    guest = Guest().on("request_headers", CONTINUE)
    wasm = run(guest.on("response_headers", guest.local_response(*LOCAL) + CONTINUE))
    stream = make_stream()
    await wasm.request(stream)
    respond(stream)
    reply = await wasm.response(stream)
    assert reply is not None
    assert reply.status == 403


async def test_local_response_in_a_body_ends_the_stream_there(run, make_stream):
    guest = Guest()
    wasm = run(guest.on("request_body", guest.local_response(*LOCAL) + CONTINUE))
    stream = make_stream(body=ScriptedBody(b"abc", b"de"))
    assert await wasm.request(stream) is None
    with pytest.raises(StreamAborted) as caught:
        await read_all(stream.request.body)
    assert caught.value.reply.details == "a_b_details"


async def test_local_response_header_that_cannot_be_sent_is_left_out(run, make_stream):
    guest = Guest()
    code = guest.local_response(403, b"", b"", b"a", b"b\r\nc: d")
    reply = await run(guest.on("request_headers", code + CONTINUE)).request(make_stream())
    assert reply == LocalReply(403)


# -- stopping -------------------------------------------------------------------------------------


async def test_continue_inside_the_callback_outruns_its_pause(run, make_stream):
    guest = Guest()
    wasm = run(guest.on("request_headers", guest.call("proxy_continue_stream", 0) + PAUSE))
    assert wasm.filter.decode_headers(make_stream()) is None


def test_paused_request_waits_until_another_call_continues_it(run, make_stream):
    guest = Guest()
    guest.on("request_headers", PAUSE)
    guest.on("tick", guest.call("proxy_set_effective_context", 2) + guest.call("proxy_continue_stream", 0))
    wasm = run(guest)
    stream = make_stream(body=FixedBody(b"x"))
    stream.hcm.reactor = None
    waiting: Any = wasm.filter.decode_headers(stream)
    signal = step(waiting)
    assert not signal.is_set
    wasm.filter._live.plugin.on_tick()
    assert signal.is_set
    with pytest.raises(StopIteration) as caught:
        waiting.send(None)
    assert caught.value.value is None


async def test_close_stream_disconnects(run, make_stream):
    guest = Guest()
    wasm = run(guest.on("request_headers", guest.call("proxy_close_stream", 0) + PAUSE))
    stream = make_stream()
    with pytest.raises(Disconnected):
        await wasm.request(stream)
    assert stream.details == "wasm_close_stream"


# -- bodies ---------------------------------------------------------------------------------------


async def test_body_that_goes_on_is_seen_chunk_by_chunk_with_an_empty_end(run, make_stream):
    guest = Guest()
    wasm = run(guest.on("request_body", guest.log_body(0) + CONTINUE))
    stream = make_stream(body=ScriptedBody(b"hel", b"lo"))
    await wasm.request(stream)
    assert b"".join(await read_all(stream.request.body)) == b"hello"
    assert wasm.log[1::2] == ["hel", "lo", ""]


async def test_body_that_is_held_back_grows_until_it_is_let_go(run, make_stream):
    guest = Guest()
    wasm = run(guest.on("request_body", guest.log_body(0) + "(i32.eqz (local.get 2))"))
    stream = make_stream(body=ScriptedBody(b"hel", b"lo"))
    await wasm.request(stream)
    assert await read_all(stream.request.body) == [b"hello"]
    assert wasm.log[1::2] == ["hel", "hello", "hello"]


async def test_body_at_hand_stays_one_piece(run, make_stream):
    guest = Guest()
    wasm = run(guest.on("request_body", guest.log_body(0) + "(i32.eqz (local.get 2))"))
    stream = make_stream(body=FixedBody(b"hello"))
    assert await wasm.request(stream) is None
    assert stream.request.body.whole == b"hello"
    assert wasm.log[1::2] == ["hello", "hello"]


async def test_body_at_hand_that_is_held_back_is_waited_for_by_who_pulls_it(run, make_stream):
    guest = Guest()
    guest.on("request_body", guest.call("proxy_set_buffer_bytes", 0, 9, 0, b"!") + PAUSE)
    wasm = run(guest)
    stream = make_stream(body=FixedBody(b"x"))
    stream.hcm.reactor = None
    assert await wasm.request(stream) is None
    pulling: Any = stream.request.body.receive()
    signal = step(pulling)
    side = stream.get_slot(0)
    side.continue_stream(StreamType.HTTP_REQUEST)
    assert signal.is_set
    with pytest.raises(StopIteration) as caught:
        pulling.send(None)
    assert caught.value.value == b"x!!"


async def test_local_response_for_a_body_at_hand_comes_when_it_is_pulled(run, make_stream, respond):
    guest = Guest().on("request_headers", CONTINUE)
    wasm = run(guest.on("response_body", guest.local_response(*LOCAL) + CONTINUE))
    stream = make_stream()
    await wasm.request(stream)
    response = respond(stream, body=FixedBody(b"x"))
    assert await wasm.response(stream) is None
    with pytest.raises(StreamAborted):
        await response.body.receive()


@pytest.mark.parametrize(
    ("start", "size", "text"),
    [(0, 1000, b"NEW"), (0, 0, b"NEWhello"), (5, 0, b"helloNEW"), (0, 2, b"NEWllo")],
)
async def test_body_is_replaced_as_set_buffer_says(run, make_stream, start, size, text):
    guest = Guest()
    replace = guest.call("proxy_set_buffer_bytes", 0, start, size, b"NEW")
    wasm = run(guest.on("request_body", f"(if (local.get 2) (then {replace})) (i32.eqz (local.get 2))"))
    stream = make_stream(body=ScriptedBody(b"hel", b"lo"))
    await wasm.request(stream)
    assert b"".join(await read_all(stream.request.body)) == text


async def test_response_body_is_seen_and_replaced(run, make_stream, respond):
    guest = Guest().on("request_headers", CONTINUE)
    wasm = run(guest.on("response_body", guest.call("proxy_set_buffer_bytes", 1, 0, 99, b"N") + CONTINUE))
    stream = make_stream()
    await wasm.request(stream)
    response = respond(stream, body=ScriptedBody(b"abc", trailers=HeaderMap()))
    await wasm.response(stream)
    assert await read_all(response.body) == [b"N"]


def _with_body(respond, stream, body):
    response = respond(stream, body=FixedBody(body))
    stream.upstream_first_rx_ns = 1
    return response


def _holding(guest: Guest, at_end: str, after: str = CONTINUE) -> Guest:
    """A guest that keeps the response's body until its end."""
    guest.on("request_headers", CONTINUE).on("response_headers", CONTINUE)
    body = f"(if (result i32) (local.get 2) (then {at_end} {after}) (else {PAUSE}))"
    return guest.on("response_body", body)


async def test_response_at_hand_that_is_held_is_shown_again_at_its_end(run, make_stream, respond):
    guest = Guest()
    replace = guest.call("proxy_set_buffer_bytes", 1, 0, 99, b"NEW")
    wasm = run(_holding(guest, guest.log_body(1) + replace + guest.log_body(1)))
    for body in (b"one", b"two", b"x" * 64):
        stream = make_stream()
        await wasm.request(stream)
        response = _with_body(respond, stream, body)
        assert await wasm.response(stream) is None
        assert await read_all(response.body) == [b"NEW"]
        assert wasm.log[-4:] == ["0", body.decode(), "0", "NEW"]
        wasm.filter.on_complete(stream)


async def test_response_at_hand_that_is_held_and_let_go_is_as_it_was(run, make_stream, respond):
    wasm = run(_holding(Guest(), ""))
    for body in (b"one", b"two"):
        stream = make_stream()
        await wasm.request(stream)
        response = _with_body(respond, stream, body)
        await wasm.response(stream)
        assert response.body.whole == body
        wasm.filter.on_complete(stream)


async def test_response_at_hand_that_is_too_large_to_be_held_is_a_500(run, make_stream, respond):
    guest = Guest()
    wasm = run(_holding(guest, guest.log(b"end")))
    stream = make_stream()
    await wasm.request(stream)
    response = _with_body(respond, stream, b"x" * (stream.hcm.buffer_limit_bytes + 1))
    await wasm.response(stream)
    with pytest.raises(StreamAborted) as caught:
        await read_all(response.body)
    assert caught.value.reply.details == "response_payload_too_large"
    assert wasm.log == []


@pytest.mark.parametrize("is_open", [False, True])
async def test_trap_at_the_end_of_a_response_that_was_held(run, make_stream, respond, is_open):
    wasm = run(_holding(Guest(), "", "unreachable"), fail_open=is_open)
    stream = make_stream()
    await wasm.request(stream)
    response = _with_body(respond, stream, b"body")
    await wasm.response(stream)
    if is_open:
        assert await read_all(response.body) == [b"body"]
    else:
        with pytest.raises(StreamAborted):
            await read_all(response.body)
        assert stream.details == "wasm_fail_stream"


async def test_body_held_back_over_the_limit_is_answered_with_413(run, make_stream):
    wasm = run(Guest().on("request_body", PAUSE))
    stream = make_stream(body=ScriptedBody(b"x" * 40, b"x" * 40, b"x"))
    await wasm.request(stream)
    with pytest.raises(StreamAborted) as caught:
        await read_all(stream.request.body)
    assert caught.value.reply.status == 413


async def test_trailers_let_a_held_body_go(run, make_stream):
    guest = Guest()
    guest.on("request_body", PAUSE)
    guest.on("request_trailers", guest.log_body(0) + guest.add(1, b"x-u", b"u") + CONTINUE)
    wasm = run(guest)
    stream = make_stream(body=ScriptedBody(b"abc", b"de", trailers=HeaderMap([(b"x-t", b"tv")])))
    await wasm.request(stream)
    assert await read_all(stream.request.body) == [b"abcde"]
    assert wasm.log == ["0", "abcde"]
    assert stream.request.body.trailers.fields == [(b"x-t", b"tv"), (b"x-u", b"u")]


async def test_headers_are_held_while_the_body_is_read_where_that_is_allowed(run, make_stream):
    guest = Guest()
    guest.on("request_headers", PAUSE)
    guest.on(
        "request_body",
        "(if (local.get 2) (then " + guest.add(0, b"x-late", b"1") + ")) (i32.eqz (local.get 2))",
    )
    wasm = run(guest, allow_on_headers_stop_iteration=True)
    stream = make_stream(body=ScriptedBody(b"hel", b"lo"))
    assert await wasm.request(stream) is None
    assert stream.request.headers.get(b"x-late") == b"1"
    assert await read_all(stream.request.body) == [b"hello"]


# -- failures -------------------------------------------------------------------------------------


async def test_trap_answers_this_stream_and_all_later_ones_with_503(run, make_stream):
    wasm = run(Guest().on("request_headers", "unreachable"))
    for _ in range(2):
        reply = await wasm.request(make_stream())
        assert reply is not None
        assert (reply.status, reply.body, reply.details) == (503, b"", "wasm_fail_stream")


async def test_trap_on_the_response_is_answered_with_503_once(run, make_stream, respond):
    wasm = run(Guest().on("request_headers", CONTINUE).on("response_headers", "unreachable"))
    stream = make_stream()
    await wasm.request(stream)
    respond(stream)
    reply = await wasm.response(stream)
    assert reply is not None
    assert reply.details == "wasm_fail_stream"
    assert await wasm.response(stream) is None
    wasm.filter.on_complete(stream)


async def test_trap_in_a_body_aborts_the_stream(run, make_stream):
    wasm = run(Guest().on("request_body", "unreachable"))
    stream = make_stream(body=ScriptedBody(b"x"))
    await wasm.request(stream)
    with pytest.raises(StreamAborted) as caught:
        await read_all(stream.request.body)
    assert caught.value.reply.details == "wasm_fail_stream"


async def test_trap_is_passed_over_where_the_plugin_fails_open(run, make_stream):
    wasm = run(Guest().on("request_body", "unreachable"), fail_open=True)
    for _ in range(2):
        stream = make_stream(body=ScriptedBody(b"ab", b"c"))
        assert await wasm.request(stream) is None
        assert b"".join(await read_all(stream.request.body)) == b"abc"
        wasm.filter.on_complete(stream)


async def test_trap_ends_its_own_stream_where_later_ones_fail_open(run, make_stream):
    wasm = run(Guest().on("request_body", "unreachable"), failure_policy="FAIL_OPEN")
    stream = make_stream(body=ScriptedBody(b"ab", b"c"))
    assert await wasm.request(stream) is None
    with pytest.raises(StreamAborted):
        await read_all(stream.request.body)
    stream = make_stream(body=ScriptedBody(b"ab", b"c"))
    assert await wasm.request(stream) is None
    assert b"".join(await read_all(stream.request.body)) == b"abc"


async def test_trap_is_followed_by_a_new_vm_where_the_plugin_reloads(run, make_stream):
    guest = Guest()
    boom = "(if (i32.eq (local.get 1) (i32.const 5)) (then unreachable))"
    wasm = run(
        guest.on("request_headers", boom + guest.add(0, b"x", b"y") + CONTINUE), failure_policy="FAIL_RELOAD"
    )
    reply = await wasm.request(make_stream((b"boom", b"1")))
    assert reply is not None
    stream = make_stream()
    assert await wasm.request(stream) is None
    assert stream.request.headers.get(b"x") == b"y"
    counters = wasm.recorder.store.counters
    assert counters["wasm.p.vm_reload_success"].value == 1
    assert await wasm.request(make_stream((b"boom", b"1"))) is not None
    assert await wasm.request(make_stream()) is not None
    assert counters["wasm.p.vm_reload_backoff"].value == 1


# -- the end, properties ------------------------------------------------------------------------------


async def test_end_of_a_stream_is_log_done_delete(run, make_stream):
    guest = Guest().on("request_headers", CONTINUE)
    guest.on("log", guest.log(b"log")).on("done", guest.log(b"done") + "(i32.const 1)")
    wasm = run(guest.on("delete", guest.log(b"delete")))
    stream = make_stream()
    await wasm.request(stream)
    wasm.filter.on_complete(stream)
    assert wasm.log == ["log", "done", "delete"]


async def test_stream_that_never_reached_the_guest_is_still_logged(run, make_stream):
    guest = Guest()
    wasm = run(guest.on("context_create", guest.log(b"create")).on("log", guest.log(b"log")))
    wasm.filter.on_complete(make_stream())
    assert wasm.log == ["create", "create", "log"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("request.path", "0/x/y?q=1"),
        ("request.url_path", "0/x/y"),
        ("request.query", "0q=1"),
        ("request.method", "0GET"),
        ("request.host", "0example.com"),
        ("request.protocol", "0HTTP/1.1"),
        ("request.useragent", "0ua"),
        ("request.referer", "1"),
        ("request.headers.user-agent", "0ua"),
        ("request.headers.x", "1"),
        ("request.size", "0" + "\0" * 8),
        ("request.duration", "1"),
        ("response.code", "1"),
        ("response.flags", "0" + "\0" * 8),
        ("source.address", "0192.0.2.1:1111"),
        ("source.port", "0W\x04" + "\0" * 6),
        ("destination.port", "0P" + "\0" * 7),
        ("connection.id", "0\x07" + "\0" * 7),
        ("connection_id", "0\x07" + "\0" * 7),
        ("connection.mtls", "0\0"),
        ("connection.requested_server_name", "0sni.example"),
        ("connection.tls_version", "1"),
        ("upstream.address", "1"),
        ("xds.route_name", "0main"),
        ("xds.virtual_host_name", "0all"),
        ("xds.route_metadata.filter_metadata.lua.k", "0v"),
        ("xds.node.id", "0n"),
        ("xds.node.metadata.a.b", "0deep"),
        ("xds.node.metadata.a", "0\1\0\0\0\1\0\0\0\4\0\0\0b\0deep\0"),
        ("xds.node.locality", "0"),
        ("xds.node.metadata.a.b.c", "1"),
        ("xds", "3"),
        ("xds.listener_direction", "0\2" + "\0" * 7),
        ("xds.listener_metadata.filter_metadata.of.listener", "0" + "\0" * 7 + "@"),
        ("plugin_name", "0p"),
        ("plugin_root_id", "0r"),
        ("plugin_vm_id", "0vm"),
        ("metadata.filter_metadata.my.k", "0set"),
        ("metadata.filter_metadata.x.y", "1"),
        ("node.id", "1"),
        ("cluster_name", "1"),
        ("nothing", "1"),
        ("request.nothing", "1"),
    ],
)
async def test_property_is_what_envoy_answers(run, make_stream, path, value):
    guest = Guest()
    wasm = run(guest.on("request_headers", guest.log_property(*path.encode().split(b".")) + CONTINUE))
    route = FakeRoute(metadata={"lua": {"k": "v"}})
    stream = make_stream((b"user-agent", b"ua"), route=route, path=b"/x/y?q=1")
    stream.metadata_namespace("my")["k"] = "set"
    await wasm.request(stream)
    status, text = wasm.log
    assert status + (text if status == "0" else "") == value


async def test_property_that_was_set_is_filter_state(run, make_stream):
    guest = Guest()
    code = guest.call("proxy_set_property", b"mine", b"BODY") + guest.log_property(b"mine") + CONTINUE
    wasm = run(guest.on("request_headers", code))
    stream = make_stream()
    await wasm.request(stream)
    assert wasm.log == ["0", "BODY"]
    assert stream.filter_state == {"wasm.mine": b"BODY"}
