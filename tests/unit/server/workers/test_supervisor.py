"""A worker that is stopped, or dies of its start, as its supervisor sees it."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from sidecar.server.workers.frames import Frame
from sidecar.server.workers.supervisor import Supervisor


class Channel:
    """Of a worker that answers, or not."""

    def __init__(self, supervisor: Supervisor, number: int) -> None:
        self.supervisor, self.number = supervisor, number
        self.is_stopped = False
        self.sent: list[str] = []

    def send(self, kind: str, values: object = None, *_: object) -> None:
        self.sent.append(kind)
        if kind == "stats" and not self.is_stopped:
            self.answer()

    def answer(self) -> None:
        values: dict[str, Any] = {key: {} for key in ("stats", "hosts", "python_filters")}
        values |= {"connections": 0, "resident": 0}
        worker: Any = self.supervisor._workers[self.number]
        self.supervisor._take(worker, self, Frame("stats", values, (), 0))  # type: ignore[arg-type]


@pytest.fixture
def supervisor() -> Any:
    made: Any = Supervisor(2)
    nothing = SimpleNamespace(take=lambda *_: None, forget=lambda _: None)
    assembly = SimpleNamespace(python_filters=nothing, clusters=SimpleNamespace(clusters={}))
    options = SimpleNamespace(shutdown_deadline_s=30)
    made._server = SimpleNamespace(merger=nothing, assembly=assembly, options=options)
    for each in made._workers:
        each.channel = Channel(made, each.number)
        each.is_live = True
    return made


async def waits(supervisor: Any) -> float:
    began = trio.current_time()
    await supervisor.collect()
    return trio.current_time() - began


async def test_silent_worker_is_waited_for_once(
    supervisor: Any, autojump_clock: trio.testing.MockClock
) -> None:
    channel = supervisor._workers[0].channel
    channel.is_stopped = True
    assert await waits(supervisor) == pytest.approx(2)
    assert await waits(supervisor) == 0
    assert channel.sent == ["stats"]
    channel.is_stopped = False
    channel.answer()
    assert await waits(supervisor) == 0
    assert channel.sent == ["stats"] * 2
    assert not supervisor._workers[0].questions


async def test_two_who_ask_at_once_both_hear(supervisor: Any, autojump_clock: trio.testing.MockClock) -> None:
    channel = supervisor._workers[1].channel
    channel.is_stopped = True
    async with trio.open_nursery() as nursery:
        took: list[float] = []

        async def ask() -> None:
            took.append(await waits(supervisor))

        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        channel.answer()
        channel.answer()
    assert took == [0, 0]


@pytest.mark.parametrize(("how", "limit_s"), [("stop", 5), ("shut_down", 35)])
async def test_worker_that_does_not_end_is_killed(
    supervisor: Any, autojump_clock: trio.testing.MockClock, how: str, limit_s: float
) -> None:
    stopped, other = supervisor._workers
    other.ended.set()
    stopped.process = SimpleNamespace(kill=stopped.ended.set)
    began = trio.current_time()
    await supervisor.end(how)
    assert trio.current_time() - began == pytest.approx(limit_s)


async def test_worker_that_dies_of_its_start_is_started_more_and_more_seldom(
    supervisor: Any, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[float] = []

    async def run(_worker: object) -> bool:
        starts.append(trio.current_time())
        if len(starts) == 9:
            supervisor._ending.set()
        return True

    monkeypatch.setattr(supervisor, "_run", run)
    supervisor._died = SimpleNamespace(value=0)
    await supervisor._keep(supervisor._workers[0])
    pauses = [round(after - before, 3) for before, after in pairwise(starts)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert supervisor._died.value == 8
