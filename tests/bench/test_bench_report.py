"""The arithmetic of the comparison; the measuring itself is what it measures."""

from __future__ import annotations

import pytest

from tests.bench.load import Measure
from tests.bench.proxies import CASES, PROXIES
from tests.bench.run import _markdown, _ratio, _table, _verdict


def make_measure(cpu_us: float, errors: int = 0) -> Measure:
    return Measure(1000, 2.0, errors, cpu_us / 1e3, 0.5, 1.5, 30_000_000)


def test_ratio_is_requests_per_cpu_second_over_envoys() -> None:
    found = {
        "envoy": [make_measure(50), make_measure(60), make_measure(900)],
        "sidecar": [make_measure(40), make_measure(40), make_measure(1)],
    }
    assert _ratio(found, "sidecar") == pytest.approx(1.5)
    assert _ratio({"sidecar": found["sidecar"]}, "sidecar") is None


def test_table_shows_medians() -> None:
    table = _table(CASES[0], {"envoy": [make_measure(50)], "sidecar": [make_measure(40)]})
    assert table.splitlines()[-1].split() == ["sidecar", "40.0", "500", "0.50", "1.50", "30", "1.25", "0"]


def test_markdown_has_a_line_for_each_case_that_was_compared() -> None:
    results = {
        "h2": {"envoy": [make_measure(30)], "sidecar": [make_measure(25)]},
        "get": {"sidecar": [make_measure(40)]},
    }
    lines = _markdown(results).splitlines()
    assert lines[2:] == ["| small GET, HTTP/2 down, HTTP/1.1 up | 25.0 | 30.0 | 1.20 |"]


@pytest.mark.parametrize(
    ("found", "bar", "status"),
    [
        ({}, None, 1),
        ({"sidecar": [make_measure(40)]}, None, 1),
        ({"sidecar": [make_measure(40)], "envoy": [make_measure(50)]}, 1.0, 0),
        ({"sidecar": [make_measure(40)], "envoy": [make_measure(30)]}, 1.0, 1),
        ({"sidecar": [make_measure(40, errors=1)], "envoy": [make_measure(50)]}, None, 1),
    ],
)
def test_verdict_fails_when_nothing_was_compared_or_the_bar_was_missed(
    found: dict[str, list[Measure]], bar: float | None, status: int
) -> None:
    assert _verdict({"get": found} if found else {}, bar) == status


def test_every_case_names_proxies_that_exist() -> None:
    assert {name for case in CASES for name in case.proxies} == set(PROXIES)
