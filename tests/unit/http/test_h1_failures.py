"""Throw what a sweep, a hang-up or a timer throws at every wait of an HTTP/1 exchange: nothing may leak.

:mod:`test_h1_cancel` does the same with cancellation, which ends the connection; these end a stream, and what
becomes of its connection is the driver's to decide.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio

from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag
from sidecar.core.errors import (
    DeadlineExceeded,
    Disconnected,
    RemoteProtocolError,
    StreamAborted,
    UpstreamError,
)
from sidecar.net.reactor import Strand
from sidecar.router.http_client import HttpClient
from sidecar.router.internal_redirects import InternalRedirectPolicy
from sidecar.router.mirroring import MirrorPolicy, mirror
from sidecar.router.route import PREFIX, DirectResponse, Route
from sidecar.router.route_table import RouteTable
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.host import Host
from sidecar.upstream.resources import CircuitBreakerLimits
from tests.support.h1_lab import GET, OK, H1Lab, Upstream, open_h1_lab, table_of
from tests.support.strands import Driven, settle

CHUNKED_POST = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
FOUND = b"HTTP/1.1 302 Found\r\nlocation: http://a/\r\ncontent-length: 0\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n"

ERRORS: dict[str, Callable[[], Exception]] = {
    "timeout": lambda: DeadlineExceeded("total"),
    "idle": lambda: DeadlineExceeded("idle"),
    "aborted": lambda: StreamAborted(LocalReply(504, b"too long", details="max_duration_timeout")),
    "gone": lambda: Disconnected("the client left"),
}
#: In their place: cancel the connection's task.
CANCELLED = "cancelled"
#: What ends a strand that works for a stream: one that sends its body, one that connects for it.
HELPER_ERRORS: dict[str, Callable[[], Exception]] = {
    **ERRORS,
    "upstream": lambda: UpstreamError("left", flag=Flag.UPSTREAM_CONNECTION_TERMINATION, details="left"),
    "protocol": lambda: RemoteProtocolError("nonsense"),
}


class ThrowAt:
    """A coroutine whose strand is failed when, all strands taken together, it is the n-th that waits."""

    def __init__(self, coroutine: Any, count: Callable[[], bool], fail: Callable[[], None]) -> None:
        self._coroutine = coroutine
        self._count = count
        self._fail = fail

    def send(self, value: Any) -> Any:
        return self._seen(self._coroutine.send(value))

    def throw(self, error: BaseException) -> Any:
        return self._seen(self._coroutine.throw(error))

    def close(self) -> None:
        self._coroutine.close()

    def _seen(self, trap: Any) -> Any:
        if self._count():
            trio.lowlevel.current_trio_token().run_sync_soon(self._fail)
        return trap


class Script:
    """Both peers play their part whatever the proxy does."""

    def __init__(self, lab: H1Lab, client: Any) -> None:
        self.lab = lab
        self.client = client
        self.server: Any = None
        self.copies = Upstream(lab.lab)
        self.copy_server: Any = None

    async def tell(self, data: bytes) -> None:
        self._try(self.client.send, data)
        await settle()

    async def answer(self, data: bytes) -> None:
        try:
            self.server = self.lab.upstream.accept()
        except BlockingIOError:
            if self.server is None:
                return
        self.drain(self.server)
        self._try(self.server.send, data)
        await settle()

    async def answer_copy(self, data: bytes) -> None:
        """Answer the request's copy; all of it that came is read."""
        if self.copy_server is None:
            try:
                self.copy_server = self.copies.accept()
            except BlockingIOError:
                return
        self.drain(self.copy_server)
        self._try(self.copy_server.send, data)
        await settle()

    async def end_copies(self) -> None:
        """Their server leaves: so do they."""
        for _ in range(2):
            await self.answer_copy(b"")
            if self.copy_server is not None:
                self.copy_server.close()
                self.copy_server = None
            await settle()

    def drain(self, sock: Any) -> None:
        while self._try(sock.recv, 1 << 20):
            pass

    @staticmethod
    def _try(call: Callable[..., Any], argument: Any) -> Any:
        try:
            return call(argument)
        except OSError:
            return None


async def keep_alive(talk: Script) -> None:
    for _ in range(2):
        await talk.tell(GET)
        await talk.answer(OK)


async def streaming_both_ways(talk: Script) -> None:
    await talk.tell(CHUNKED_POST)
    await talk.tell(b"3\r\nabc\r\n")
    await talk.answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await talk.tell(b"3\r\ndef\r\n0\r\n\r\n")
    await talk.answer(b"0\r\n\r\n")


async def slow_upstream(talk: Script) -> None:
    await talk.tell(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
    for _ in range(20):
        await talk.tell(bytes(50_000))
    for _ in range(20):
        await talk.answer(b"")
        await talk.tell(bytes(50_000))
    await talk.answer(OK)


async def slow_client(talk: Script) -> None:
    await talk.tell(GET)
    await talk.answer(LONG)
    for _ in range(40):
        await talk.answer(bytes(50_000))
    for _ in range(40):
        talk.drain(talk.client)
        await talk.answer(bytes(50_000))


async def head_in_pieces(talk: Script) -> None:
    await talk.tell(b"GET / HTTP/1.1\r\nho")
    await talk.tell(b"st: a\r\n\r\n")
    await talk.answer(b"HTTP/1.1 200 OK\r\ncontent-")
    await talk.answer(b"length: 2\r\n\r\nok")


async def redirected_inside(talk: Script) -> None:
    await talk.tell(GET.replace(b"/ ", b"/redirected "))
    await talk.answer(FOUND)
    await talk.answer(OK)


async def redirected_inside_with_a_body(talk: Script) -> None:
    await talk.tell(CHUNKED_POST.replace(b"/ ", b"/redirected "))
    await talk.tell(b"3\r\nabc\r\n")
    await talk.tell(b"0\r\n\r\n")
    await talk.answer(FOUND)
    await talk.answer(OK)


async def mirrored(talk: Script) -> None:
    await talk.tell(GET.replace(b"/ ", b"/mirrored "))
    await talk.answer(OK)
    await talk.answer_copy(OK)


async def mirrored_to_a_slow_cluster(talk: Script) -> None:
    await talk.tell(b"POST /mirrored HTTP/1.1\r\nhost: a\r\ncontent-length: 2000000\r\n\r\n")
    for _ in range(40):
        await talk.tell(bytes(50_000))
        await talk.answer(b"")
    for _ in range(60):
        await talk.answer_copy(b"")
        await talk.answer(b"")
        await talk.tell(bytes(50_000))
    await talk.answer_copy(OK)
    await talk.answer(OK)


async def local_replies_to_a_slow_client(talk: Script) -> None:
    await talk.tell(GET.replace(b"/ ", b"/local ") * 3)
    for _ in range(30):
        talk.drain(talk.client)
        await settle()


def routes_of(lab: H1Lab, copies: Upstream) -> RouteTable:
    """The routes of the scenes, with a cluster of its own for copies."""
    cluster = Cluster(ClusterConfig(name="copies"), lab.store)
    cluster.set_hosts([Host(copies.address)])
    router = lab.manager.router
    router.find_cluster = {"up": lab.cluster, "copies": cluster}.get
    client = HttpClient(lab.lab.reactor, router.find_cluster, router.get_pool, lab.store)
    router.mirror = partial(mirror, client)
    redirected, mirrored, plain = (Route(PREFIX, path) for path in (b"/redirected", b"/mirrored", b"/"))
    redirected.internal_redirect = InternalRedirectPolicy()
    mirrored.mirrors = (MirrorPolicy("copies"),)
    for route in (redirected, mirrored, plain):
        route.cluster_name = "up"
    local = Route(PREFIX, b"/local")
    local.direct_response = DirectResponse(200, bytes(1_000_000))
    for route in (redirected, mirrored, local, plain):
        route.freeze()
    return table_of(redirected, mirrored, local, plain)


async def play(
    scene: Callable[[Script], Awaitable[None]],
    number: int,
    make_error: Callable[[], Exception] | None,
    helper_error: Callable[[str], Exception],
) -> int:
    """Play ``scene``, fail the strand of the given wait, check that nothing is left; the waits there were.

    The owner of the connection gets ``make_error()``, or is cancelled; a strand that works for it
    ``helper_error(name)``.
    """
    limits = CircuitBreakerLimits(max_connections=1, max_pending_requests=1)
    async with open_h1_lab(default_limits=limits) as lab:
        waits = 0
        is_armed = True

        def count() -> bool:
            nonlocal waits
            waits += 1
            return is_armed and waits == number

        reactor = lab.lab.reactor
        spawn = reactor.spawn

        def spawn_counted(name: str, body: Any, **options: Any) -> Strand:
            def counted(strand: Strand) -> Any:
                return ThrowAt(body(strand), count, lambda: strand.fail(helper_error(name)))

            return spawn(name, counted, **options)

        reactor.spawn = spawn_counted  # type: ignore[method-assign]  # to count what it starts
        driven: Driven

        def fail() -> None:
            if make_error is None:
                driven.scope.cancel()
            else:
                driven.strand.fail(make_error())

        client, driven = lab.connect(wrap=lambda coroutine: ThrowAt(coroutine, count, fail))
        talk = Script(lab, client)
        lab.manager.route_table = routes_of(lab, talk.copies)
        await scene(talk)
        seen = waits
        is_armed = False
        assert not lab.host.rq_pending_active, "nobody connects, and somebody waits"
        client.close()
        await settle()
        driven.scope.cancel()
        await talk.end_copies()
        where = f"{scene.__name__} failed at wait {number}"
        assert driven.is_over, where
        assert number or scene not in EXPECTED or lab.counter(EXPECTED[scene]) == 1, where
        assert not reactor.strands, where
        active = lab.gauges()
        connections = active.pop("cluster.up.upstream_cx_active", 0)
        assert active == {}, where
        assert (lab.host.rq_active, lab.host.rq_pending_active) == (0, 0), where
        assert lab.host.cx_active == connections <= 1, where
        second, _ = lab.connect()
        second.send(GET)
        await settle()
        server = talk.server
        while lab.upstream is not None:
            try:
                server = lab.upstream.accept()
            except BlockingIOError:
                break
        talk.drain(server)
        server.send(OK)
        await settle()
        assert second.recv(65536).endswith(b"ok"), where
        return seen


SCENES = [
    keep_alive,
    streaming_both_ways,
    slow_upstream,
    slow_client,
    head_in_pieces,
    redirected_inside,
    redirected_inside_with_a_body,
    mirrored,
    mirrored_to_a_slow_cluster,
    local_replies_to_a_slow_client,
]
#: What a scene that nobody disturbs has counted: that it is the scene that it says.
EXPECTED = {
    redirected_inside: "cluster.up.upstream_internal_redirect_succeeded_total",
    redirected_inside_with_a_body: "cluster.up.upstream_internal_redirect_succeeded_total",
    mirrored: "cluster.copies.upstream_rq_200",
    mirrored_to_a_slow_cluster: "cluster.copies.upstream_rq_200",
}
HELPED_SCENES = [
    keep_alive,
    streaming_both_ways,
    slow_upstream,
    redirected_inside_with_a_body,
    mirrored,
    mirrored_to_a_slow_cluster,
]


@pytest.mark.parametrize("error", [*ERRORS, CANCELLED])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_exchange_that_fails_at_any_wait_leaks_nothing(
    scene: Callable[[Script], Awaitable[None]], error: str
) -> None:
    await play_at_every_wait(scene, ERRORS.get(error), usual_helper_error)


@pytest.mark.parametrize("error", HELPER_ERRORS)
@pytest.mark.parametrize("scene", HELPED_SCENES, ids=lambda scene: scene.__name__)
async def test_exchange_whose_helpers_fail_at_any_wait_leaks_nothing(
    scene: Callable[[Script], Awaitable[None]], error: str
) -> None:
    await play_at_every_wait(scene, ERRORS["gone"], lambda _name: HELPER_ERRORS[error]())


async def test_no_descriptor_for_an_upstream_connection_is_a_failed_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with open_h1_lab() as lab:
        client, _ = lab.connect()
        with monkeypatch.context() as patch:
            patch.setattr("sidecar.upstream.connector.socket.socket", refuse)
            client.send(GET)
            await settle()
        assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert lab.counter("cluster.up.upstream_cx_connect_fail") == 1
        assert (lab.host.cx_active, lab.host.rq_pending_active) == (0, 0)


def usual_helper_error(name: str) -> Exception:
    return DeadlineExceeded("total") if name.startswith("connect") else Disconnected("over")


async def play_at_every_wait(
    scene: Callable[[Script], Awaitable[None]],
    make_error: Callable[[], Exception] | None,
    helper_error: Callable[[str], Exception],
) -> None:
    waits = await play(scene, 0, make_error, helper_error)
    assert waits >= 3
    for number in [*range(1, min(waits, 20) + 1), *range(21, waits + 1, max(1, waits // 6))]:
        await play(scene, number, make_error, helper_error)
