"""The arithmetic of the comparison; the measuring itself is what it measures."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import sidecar
from tests.bench.at_rest import Rest
from tests.bench.curves import Curve, draw
from tests.bench.everything import page, write
from tests.bench.load import Measure
from tests.bench.process import Process
from tests.bench.proxies import CASES, PROXIES
from tests.bench.run import _markdown, _ratio, _table, _verdict


def make_measure(cpu_us: float, errors: int = 0) -> Measure:
    return Measure(1000, 2.0, errors, cpu_us / 1e3, 0.5, 1.5, 30_000_000)


def test_the_form_that_runs_the_bench_is_the_one_that_is_measured(tmp_path: Path) -> None:
    log = tmp_path / "log"
    question = "import sys, time, sidecar; print(sidecar.__file__, flush=True); time.sleep(60)"
    with Process([sys.executable, "-c", question], core=0, log=log):
        while not (answer := log.read_text()).endswith("\n"):
            pass
    assert answer.strip() == sidecar.__file__


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


def test_page_has_ratios_to_every_proxy_that_took_part() -> None:
    results = {
        "get": {
            "sidecar": [make_measure(each) for each in (40, 42, 50)],
            "envoy": [make_measure(63)],
            "nginx": [make_measure(21)],
        },
        "lua": {"sidecar": [make_measure(40)]},
    }
    tcp = {("sidecar", "down"): [3e9], ("envoy", "down"): [2e9]}
    rest = {"sidecar": Rest(0.4, 50.2, 80.0, 5.9)}
    lines = page(results, tcp, rest, ["A machine."]).splitlines()
    assert lines[0] == "A machine."
    assert "| small GET, HTTP/1.1 | 42.0 (40.0 to 50.0) | 63.0 | 1.50 | 0.50 |  |  |  |" in lines
    assert "| TCP, 64 MiB down | 3.00 GB per CPU second | 2.00 GB per CPU second | 1.50 | | | | |" in lines
    assert lines[-1] == "| sidecar | 0.40 | 50 | 80 | 5.9 |"
    assert not any("Lua" in line for line in lines)


def test_page_is_written_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# Head\n<!-- bench-all -->\nold\n<!-- /bench-all -->\n## Tail\n")
    write(path, "new")
    write(path, "newer")
    assert path.read_text() == "# Head\n<!-- bench-all -->\nnewer\n<!-- /bench-all -->\n## Tail\n"


@pytest.mark.parametrize("is_logarithmic", [True, False])
def test_picture_has_a_line_for_each_curve(is_logarithmic: bool) -> None:
    curves = [
        Curve("here & there", [(1, 29.2), (10_000, 31.5)]),
        Curve("Envoy", [(1, 37.5), (10_000, 392.5)]),
    ]
    picture = draw("a < b", "routes", curves, is_logarithmic=is_logarithmic)
    root = ElementTree.fromstring(picture)
    names = [each.text for each in root.iter() if each.text]
    assert {"a < b", "routes", "here & there", "Envoy", "500", "10000"} <= set(names)
    assert len([each for each in root if each.tag.endswith("polyline")]) == 2


def test_picture_of_one_point_is_drawn() -> None:
    assert "circle" in draw("one", "x", [Curve("here", [(5, 0.0)])], is_logarithmic=True)
