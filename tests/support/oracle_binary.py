"""Where the oracle is."""

from __future__ import annotations

import shutil
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["envoy_binary"]


@cache
def envoy_binary() -> str | None:
    """Envoy itself from the package of the ``test`` extra, or a command of that name on the PATH.

    Not the package's own command: that is a script, whose interpreter would be started each time.
    """
    package = find_spec("envoy")
    for directory in (package.submodule_search_locations or ()) if package is not None else ():
        program = Path(directory) / "_bin" / "envoy"
        if program.exists():
            return str(program)
    beside = Path(sys.executable).with_name("envoy")
    return str(beside) if beside.exists() else shutil.which("envoy")
