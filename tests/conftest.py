"""What holds for all tests: the additions to the API, and which inputs hypothesis makes.

Test modules import generated API modules before anything of ours: the additions must be there by then.  A
merge sees the same inputs each time; on a developer's machine they differ from run to run.  Compiled Wasm
modules are kept for one run, also for the proxies that tests start.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from sidecar.config import api_additions

api_additions.install()

#: No test times anything: neither an example's time nor that of making examples decides.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("local", _UNTIMED)
settings.register_profile("merge", _UNTIMED, derandomize=True)
settings.load_profile("merge" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
