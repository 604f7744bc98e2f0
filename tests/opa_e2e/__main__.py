"""``python -m tests.opa_e2e``: exit status 1 where the proxies differ, 2 without OPA."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import trio

from tests.support.oracle_binary import envoy_binary
from tests.support.outside import CannotBuild

from .run import run_scenarios


def main() -> int:
    if envoy_binary() is None:
        print("opa-e2e needs Envoy beside this interpreter (scripts/setup.sh dev)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="sidecar-opa-") as name:
        try:
            outcome = trio.run(run_scenarios, Path(name))
        except CannotBuild as error:
            print(error, file=sys.stderr)
            return 2
    print(f"{outcome.compared} compared, {len(outcome.problems)} different")
    for problem in outcome.problems:
        print(problem)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
