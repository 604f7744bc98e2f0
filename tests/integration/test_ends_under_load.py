"""``just drain-check`` and ``just kill-check`` at a small size."""

from __future__ import annotations

from pathlib import Path

from tests.restart_check import drain, kill


def test_pair_that_is_renewed_by_sigterm_loses_no_request(tmp_path: Path) -> None:
    outcome = drain.run(tmp_path, 2)
    assert outcome.failures == []
    assert outcome.is_good(), outcome


def test_worker_that_is_killed_under_load_costs_its_own_connections_alone(tmp_path: Path) -> None:
    outcome = kill.run(tmp_path, 2, every_s=0.5)
    assert outcome.failures == []
    assert outcome.is_good(), outcome
