"""``just xds-e2e`` and ``just xds-mesh``, small: a control plane made of go-control-plane."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import trio

from tests.conformance.proxy import ROOT
from tests.xds_e2e.mesh import Mesh
from tests.xds_e2e.plane import CannotBuild, plane_binary
from tests.xds_e2e.run import run_snapshots

# One group with what else installs Go.
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("h2spec")]


@pytest.fixture(scope="module")
def _plane() -> None:
    if not os.environ.get("CI") and not any((ROOT / ".cache").glob("xds_e2e-[0-9a-f]*")):
        pytest.skip("the control plane is not built: just xds-e2e (needs Go)")
    try:
        plane_binary()
    except CannotBuild as error:
        pytest.skip(str(error))


@pytest.mark.oracle
@pytest.mark.usefixtures("_plane")
@pytest.mark.parametrize("is_delta", [False, True])
def test_random_snapshots_come_to_the_same_answers_as_in_envoy(tmp_path: Path, is_delta: bool) -> None:
    outcome = trio.run(functools.partial(run_snapshots, tmp_path, seed=7, snapshots=10, is_delta=is_delta))
    assert outcome.differences == []
    assert outcome.failed == {}
    assert outcome.refused > 0


@pytest.mark.usefixtures("_plane")
def test_no_request_of_a_mesh_fails_while_its_endpoints_come_and_go(tmp_path: Path) -> None:
    seen = trio.run(Mesh(sidecars=2, rate=20, seconds=3, pause_s=0.05, seed=1).run, tmp_path)
    assert (seen.failed, seen.refused, seen.late) == ({}, 0, 0)
    assert seen.answered > 10
    assert seen.taken[0] > 1
