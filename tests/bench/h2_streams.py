"""What it costs to give each HTTP/2 stream somebody to run it: ``python -m tests.bench.h2_streams``.

Streams do nothing but wait once, as for a response, and end.  A connection starts a hundred of them at a
time, as one read of a busy client does, answers them all, and waits until they are over.  Compared are the
strands of :mod:`sidecar.net.reactor`, with and without a visit to trio, and tasks of trio, with a cancel
scope each (a stream must be cancelled alone) and without.  Microseconds per stream, best of many rounds;
the numbers of docs/adr/0010 come from here.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from sidecar.net.reactor import Reactor, Signal, Strand, adopted, drive, open_reactor, turn

__all__ = ["measure"]

_STREAMS = 100
_ROUNDS = 200


class _Count:
    """How many streams are over."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over = 0


async def _strands(reactor: Reactor, *, visit: bool) -> float:
    """A strand per stream, owned lazily; ``visit``: each needs trio once, and so an owner."""
    best = float("inf")
    count = _Count()

    async def stream(signal: Signal) -> None:
        await signal.wait()
        if visit:
            async with adopted():
                await trio.lowlevel.checkpoint()
        count.over += 1

    async def connection(_strand: Strand) -> None:
        nonlocal best
        for _ in range(_ROUNDS):
            count.over = 0
            started = time.perf_counter()
            signals = [Signal(reactor) for _ in range(_STREAMS)]
            for signal in signals:
                reactor.spawn("stream", lambda _, signal=signal: stream(signal))
            for signal in signals:
                signal.fire()
            while count.over < _STREAMS:
                await turn()
                if visit:
                    async with adopted():
                        await trio.lowlevel.checkpoint()
            best = min(best, time.perf_counter() - started)

    await drive(reactor, "connection", connection)
    return best


async def _tasks(_reactor: Reactor, *, scoped: bool) -> float:
    """A task of trio per stream; ``scoped``: in a cancel scope of its own."""
    best = float("inf")
    count = _Count()

    async def stream(event: trio.Event) -> None:
        if scoped:
            with trio.CancelScope():
                await event.wait()
        else:
            await event.wait()
        count.over += 1

    async with trio.open_nursery() as nursery:
        for _ in range(_ROUNDS):
            count.over = 0
            started = time.perf_counter()
            events = [trio.Event() for _ in range(_STREAMS)]
            for event in events:
                nursery.start_soon(stream, event)
            await trio.lowlevel.checkpoint()
            for event in events:
                event.set()
            while count.over < _STREAMS:
                await trio.lowlevel.checkpoint()
            best = min(best, time.perf_counter() - started)
    return best


_CASES: dict[str, Callable[[Reactor], Awaitable[float]]] = {
    "strand per stream": lambda reactor: _strands(reactor, visit=False),
    "strand that visits trio": lambda reactor: _strands(reactor, visit=True),
    "task per stream": lambda reactor: _tasks(reactor, scoped=False),
    "task with a cancel scope": lambda reactor: _tasks(reactor, scoped=True),
}


async def measure() -> dict[str, float]:
    """Microseconds per stream, by case."""
    numbers: dict[str, float] = {}
    async with open_reactor() as reactor:
        for name, case in _CASES.items():
            gc.collect()
            gc.disable()
            try:
                numbers[name] = await case(reactor) / _STREAMS * 1e6
            finally:
                gc.enable()
    return numbers


def main() -> Any:
    """Print them."""
    for name, number in trio.run(measure).items():
        print(f"{name:26} {number:6.2f} µs")


if __name__ == "__main__":
    main()
