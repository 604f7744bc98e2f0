"""When cycles are looked for: not while a process starts, and then among what is new."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from sidecar.core.collector import collect_from_now_on, collect_later, keep_all


class _Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.enable()
    gc.set_threshold(*before)


def test_start_collects_nothing_until_the_loop_runs() -> None:
    collect_later()
    assert not gc.isenabled()
    dead = weakref.ref(_Cycle())
    collect_from_now_on()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    gc.collect()
    assert dead() is not None  # it is among what is left alone


def test_cycles_of_a_start_are_freed_when_it_is_over() -> None:
    collect_later()
    dead = weakref.ref(_Cycle())
    collect_from_now_on()
    keep_all()
    assert dead() is None
    assert gc.get_freeze_count() > 0


def test_process_that_collects_is_left_as_it_is() -> None:
    before = gc.get_freeze_count()
    collect_from_now_on()
    assert gc.isenabled()
    assert gc.get_freeze_count() == before
