"""Times that resources hold."""

from __future__ import annotations

import time

import trio
import trio.testing

from sidecar.xds.ttl import Ttls


def test_what_is_not_renewed_expires_once() -> None:
    ttls = Ttls()
    ttls.set("a", "x", 5.0, 0.0)
    ttls.set("a", "y", 7.0, 0.0)
    ttls.set("b", "x", 5.0, 0.0)
    assert ttls.next_s(1.0) == 4.0
    ttls.set("a", "x", 5.0, 4.0)
    assert ttls.take_expired(6.0) == {"b": ["x"]}
    assert ttls.take_expired(9.0) == {"a": ["x", "y"]}
    assert ttls.take_expired(99.0) == {}


def test_one_without_a_time_holds_for_ever() -> None:
    ttls = Ttls()
    ttls.set("a", "x", 5.0, 0.0)
    ttls.set("a", "x", None, 1.0)
    assert ttls.next_s(0.0) == float("inf")
    assert ttls.take_expired(100.0) == {}


async def test_whoever_watches_is_told() -> None:
    ttls = Ttls()
    told: list[tuple[str, list[str]]] = []
    done = trio.Event()

    def expire(type_url: str, names: list[str]) -> None:
        told.append((type_url, names))
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ttls.run, expire)
        await trio.testing.wait_all_tasks_blocked()
        ttls.set("a", "x", 0.0, time.monotonic())
        await done.wait()
        nursery.cancel_scope.cancel()
    assert told == [("a", ["x"])]
