"""The number of workers where nobody says it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sidecar.cli import cpus
from sidecar.cli.cpus import cpu_count, group_limit
from sidecar.cli.flags import parse


def mounted(directory: Path, kind: str, cgroup: str, options: str = "rw") -> float | None:
    (directory / "cgroup").write_text(cgroup)
    (directory / "mountinfo").write_text(
        "1 2 0:3 / /proc rw - proc proc rw\n"
        f"30 23 0:26 / {directory}/fs rw shared:9 - {kind} none {options}\n"
    )
    return group_limit(directory / "cgroup", directory / "mountinfo")


@pytest.mark.parametrize(
    ("outer", "inner", "wanted"),
    [
        ("max 100000", "150000 100000", 1.5),
        ("50000 100000", "max 100000", 0.5),
        ("max 1000", "max 1000", None),
        ("300000 100000", "200000 100000", 2.0),
        ("nonsense", "", None),
        ("1 0", "", None),
    ],
)
def test_limit_of_version_2_is_the_least_of_the_group_and_those_around_it(
    tmp_path: Path, outer: str, inner: str, wanted: float | None
) -> None:
    (tmp_path / "fs/a/b").mkdir(parents=True)
    (tmp_path / "fs/a/cpu.max").write_text(outer)
    (tmp_path / "fs/a/b/cpu.max").write_text(inner)
    assert mounted(tmp_path, "cgroup2", "0::/a/b\n") == wanted


@pytest.mark.parametrize(("quota", "wanted"), [("250000", 2.5), ("-1", None)])
def test_limit_of_version_1(tmp_path: Path, quota: str, wanted: float | None) -> None:
    (tmp_path / "fs/a").mkdir(parents=True)
    (tmp_path / "fs/a/cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "fs/a/cpu.cfs_period_us").write_text("100000")
    assert mounted(tmp_path, "cgroup", "4:memory:/x\n3:cpu,cpuacct:/a\n", "rw,cpu,cpuacct") == wanted


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert group_limit(tmp_path / "cgroup", tmp_path / "mountinfo") is None


def test_cpus_are_those_of_the_affinity_and_no_more_than_the_group_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "_PROC", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 5})
    assert cpu_count() == 3
    (tmp_path / "fs/a").mkdir(parents=True)
    (tmp_path / "fs/a/cpu.max").write_text("290000 100000")
    mounted(tmp_path, "cgroup2", "0::/a\n")
    assert cpu_count() == 2
    (tmp_path / "fs/a/cpu.max").write_text("900000 100000")
    assert cpu_count() == 3
    (tmp_path / "fs/a/cpu.max").write_text("50000 100000")
    assert cpu_count() == 1
    monkeypatch.setenv("ENVOY_CGROUP_CPU_DETECTION", "false")
    assert cpu_count() == 3


def test_concurrency_is_what_is_said_at_least_one_or_the_cpus() -> None:
    assert parse([])[0].concurrency == cpu_count()
    assert parse(["--concurrency", "3"])[0].concurrency == 3
    assert parse(["--concurrency", "0"])[0].concurrency == 1
    assert parse(["--cpuset-threads"])[1] == [
        "--cpuset-threads is now the default behavior and no longer required."
    ]
    assert parse(["--cpuset-threads", "--concurrency", "2"])[1] == [
        "Both --concurrency and --cpuset-threads options are set; not applying --cpuset-threads."
    ]
