"""``python -m tests.h2spec``: h2spec against this proxy with either codec, and against Envoy to compare.

Exit status 1 when a test fails on this proxy, 2 when h2spec cannot be built.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path

import trio

from tests.conformance.proxy import ENVOY, SIDECAR
from tests.support.oracle_binary import envoy_binary

from .run import CannotBuild, run_h2spec

RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sidecar": (SIDECAR, ()),
    "sidecar --http2-codec h2": (SIDECAR, ("--http2-codec", "h2")),
    "envoy": (ENVOY, ()),
}


def main() -> int:
    """Run all, print what failed, and say whether anything failed here."""
    status = 0
    for label, (kind, arguments) in RUNS.items():
        if kind == ENVOY and envoy_binary() is None:
            continue
        with tempfile.TemporaryDirectory() as directory:
            try:
                result = trio.run(functools.partial(run_h2spec, kind, Path(directory), arguments))
            except CannotBuild as error:
                print(error, file=sys.stderr)
                return 2
        print(f"{label}: {result}", flush=True)
        if result.failed and kind == SIDECAR:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
