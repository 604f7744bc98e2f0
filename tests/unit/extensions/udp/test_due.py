"""When sessions are looked at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from sidecar.extensions.udp.due import Due
from sidecar.net.timer import run_timers


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0
        reactor = SimpleNamespace(clock=lambda: self.now)
        self.strand: Any = SimpleNamespace(timers=None, stir=lambda: None, reactor=reactor)

    def at(self, now: float) -> None:
        self.now = now
        run_timers(self.strand, now)


def test_session_that_was_used_is_looked_at_again_later() -> None:
    clock = _Clock()
    due = Due(clock.strand)
    seen: list[float] = []
    answers = iter([103.0, 0.0])

    def look(now: float) -> float:
        seen.append(now)
        return next(answers)

    due.add(101.0, look)
    clock.at(100.5)
    assert not seen
    clock.at(101.5)
    clock.at(102.0)
    clock.at(103.5)
    clock.at(200.0)
    assert seen == [101.5, 103.5]
    assert len(due) == 0
    assert clock.strand.timers is None


def test_what_is_due_earlier_comes_first_whenever_it_was_added() -> None:
    clock = _Clock()
    due = Due(clock.strand)
    seen: list[str] = []

    def later(now: float) -> float:
        seen.append("later")
        return 0.0

    def sooner(now: float) -> float:
        seen.append("sooner")
        return 0.0

    due.add(110.0, later)
    due.add(101.0, sooner)
    clock.at(102.0)
    assert seen == ["sooner"]
    clock.at(111.0)
    assert seen == ["sooner", "later"]


def test_what_is_over_can_be_forgotten_and_all_be_stopped() -> None:
    clock = _Clock()
    due = Due(clock.strand)

    def gone(now: float) -> float:
        raise AssertionError

    def kept(now: float) -> float:
        raise AssertionError

    due.add(101.0, gone)
    due.add(102.0, kept)
    due.forget(lambda look: look is cast(Any, gone))
    assert len(due) == 1
    due.stop()
    clock.at(500.0)
    assert clock.strand.timers is None
