"""`python -m tests.conformance.run NAME [--proxy envoy|sidecar|both] [--config]`: look at a scenario by hand.

NAME is a scenario's name, the beginning of several, or `all`. One proxy: prints the observation as JSON.
Both: prints only where they differ. `--config` prints the bootstrap that the scenario uses.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import trio

from .catalog import named
from .compare import compare
from .lab import Lab
from .proxy import ENVOY, SIDECAR, SIDECAR_H11, Proxy, ProxyFailed
from .scenario import Scenario


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--proxy", choices=[ENVOY, SIDECAR, SIDECAR_H11, "both"], default="both")
    parser.add_argument("--config", action="store_true")
    options = parser.parse_args()
    scenarios = named(options.name)
    if not scenarios:
        print(f"no scenario is called {options.name}", file=sys.stderr)
        return 2
    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab(Path(directory))
        try:
            for scenario in scenarios:
                if options.config:
                    print(Proxy(ENVOY, scenario.setup, Path(directory)).config_text())
                    continue
                failures += not _show(lab, scenario, options.proxy)
        finally:
            lab.close()
    if len(scenarios) > 1:
        print(f"{len(scenarios) - failures} of {len(scenarios)} fine")
    return 1 if failures else 0


def _show(lab: Lab, scenario: Scenario, which: str) -> bool:
    if scenario.later and which != ENVOY:
        print(f"== {scenario.name}: for later, sidecar lacks {scenario.later}")
        return scenario.later in lab.said_of(scenario.setup)
    kinds = (ENVOY, SIDECAR) if which == "both" else (which,)
    outcome = trio.run(lab.observe, scenario, kinds)
    for kind, result in outcome.items():
        if isinstance(result, ProxyFailed):
            print(f"== {scenario.name}: {kind}: {result}")
            return False
    if which != "both":
        print(json.dumps({scenario.name: outcome[which]}, indent=1))
        return True
    oracle, ours = outcome[ENVOY], outcome[SIDECAR]
    assert not isinstance(oracle, ProxyFailed)
    assert not isinstance(ours, ProxyFailed)
    verdict = compare(oracle, ours, scenario.differs)
    print(f"== {scenario.name}: {verdict.compared} compared, {'differs' if verdict.problems else 'same'}")
    for problem in verdict.problems:
        print(problem)
    return not verdict.problems


if __name__ == "__main__":
    sys.exit(main())
