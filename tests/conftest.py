"""What holds for all tests: the additions to the API, and which inputs hypothesis makes.

Test modules import generated API modules before anything of ours: the additions must be there by then.  A
merge sees the same inputs each time; on a developer's machine they differ from run to run.
"""

from __future__ import annotations

import os

from hypothesis import settings

from sidecar.config import api_additions

api_additions.install()

settings.register_profile("merge", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("merge")
