"""The runner itself: it must not pass when it compared nothing, and must hide only what it has checked."""

from __future__ import annotations

from collections import Counter

import pytest

from . import compare as compare_module
from .catalog import SUBJECTS, all_scenarios, named, subject_of
from .compare import compare, documented_ids, unborn
from .conftest import LEAST_SCENARIOS, MOST_SEEN_ONCE, SEEN_ONCE, Tally
from .observe import Normaliser, leaves
from .scenario import Setup, scenario
from .test_conformance import _look_again

UUID = "11111111-2222-4333-8444-555555555555"


def normalised(text: str, sent: bytes = b"") -> object:
    return Normaliser({8080: "app"}, sent).tree(text)


def test_compare_with_nothing_observed_is_a_failure() -> None:
    assert compare({}, {}, {}).problems == ("nothing was compared",)


def test_compare_with_equal_observations_counts_every_leaf() -> None:
    verdict = compare(
        {"reply": {"start": "x", "headers": ["a", "b"]}}, {"reply": {"start": "x", "headers": ["a", "b"]}}, {}
    )
    assert verdict.compared == 3
    assert not verdict.problems


def test_compare_with_a_difference_shows_both_sides() -> None:
    (problem,) = compare({"reply": "one"}, {"reply": "two"}, {}).problems
    assert '-"one"' in problem
    assert '+"two"' in problem


def test_compare_with_something_seen_on_one_side_only_is_a_failure() -> None:
    assert compare({"reply": "x", "then": "closed"}, {"reply": "x"}, {}).problems
    assert compare({"reply": "x"}, {"reply": "x", "then": "closed"}, {}).problems


def test_compare_with_a_documented_difference_accepts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_module, "documented_ids", lambda: frozenset({"known"}))
    assert not compare({"reply": "one"}, {"reply": "two"}, {"reply": "known"}).problems


def test_compare_with_a_documented_difference_that_is_gone_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compare_module, "documented_ids", lambda: frozenset({"known"}))
    (problem,) = compare({"reply": "one"}, {"reply": "one"}, {"reply": "known"}).problems
    assert "is gone" in problem


def test_compare_with_an_undocumented_id_is_a_failure() -> None:
    (problem,) = compare({"reply": "one"}, {"reply": "two"}, {"reply": "never-written-down"}).problems
    assert "never-written-down" in problem


def test_compare_with_a_difference_declared_for_nothing_is_a_failure() -> None:
    assert any("nothing observed" in problem for problem in compare({"a": 1}, {"a": 1}, {"b": "x"}).problems)


def test_documented_ids_that_no_scenario_declares_are_not_there() -> None:
    declared = {identifier for item in named("all") for identifier in item.differs.values()}
    assert declared == documented_ids()


def test_normaliser_hides_a_well_formed_date_only() -> None:
    assert normalised("date: Thu, 01 Jan 1970 00:00:00 GMT") == "date: <http date>"
    assert normalised("date: yesterday") == "date: yesterday"


def test_normaliser_shows_the_digit_of_a_request_id() -> None:
    assert normalised(f"x-request-id: {UUID}") == "x-request-id: <uuid with digit 4>"
    assert normalised("x-request-id: not-a-uuid") == "x-request-id: not-a-uuid"


def test_normaliser_hides_an_appended_address_but_no_sent_one() -> None:
    assert (
        normalised("x-forwarded-for: 8.8.8.8,192.0.2.2", b"8.8.8.8")
        == "x-forwarded-for: 8.8.8.8,<own address>"
    )
    assert (
        normalised("x-forwarded-for: 1.1.1.1,8.8.8.8", b"1.1.1.1 8.8.8.8")
        == "x-forwarded-for: 1.1.1.1,8.8.8.8"
    )


def test_normaliser_keeps_what_the_scenario_sent() -> None:
    assert normalised(f"x-request-id: {UUID}", UUID.encode()) == f"x-request-id: {UUID}"
    date = "date: Thu, 01 Jan 1970 00:00:00 GMT"
    assert normalised(date, date.encode()) == date


def test_normaliser_names_known_ports_and_hides_others() -> None:
    assert normalised("127.0.0.1:8080 and 127.0.0.1:45678") == "127.0.0.1:<app> and 127.0.0.1:<port>"


def test_leaves_of_empty_containers_are_counted() -> None:
    assert leaves({"a": [], "b": {}, "c": [1, {"d": 2}]}) == {"a": [], "b": {}, "c[0]": 1, "c[1].d": 2}


def test_tally_of_a_whole_run_that_compared_too_little_is_short() -> None:
    tally = Tally("")
    tally.ran = {item.name for item in named("all") if not item.later}
    assert tally.is_short()
    tally.compared = dict.fromkeys(sorted(tally.ran)[:LEAST_SCENARIOS], 1)
    assert not tally.is_short()
    tally.compared = dict.fromkeys(tally.compared, 0)
    assert tally.is_short()


def test_tally_of_a_selection_is_never_short() -> None:
    tally = Tally("")
    tally.ran = {"one scenario"}
    assert not tally.is_short()


def test_subject_of_each_scenario_is_one_that_can_be_run() -> None:
    counts = Counter(subject_of(each) for each in all_scenarios())
    assert {name for name, least in SUBJECTS.items() if counts[name] < least} == set()


def test_scenario_takes_its_name_and_purpose_from_the_function() -> None:
    @scenario(Setup("none", {}))
    async def some_name(session: object) -> None:
        """What must
        hold."""

    assert (some_name.name, some_name.about) == ("some_name", "What must hold.")


def test_a_stat_that_did_not_move_is_as_good_as_absent() -> None:
    seen = {"reply": {"zero": 0}, "stats": {"moved": 1, "still": 0, "none": "absent"}}
    assert unborn(seen) == {**seen, "stats": {"moved": 1, "still": "absent", "none": "absent"}}
    assert unborn({"stats": 0}) == {"stats": 0}


class Looking:
    """A look that fails so many times, and the lab beside it."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.looks = self.closed = 0
        self.properties: list[tuple[str, object]] = []

    def look(self) -> None:
        self.looks += 1
        if self.looks <= self.failures:
            pytest.fail("it differs", pytrace=False)

    def close(self) -> None:
        self.closed += 1

    def run(self) -> None:
        _look_again(self.look, SCENARIO, self, lambda key, value: self.properties.append((key, value)))


SCENARIO = named("h1_get")[0]


def test_a_difference_that_does_not_show_again_is_named() -> None:
    for failures in (1, 2):
        looking = Looking(failures)
        looking.run()
        assert (looking.looks, looking.closed) == (failures + 1, failures)
        assert looking.properties == [(SEEN_ONCE, f"{SCENARIO.name}: it differs")]


def test_a_difference_that_shows_three_times_fails() -> None:
    looking = Looking(3)
    with pytest.raises(pytest.fail.Exception, match="it differs"):
        looking.run()
    assert (looking.looks, looking.closed, looking.properties) == (3, 2, [])
    fine = Looking(0)
    fine.run()
    assert (fine.looks, fine.properties) == (1, [])


def test_a_run_with_many_differences_seen_once_fails() -> None:
    class Run:
        exitstatus = 0

    tally, run = Tally(""), Run()
    tally.seen_once = ["some"] * MOST_SEEN_ONCE
    tally.pytest_sessionfinish(run)
    assert run.exitstatus == 0
    tally.seen_once.append("one more")
    tally.pytest_sessionfinish(run)
    assert run.exitstatus == pytest.ExitCode.TESTS_FAILED
