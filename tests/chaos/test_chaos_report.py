"""What counts as worse, and the schedule; the run itself is `just chaos`."""

from __future__ import annotations

from collections import Counter

from .load import KINDS, Tally
from .report import Line, Outcome, lines, table, worse
from .schedule import PHASES, UPSTREAMS
from .setup import CLUSTERS
from .upstream import MODES


def make_outcome(failed: int = 0, stats: dict[str, int] | None = None, **left: int) -> Outcome:
    outcomes = {"200": 100 - failed} | ({"503": failed} if failed else {})
    tallies = {kind.name: Tally(Counter(outcomes), seconds=[0.1]) for kind in KINDS}
    return Outcome(tallies, stats or {}, left, 1.0)


def test_a_count_is_worse_only_beyond_what_chance_explains() -> None:
    assert not Line("errors", 109, 100).is_worse
    assert Line("errors", 170, 100).is_worse
    assert not Line("errors", 100, 170).is_worse
    assert Line("errors", 10, 0).is_worse
    assert not Line("requests", 1000, 1, is_bad=False).is_worse


def test_whatever_is_left_is_worse() -> None:
    found = lines(make_outcome(sockets=1, strands=0), make_outcome(), CLUSTERS)
    assert [line.name for line in worse(found)] == ["left: sockets"]


def test_failures_and_stats_are_compared_by_name() -> None:
    ours = make_outcome(60, {"cluster.h1.upstream_rq_timeout": 50, "cluster.h1.upstream_rq_retry": 500})
    found = worse(lines(ours, make_outcome(), CLUSTERS))
    assert "h1 GET: failed" in [line.name for line in found]
    assert "cluster.h1.upstream_rq_timeout" in [line.name for line in found]
    assert "cluster.h1.upstream_rq_retry" not in [line.name for line in found]


def test_table_marks_what_is_worse() -> None:
    ours, envoys = make_outcome(sockets=2), make_outcome()
    text = table(lines(ours, envoys, CLUSTERS), ours, envoys).splitlines()
    marked = [line for line in text if line.endswith("worse")]
    assert [line.split() for line in marked] == [["left:", "sockets", "2", "0", "worse"]]


def test_schedule_ends_well_and_has_every_trouble_for_one_and_for_all() -> None:
    troubles = {*MODES, "crash", "hang"} - {"ok"}
    assert all(len(phase) == len(UPSTREAMS) for phase in PHASES)
    assert {state for phase in PHASES for state in phase} == troubles | {"ok"}
    assert PHASES[0] == PHASES[-1] == ("ok",) * len(UPSTREAMS)
    for trouble in ("crash", "hang", "slow", "errors"):
        assert (trouble,) * len(UPSTREAMS) in PHASES
