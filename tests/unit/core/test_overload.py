"""Triggers, actions and load-shed points: from pressure to what is done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from sidecar.core.overload import LoadShedPoint, OverloadAction, StreamMemory, Trigger
from sidecar.observability.stats import Store


@pytest.mark.parametrize(
    ("pressure", "state"), [(0.0, 0.0), (0.5, 0.0), (0.7, 0.5), (0.89, 0.975), (0.9, 1.0), (1.0, 1.0)]
)
def test_scaled_trigger_grows_between_its_thresholds(pressure: float, state: float) -> None:
    trigger = Trigger(0.5, 0.9)
    trigger.update(pressure)
    assert trigger.state == pytest.approx(state)


@pytest.mark.parametrize(("pressure", "state"), [(0.0, 1.0), (0.4, 1.0)])
def test_threshold_is_reached_by_its_own_value(pressure: float, state: float) -> None:
    trigger = Trigger(pressure, pressure)
    trigger.update(pressure)
    assert trigger.state == state


def test_action_has_the_largest_state_and_tells_of_changes() -> None:
    store = Store()
    action = OverloadAction({"a": Trigger(0.5, 0.9), "b": Trigger(0.8, 0.8)}, store.scope("overload.x"))
    told: list[float] = []
    action.followers.append(told.append)
    assert action.update("a", 0.7)
    assert not action.update("c", 1.0)
    assert action.update("b", 0.8)
    assert store.gauge("overload.x.active").value == 1
    assert not action.update("a", 0.1)  # b still says all
    assert action.value == 1
    assert store.gauge("overload.x.active").value == 0  # Envoy shows the trigger that moved
    assert action.update("b", 0.0)
    assert told == [0.5, 1.0, 0.0]


def test_point_sheds_as_often_as_its_state_says_and_counts() -> None:
    store = Store()
    draws = iter([0.4, 0.6])
    point = LoadShedPoint({"a": Trigger(0.5, 0.9)}, store.scope("overload.p"), lambda: next(draws))
    assert not point.shed()
    point.update("a", 0.7)
    assert point.shed()
    assert not point.shed()
    point.update("a", 1.0)
    assert point.shed()
    assert store.counter("overload.p.shed_load_count").value == 2
    assert store.gauge("overload.p.scale_percent").value == 100


def test_streams_are_reset_by_classes_of_their_memory_at_most_fifty_at_once() -> None:
    count = Store().counter("count")
    memory = StreamMemory(14, count)
    held = {
        f"{size} {number}": size for size in (8191, 8192, 1 << 19, 1 << 20, 1 << 30) for number in range(3)
    }
    gone: list[str] = []

    def holder() -> list[tuple[int, Callable[[], None]]]:
        return [(size, partial(gone.append, name)) for name, size in held.items() if name not in gone]

    memory.holders.append(holder)
    memory.relieve(0.0)
    assert {name.split()[0] for name in gone} == {str(1 << 20), str(1 << 30)}
    memory.relieve(0.125)
    assert {name.split()[0] for name in gone[6:]} == {str(1 << 19)}
    memory.relieve(1.0)
    assert {name.split()[0] for name in gone[9:]} == {"8192"}
    assert count.value == len(gone) == 12
    held = {f"{size} {number}": size for size in (1 << 14, 1 << 20) for number in range(40)}
    gone.clear()
    memory.relieve(1.0)
    assert [name.split()[0] for name in gone] == [str(1 << 20)] * 40 + [str(1 << 14)] * 10
