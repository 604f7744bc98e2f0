"""Break off requests that are tried several times at every place where anything of them waits."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio

from sidecar.core.headers import RequestHeaders
from sidecar.net.reactor import Strand
from sidecar.router.http_client import HttpClient, PushBody
from sidecar.router.mirroring import MirrorPolicy, mirror
from sidecar.router.retry_policy import RetryPolicy, parse_retry_on
from sidecar.router.route import PREFIX, Route
from sidecar.upstream.cluster import CircuitBreakerLimits
from tests.support.h1_lab import GET, OK, H1Lab, open_h1_lab, skewed_clock, table_of
from tests.support.interrupting import Interruption
from tests.support.strands import Driven, settle

BAD = b"HTTP/1.1 503 Bad\r\ncontent-length: 3\r\n\r\nbad"
HINT = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
LENGTH = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
PER_TRY_S = 1.0
Scene = Callable[["Talk"], Awaitable[None]]


class BrokenOff(Exception):
    """The request was broken off: the scene is over."""


class Talk:
    """A client and the upstream's connections, until the request is broken off."""

    def __init__(self, lab: H1Lab, client: socket.socket, driven: Driven | None = None) -> None:
        self.lab = lab
        self.client = client
        self._driven = driven
        self.servers: list[socket.socket] = []

    async def tell(self, data: bytes) -> None:
        """The client sends."""
        with contextlib.suppress(OSError):
            self.client.send(data)
        await self.settle()

    async def settle(self) -> None:
        """Let the proxy do what it can.  Raises: BrokenOff."""
        await settle()
        if self._driven is not None and self._driven.is_over:
            raise BrokenOff

    async def back_off(self, seconds: float = 0.5) -> None:
        """Let the time between two tries go by."""
        await trio.sleep(seconds)
        await self.settle()

    async def answer(self, data: bytes, at: int = -1) -> None:
        """The upstream answers on one of its connections, by default the newest."""
        self.take()
        if self.servers:
            with contextlib.suppress(OSError, IndexError):
                self.servers[at].recv(1 << 20)
            with contextlib.suppress(OSError, IndexError):
                self.servers[at].send(data)
        await self.settle()

    async def cut(self, at: int = -1) -> None:
        """The upstream closes a connection."""
        self.take()
        with contextlib.suppress(IndexError):
            self.servers[at].close()
        await self.settle()

    def take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.servers.append(self.lab.upstream.accept())


async def bad_answers(talk: Talk) -> None:
    await talk.tell(GET)
    for _ in range(2):
        await talk.answer(BAD)
        await talk.back_off()
    await talk.answer(OK)


async def broken_connections(talk: Talk) -> None:
    await talk.tell(GET)
    for _ in range(2):
        await talk.cut()
        await talk.back_off()
    await talk.answer(OK)


async def body_that_comes_meanwhile(talk: Talk) -> None:
    await talk.tell(CHUNKED + b"3\r\nabc\r\n")
    await talk.answer(BAD)
    await talk.tell(b"3\r\ndef\r\n")
    await talk.back_off()
    await talk.tell(b"0\r\n\r\n")
    await talk.answer(OK)


async def body_that_becomes_too_long(talk: Talk) -> None:
    await talk.tell(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\nabc")
    await talk.answer(BAD)
    for _ in range(30):
        await talk.tell(bytes(60_000))
    await talk.back_off()


async def tries_that_are_too_slow(talk: Talk) -> None:
    await talk.tell(LENGTH + b"abcdef")
    await talk.back_off(PER_TRY_S * 1.5)
    await talk.back_off(PER_TRY_S * 1.5)
    await talk.answer(OK)


async def interim_answer(talk: Talk) -> None:
    await talk.tell(GET)
    await talk.answer(HINT)
    await talk.answer(BAD)


async def answer_that_pauses(talk: Talk) -> None:
    await talk.tell(GET)
    await talk.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
    await talk.answer(b"def")
    await talk.back_off(PER_TRY_S * 3)
    await talk.answer(b"ghi")


async def slow_first(talk: Talk) -> None:
    """Hedged: the second wins."""
    await talk.tell(GET)
    await talk.back_off(PER_TRY_S * 1.5)
    await talk.answer(OK)


async def slow_first_that_wins(talk: Talk) -> None:
    await talk.tell(LENGTH + b"abcdef")
    await talk.back_off(PER_TRY_S * 1.5)
    await talk.answer(OK, at=0)


async def slow_ones_of_which_some_fail(talk: Talk) -> None:
    await talk.tell(CHUNKED + b"3\r\nabc\r\n")
    await talk.tell(b"0\r\n\r\n")
    await talk.back_off(PER_TRY_S * 1.5)
    await talk.answer(BAD)
    await talk.back_off()
    await talk.cut(0)
    await talk.answer(HINT + OK)


async def none_answers(talk: Talk) -> None:
    await talk.tell(GET)
    await talk.back_off(PER_TRY_S * 20)


#: With retries, with hedged ones, or without any.
PLAIN, HEDGED, ONCE = "plain", "hedged", "once"
SCENES: tuple[tuple[Scene, str], ...] = (
    *((scene, ONCE) for scene in (body_that_comes_meanwhile, answer_that_pauses)),
    *((scene, PLAIN) for scene in (bad_answers, broken_connections, body_that_comes_meanwhile)),
    *((scene, PLAIN) for scene in (body_that_becomes_too_long, tries_that_are_too_slow, interim_answer)),
    (answer_that_pauses, PLAIN),
    *((scene, HEDGED) for scene in (slow_first, slow_first_that_wins, slow_ones_of_which_some_fail)),
    *((scene, HEDGED) for scene in (bad_answers, body_that_comes_meanwhile, none_answers)),
)


def prepare(lab: H1Lab, *, kind: str, is_mirrored: bool) -> None:
    """A route with retries, and perhaps with a copy to its own cluster."""
    route = Route(PREFIX, b"/")
    route.cluster_name = "up"
    route.timeout_s = PER_TRY_S * 10
    if kind != ONCE:
        route.retry_policy = RetryPolicy(
            parse_retry_on("5xx"),
            num_retries=2,
            per_try_timeout_s=PER_TRY_S,
            per_try_idle_timeout_s=PER_TRY_S * 1.2,
            base_interval_ms=100,
            max_interval_ms=100,
        )
    route.hedge_on_per_try_timeout = kind == HEDGED
    if is_mirrored:
        route.mirrors = (MirrorPolicy("up"),)
        router = lab.manager.router
        client = HttpClient(lab.lab.reactor, router.find_cluster, router.get_pool, lab.store)
        router.mirror = partial(mirror, client)
    route.freeze()
    lab.manager.route_table = table_of(route)


@contextlib.asynccontextmanager
async def nothing_left(talk: Talk, where: str) -> AsyncIterator[None]:
    """What the block does leaves no strand, no slot and no gauge; the next request is served."""
    lab = talk.lab
    yield
    talk.take()
    for server in talk.servers:  # copies go their way until they are answered or cut
        server.close()
    await trio.sleep(PER_TRY_S * 30)
    await settle()
    talk.take()
    for server in talk.servers:
        server.close()
    await settle()
    assert not lab.lab.reactor.strands, where
    assert lab.gauges() == {}, where
    host = lab.host
    assert (host.rq_active, host.rq_pending_active, host.cx_active) == (0, 0, 0), where
    assert lab.cluster.resources[0].retries.active == 0, where


async def play(scene: Scene, number: int, how: str, *, kind: str, is_mirrored: bool) -> int:
    """Play ``scene``, break it off at the given wait, see that nothing is left; the waits that there were."""
    limits = CircuitBreakerLimits(max_connections=4, max_retries=3)
    async with open_h1_lab(clock=skewed_clock(), default_limits=limits) as lab:
        prepare(lab, kind=kind, is_mirrored=is_mirrored)
        driven: Driven
        client: socket.socket

        def act() -> None:
            if how == "cancelled":
                driven.scope.cancel()
            else:
                client.close()

        interruption = Interruption(number, act)
        interruption.count_spawned(lab.lab.reactor)
        client, driven = lab.connect(wrap=interruption.count)
        talk = Talk(lab, client, driven)
        where = f"{scene.__name__} {how} at wait {number}"
        async with nothing_left(talk, where):
            with contextlib.suppress(BrokenOff):
                await scene(talk)
            waits = interruption.waits
            driven.scope.cancel()
            await settle()
            assert driven.is_over, where
            names = {strand.name for strand in lab.lab.reactor.strands}
            assert names.isdisjoint(("request body", "hedged try")), where
        total = lab.counter("http.test.downstream_cx_total")
        assert lab.counter("http.test.downstream_cx_destroy") == total == 1, where
        return waits


@pytest.mark.parametrize(
    ("how", "is_mirrored"),
    [("cancelled", False), ("client leaves", False), ("cancelled", True)],
    ids=["cancelled", "client leaves", "mirrored"],
)
@pytest.mark.parametrize(
    ("scene", "kind"),
    SCENES,
    ids=lambda each: each.__name__ if callable(each) else each,
)
async def test_tries_broken_off_at_any_wait_leave_nothing(
    scene: Scene, kind: str, how: str, is_mirrored: bool, autojump_clock: object
) -> None:
    waits = await play(scene, 0, how, kind=kind, is_mirrored=is_mirrored)
    assert waits >= 3
    for number in range(1, waits + 1):
        await play(scene, number, how, kind=kind, is_mirrored=is_mirrored)


async def call(number: int) -> int:
    """A call of the proxy's own with a body in pieces, given up at the given wait."""
    async with open_h1_lab(clock=skewed_clock()) as lab:
        router = lab.manager.router
        client = HttpClient(lab.lab.reactor, router.find_cluster, router.get_pool, lab.store)
        body = PushBody(lab.lab.reactor, 4)
        head = RequestHeaders(b"POST", b"/", b"a", b"http")
        made = client.call("up", head, body)
        interruption = Interruption(number, made.cancel)
        interruption.count_spawned(lab.lab.reactor)

        async def push(_strand: Strand) -> Any:
            for _ in range(4):
                await body.push(b"abc")
            body.end()

        async def wait(_strand: Strand) -> Any:
            return await made.result()

        made.start()
        lab.lab.reactor.spawn("pushes", push)
        waiter = lab.lab.own(wait)
        talk = Talk(lab, lab.lab.pair()[1])
        where = f"call given up at wait {number}"
        async with nothing_left(talk, where):
            await settle()
            await talk.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
            await talk.answer(b"cd")
            assert waiter.is_over, where
            assert (waiter.error is None) or number, where
        return interruption.waits


async def test_call_given_up_at_any_wait_leaves_nothing(autojump_clock: object) -> None:
    waits = await call(0)
    assert waits >= 3
    for number in range(1, waits + 1):
        await call(number)
