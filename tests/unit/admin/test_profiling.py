"""Profilers of the admin interface."""

from __future__ import annotations

import pstats
import tracemalloc
from pathlib import Path

from sidecar.admin.profiling import Profilers


def test_cpu_profile_is_one_of_pstats(tmp_path: Path) -> None:
    path = tmp_path / "cpu.prof"
    profilers = Profilers(str(path))
    assert profilers.cpu({}) == profilers.cpu({"enable": "x"}) == (400, "?enable=<y|n>\n")
    assert profilers.cpu({"enable": "n"}) == (200, "OK\n")
    assert profilers.cpu({"enable": "y"}) == profilers.cpu({"enable": "y"}) == (200, "OK\n")
    sorted([3, 1, 2])
    assert profilers.cpu({"enable": "n"}) == (200, "OK\n")
    assert any("sorted" in function[2] for function in pstats.Stats(str(path)).stats)  # type: ignore[attr-defined]


def test_profile_that_cannot_be_written_is_not_begun(tmp_path: Path) -> None:
    profilers = Profilers(str(tmp_path / "no" / "such" / "folder"))
    assert profilers.cpu({"enable": "y"}) == (500, "failure to start the profiler")
    assert profilers.cpu({"enable": "n"}) == (200, "OK\n")


def test_heap_dump_names_the_lines_that_allocate() -> None:
    profilers = Profilers("")
    assert "not traced" in profilers.heap_dump()[1]
    try:
        assert profilers.heap({"enable": "y"}) == (200, "OK\n")
        kept = [bytes(1000) for _ in range(100)]
        status, text = profilers.heap_dump()
        assert status == 200
        assert Path(__file__).name in text
        assert len(kept) == 100
    finally:
        assert profilers.heap({"enable": "n"}) == (200, "OK\n")
    assert not tracemalloc.is_tracing()
