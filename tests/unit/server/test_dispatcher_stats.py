from __future__ import annotations

import trio

from sidecar.observability.histogram import Histogram
from sidecar.observability.stats import Store
from sidecar.server.dispatcher_stats import DispatcherStats, make_dispatcher_stats
from sidecar.server.role import Role
from sidecar.server.workers.stats import StatsReader


class Worker(Role):
    worker = 1
    is_main = False


class Supervisor(Role):
    has_workers = True


def names(role: Role) -> list[str]:
    store = Store()
    make_dispatcher_stats(store, role)
    return sorted(name for name in store.histograms if "dispatcher" in name)


def test_a_turn_lasts_from_one_wait_to_the_next_and_only_a_wait_that_ran_out_is_late() -> None:
    durations, delays = Histogram("durations"), Histogram("delays")
    now = 1.0
    stats = DispatcherStats([durations], [delays], lambda: now)
    stats.before_io_wait(0.5)
    now = 1.25  # a socket woke it
    stats.after_io_wait(0.5)
    assert (durations.pending, delays.pending) == ({}, {})
    now = 1.375
    stats.before_io_wait(0.25)
    assert durations.pending == {120000: 1}
    now = 1.75
    stats.after_io_wait(0.25)
    assert delays.pending == {120000: 1}


def test_trio_tells_of_the_turns_of_its_loop() -> None:
    store = Store()

    async def sleep() -> None:
        trio.lowlevel.add_instrument(make_dispatcher_stats(store, Role()))
        for _ in range(3):
            await trio.sleep(0.001)

    trio.run(sleep)
    for name in ("loop_duration_us", "poll_delay_us"):
        mine = store.histograms[f"listener_manager.worker_0.dispatcher.{name}"]
        assert sum(mine.pending.values()) >= 2
        assert store.histograms[f"server.dispatcher.{name}"].pending == mine.pending


def test_each_process_has_the_names_of_what_it_is() -> None:
    main = ["server.dispatcher.loop_duration_us", "server.dispatcher.poll_delay_us"]
    assert names(Supervisor()) == main
    of_worker = "listener_manager.worker_1.dispatcher."
    assert names(Worker()) == [of_worker + "loop_duration_us", of_worker + "poll_delay_us"]
    assert len(names(Role())) == 4


def test_a_worker_tells_its_supervisor_of_its_own() -> None:
    store = Store()
    make_dispatcher_stats(store, Worker())
    store.histogram("listener_manager.other")
    assert sorted(StatsReader(store).read()["histograms"]) == names(Worker())
