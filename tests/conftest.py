"""What holds for all tests: the additions to the API, and which inputs hypothesis makes.

Test modules import generated API modules before anything of ours: the additions must be there by then.  A
merge sees the same inputs each time; on a developer's machine they differ from run to run.  Compiled Wasm
modules are kept for one run, also for the proxies that tests start.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from sidecar.config import api_additions

api_additions.install()

settings.register_profile("merge", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("merge")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
