"""Code that is fetched: once for all who want it, again where the policy says so, with the right digest."""

from __future__ import annotations

import hashlib
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sidecar.core.errors import DeadlineExceeded
from sidecar.core.headers import ResponseHeaders
from sidecar.extensions.wasm.code_cache import CodeCache, RemoteCode
from sidecar.observability.stats import Store
from sidecar.router.http_client import ClientResponse

CODE = b"\0asm code"
SOURCE = RemoteCode(
    "https://code.example/a/b.wasm?x=1", "code", 2.0, hashlib.sha256(CODE).hexdigest(), retries=2
)


class Call:
    def __init__(self, outcome: Any) -> None:
        self._outcome = outcome
        self.response = self.error = None
        self.on_done: Any = None

    def start(self) -> None:
        if isinstance(self._outcome, Exception):
            self.error = self._outcome
        elif self._outcome is not None:
            self.response = self._outcome
        else:
            return
        self.on_done(self)

    def cancel(self) -> None:
        pass


class Client:
    """Answers one call after another; None never does."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[Any] = []

    def call(self, cluster: str, headers: Any, *, timeout_s: float, keep_bytes: int) -> Call:
        self.asked.append((cluster, headers, timeout_s))
        return Call(self.outcomes.pop(0))


def answer(body: bytes = CODE, status: int = 200) -> ClientResponse:
    return ClientResponse(ResponseHeaders(status), body)


def counted(store: Store) -> dict[str, int]:
    start = "wasm.remote_load_"
    return {
        name.removeprefix(start): counter.value
        for name, counter in store.counters.items()
        if counter.value and name.startswith(start)
    }


def run(cache: CodeCache, client: Client, store: Store) -> bytes | None:
    return trio.run(cache.fetch, SOURCE, client, store, clock=MockClock(autojump_threshold=0))


def test_code_is_asked_for_by_its_uri_and_kept():
    cache, client, store = CodeCache(), Client(answer()), Store()
    assert cache.look(SOURCE.sha256, store) is None
    assert run(cache, client, store) == CODE
    cluster, headers, timeout_s = client.asked[0]
    assert (cluster, timeout_s) == ("code", 2.0)
    assert dict(headers) == {
        b":authority": b"code.example",
        b":path": b"/a/b.wasm?x=1",
        b":method": b"GET",
        b":scheme": b"https",
    }
    assert cache.look(SOURCE.sha256, store) == CODE
    assert counted(store) == {"cache_misses": 1, "cache_hits": 1, "fetch_successes": 1}


def test_fetch_is_tried_again_until_the_digest_is_right():
    cache, store = CodeCache(draw=lambda: 0.5), Store()
    client = Client(answer(status=503), answer(b"other"), answer())
    assert run(cache, client, store) == CODE
    assert counted(store) == {"fetch_successes": 1}


def test_failure_is_remembered_for_ten_seconds():
    now = [100.0]
    cache, store = CodeCache(clock=lambda: now[0]), Store()
    refused = Client(DeadlineExceeded("total"), answer(status=404), answer(b"", 200))
    assert run(cache, refused, store) is None
    assert refused.outcomes == []
    assert cache.look(SOURCE.sha256, store) is None
    assert cache.is_refused(SOURCE.sha256)
    assert counted(store) == {"fetch_failures": 1, "cache_negative_hits": 1}
    now[0] += 10.1
    assert not cache.is_refused(SOURCE.sha256)
    assert cache.look(SOURCE.sha256, store) is None
    assert counted(store)["cache_misses"] == 1
    assert run(cache, Client(answer()), store) == CODE


def test_code_that_nobody_used_for_a_day_is_dropped():
    now = [100.0]
    cache, store = CodeCache(clock=lambda: now[0]), Store()
    run(cache, Client(answer()), store)
    now[0] += 23 * 3600
    assert cache.look(SOURCE.sha256, store) == CODE
    now[0] += 25 * 3600
    assert cache.look(SOURCE.sha256, store) is None


def test_two_who_want_the_same_code_fetch_it_once():
    async def main() -> list[bytes | None]:
        cache, store, client = CodeCache(), Store(), Client(None)
        got: list[bytes | None] = []

        async def want() -> None:
            got.append(await cache.fetch(SOURCE, client, store))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(want)
            await wait_all_tasks_blocked()
            nursery.start_soon(want)
            await wait_all_tasks_blocked()
            assert len(client.asked) == 1
            nursery.cancel_scope.cancel()
        # Who fetched was cancelled: the next one asks anew.
        client.outcomes.append(answer())
        got.append(await cache.fetch(SOURCE, client, store))
        return got

    assert trio.run(main) == [CODE]
