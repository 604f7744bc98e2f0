"""The rate limit service of Envoy's project gives both proxies the same answers (``just ratelimit-e2e``).

Building it takes Go for minutes, so a merge does not: the test runs where the service was built.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.ratelimit_e2e.run import run_scenarios
from tests.support.outside import CannotBuild, binary, is_built

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(300), pytest.mark.xdist_group("ratelimit_service")]


@pytest.fixture
def _service() -> None:
    if not is_built("ratelimit"):
        pytest.skip("the rate limit service is not built: just ratelimit-e2e (needs Go)")
    try:
        binary("ratelimit")
    except CannotBuild as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("_service")
def test_answers_are_those_of_envoy(tmp_path: Path) -> None:
    outcome = trio.run(run_scenarios, tmp_path)
    assert outcome.problems == ()
    assert outcome.compared > 100
