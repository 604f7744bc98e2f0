"""Every bound of docs/bounds.md has a test; here are those that have no better place."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.api.message import FixedBody, RequestMessage
from sidecar.codec.h2_types import H2Settings
from sidecar.core.errors import StreamAborted
from sidecar.core.headers import RequestHeaders
from sidecar.extensions.access_loggers import log_file
from sidecar.net import h2_wire, pipes, tls_transport
from sidecar.net.reactor import Strand
from sidecar.net.splice import carry
from sidecar.net.tls_transport import TlsTransport
from sidecar.router import grpc_client
from sidecar.server import admin_server
from sidecar.server.admin_server import AdminServer
from sidecar.server.bind import BindOptions, listen
from sidecar.server.workers import channel, supervisor
from tests.support.strands import open_lab, settle
from tests.unit.net.test_h2_writers import HUGE, open_server
from tests.unit.net.test_tls_transport import _Client, _server

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "bounds.md"
_UNIT = "tests/unit"
_SCENARIOS = "tests/conformance/scenarios"
#: The row's queue, and the test (or scenario) that fills it.
_TESTS = {
    "connections that nobody accepted": f"{_UNIT}/test_bounds.py"
    "::test_connections_that_nobody_accepts_wait_up_to_the_backlog",
    "connections": f"{_UNIT}/server/test_connection_limits.py"
    "::test_connections_beyond_a_listeners_limit_are_refused_until_one_leaves",
    "a read": f"{_UNIT}/net/test_limited_transport.py"
    "::test_limit_is_what_envoy_reads_at_least_and_none_where_reads_are_smaller_anyway",
    "a head": f"{_UNIT}/codec/test_h1_heads.py::test_header_lines_over_the_limit_are_answered_431",
    "HTTP/1 requests sent ahead (pipelining)": f"{_UNIT}/http/test_h1_driver.py"
    "::test_pipelined_requests_are_answered_in_order",
    "HTTP/2 streams of a connection": f"{_UNIT}/codec/test_h2_contract.py"
    "::test_streams_beyond_the_limit_end_the_connection_after_it",
    "an HTTP/2 body that nobody took": f"{_UNIT}/codec/test_h2_contract.py"
    "::test_data_beyond_the_window_ends_the_connection",
    "METADATA of an HTTP/2 stream": f"{_UNIT}/codec/test_h2_metadata.py"
    "::test_too_much_of_it_ends_the_connection_without_a_word",
    "HTTP/2 bodies of a connection together": f"{_UNIT}/net/test_h2_wire.py"
    "::test_read_goes_on_after_a_moment_though_nobody_takes_anything",
    "HTTP/2 bytes of bodies to send": f"{_UNIT}/test_bounds.py"
    "::test_bodies_to_send_over_http2_wait_beyond_the_queue",
    "HTTP/2 frames to send": f"{_UNIT}/codec/test_h2_contract.py"
    "::test_frames_of_a_peer_that_does_not_read_are_a_flood",
    "a body that a filter wants whole": f"{_UNIT}/api/test_message.py"
    "::test_buffered_body_over_the_limit_aborts_with_the_given_reply",
    "a request that may be tried again": f"{_SCENARIOS}/retries.py::retry_too_large",
    "bytes between two TCP connections": f"{_UNIT}/test_bounds.py"
    "::test_bytes_between_connections_wait_for_their_reader",
    "a long HTTP/1 response on its way": f"{_UNIT}/net/test_splice_bodies.py"
    "::test_large_pipes_are_bounded_and_kept",
    "bytes of a TLS connection": f"{_UNIT}/test_bounds.py::test_little_more_is_encrypted_than_the_peer_takes",
    "requests that wait for a connection": f"{_UNIT}/upstream/test_h1_pool.py"
    "::test_max_pending_requests_refuses_one_more",
    "requests, connections, tries": f"{_SCENARIOS}/circuit_breakers.py::limit_of_requests",
    "messages of a gRPC stream of ours": f"{_UNIT}/router/test_grpc_client.py"
    "::test_full_buffer_says_no_and_there_is_room_again",
    "lines of an access log file": f"{_UNIT}/extensions/access_loggers/test_log_file.py"
    "::test_slow_reader_gets_the_rest_later_and_is_given_up_at_the_bound",
    "entries of an access log service": f"{_UNIT}/extensions/access_loggers/test_log_service.py"
    "::test_what_a_slow_service_does_not_take_is_dropped_and_counted",
    "frames to a worker": f"{_UNIT}/server/workers/test_channel.py"
    "::test_channel_whose_peer_takes_nothing_is_given_up",
    "questions to a worker": f"{_UNIT}/server/workers/test_supervisor.py"
    "::test_silent_worker_is_waited_for_once",
    "body of an admin request": f"{_UNIT}/test_bounds.py::test_long_body_of_an_admin_request_is_a_413",
}
#: What the page says in numbers, some of which the tests make smaller.
_NUMBERS = [
    ("HTTP/2 bodies of a connection together", "1 MiB", h2_wire.READ_AHEAD_BYTES),
    ("HTTP/2 bytes of bodies to send", "256 KiB", h2_wire._QUEUE_LIMIT),
    ("HTTP/2 bytes of bodies to send", "16 KiB", h2_wire._SHARE),
    ("METADATA of an HTTP/2 stream", "1 MiB", H2Settings().max_metadata_size),
    ("a long HTTP/1 response on its way", "1 MiB", pipes.PIPE_SIZE),
    ("bytes of a TLS connection", "256 KiB", tls_transport._MOST_BYTES),
    ("messages of a gRPC stream of ours", "1 MiB", grpc_client._BUFFER_BYTES),
    ("lines of an access log file", "4 MiB", log_file._MAX_PENDING_BYTES),
    ("frames to a worker", "256 MiB", channel._LIMIT_BYTES),
    ("body of an admin request", "1 MiB", admin_server._BODY_LIMIT_BYTES),
]


def _rows() -> dict[str, str]:
    lines = [line for line in _PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    return {cells[1].strip(): cells[2] for cells in (line.split("|") for line in lines[1:])}


def test_every_row_of_the_page_names_its_test() -> None:
    assert list(_rows()) == list(_TESTS)


@pytest.mark.parametrize("row", _TESTS)
def test_test_of_a_row_is_there(row: str) -> None:
    path, _, name = _TESTS[row].partition("::")
    assert re.search(rf"^(async )?def {name}\(", (_ROOT / path).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("row", "text", "value"), _NUMBERS)
def test_number_of_the_page_is_the_one_of_the_code(row: str, text: str, value: int) -> None:
    number, _, unit = text.partition(" ")
    assert re.search(rf"(?<!\d){text}\b", _rows()[row])
    assert value == int(number) << {"KiB": 10, "MiB": 20}[unit]


def test_questions_wait_and_pipes_are_counted_as_the_page_says() -> None:
    assert f"those of {supervisor._COLLECT_S:g} s" in _rows()["questions to a worker"]
    assert f"of which {pipes._MOST_LARGE} are" in _rows()["a long HTTP/1 response on its way"]


def test_connections_that_nobody_accepts_wait_up_to_the_backlog() -> None:
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        listen(sock, 3, BindOptions())
        connected = 0
        for _ in range(10):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(sock.getsockname())
            with contextlib.suppress(OSError):
                client.getpeername()
                connected += 1
        assert connected == 4  # Linux lets in one more


async def test_long_body_of_an_admin_request_is_a_413() -> None:
    headers = RequestHeaders(b"POST", b"/quitquitquit", b"a", b"http", [])
    body = FixedBody(bytes(admin_server._BODY_LIMIT_BYTES + 1))
    stream: Any = SimpleNamespace(request=RequestMessage(headers, body))
    with pytest.raises(StreamAborted) as aborted:
        await AdminServer._answer(SimpleNamespace(), stream)  # type: ignore[arg-type] # it gets no further
    assert aborted.value.reply.status == 413


async def test_bytes_between_connections_wait_for_their_reader() -> None:
    async with open_lab() as lab:
        source, sender = lab.pair()
        target, _reader = lab.pair()  # which does not read
        carried: list[int] = []

        async def body(_: Strand) -> None:
            await carry(source, target, carried.append, None)

        lab.own(body)
        sent = 0
        for _ in range(100):
            try:
                sent += sender.send(bytes(1 << 20))
            except BlockingIOError:
                await settle()
        # The sockets' own buffers, and a read.
        assert sent < 8 << 20
        assert sent - sum(carried) <= source.limit + (1 << 20)


async def test_bodies_to_send_over_http2_wait_beyond_the_queue() -> None:
    async with open_server(3, HUGE) as server:
        for stream_id in (1, 3, 5):
            server.answer(stream_id, 8 << 20)
        for _ in range(20):
            await settle()
            assert server.wire._queued <= (256 + 3 * 16) * 1024
        assert server.sent == {}


async def test_little_more_is_encrypted_than_the_peer_takes() -> None:
    context = _server()
    async with open_lab() as lab:
        plain, peer = lab.pair()
        made: list[Any] = []

        async def body(_: Strand) -> None:
            transport = TlsTransport(plain, context.wrap)
            made.append(transport)
            await transport.handshake()
            await transport.send_all(bytes(32 << 20))

        driven = lab.own(body)
        client = _Client(peer)
        client.shake()
        client.send()
        await settle()
        client.take()
        client.shake()
        client.send()
        for _ in range(20):
            await settle()
        assert not driven.is_over
        waiting = len(made[0]._backlog) + made[0]._outgoing.pending
        assert 0 < waiting <= (256 + 32) * 1024
