"""``python -m tests.xds_e2e``: exit status 1 where the proxies differ, a request is lost or memory grows."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from pathlib import Path

import trio

from tests.support.oracle_binary import envoy_binary

from .plane import CannotBuild
from .run import Outcome, run_snapshots

#: How much more may be resident after all updates than after a hundred, where Envoy's does not grow as much.
_GROWTH_BYTES = 8 << 20


def report(outcome: Outcome) -> int:
    """Print what was seen; the exit status."""
    print(f"{outcome.snapshots} snapshots, {outcome.refused} refused, {len(outcome.differences)} differences")
    bad = bool(outcome.differences or outcome.failed)
    for kind, answered in outcome.answered.items():
        print(f"load, {kind}: {answered} answered, {outcome.again[kind]} sent again on a new connection")
    for how, count in outcome.failed.items():
        print(f"FAILED {count} of {how}")
    for kind, (early, late) in outcome.memory.items():
        print(f"memory, {kind}: {early / 2**20:.1f} MiB after 100 updates, {late / 2**20:.1f} MiB at the end")
        if kind != "envoy" and late - early > _GROWTH_BYTES:
            bad = True
            print("GREW")
    return int(bad)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="xds-e2e", description=__doc__)
    parser.add_argument("--snapshots", type=int, default=200)
    parser.add_argument("--updates", type=int, default=10_000, help="right ones, after the snapshots")
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--delta", action="store_true", help="over delta ADS")
    options = parser.parse_args(arguments)
    if envoy_binary() is None:
        print("xds-e2e needs Envoy beside this interpreter (scripts/setup.sh dev)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="sidecar-xds-") as name:
        run = functools.partial(
            run_snapshots,
            Path(name),
            seed=options.seed,
            snapshots=options.snapshots,
            updates=options.updates,
            is_delta=options.delta,
        )
        try:
            outcome = trio.run(run)
        except CannotBuild as error:
            print(error, file=sys.stderr)
            return 2
    return report(outcome)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
