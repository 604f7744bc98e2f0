"""``just restart-check``: hot restarts under load, of one process and of two workers by turns."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .check import run


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--concurrency", default="1", help="that of the epochs in turn, such as 1,2")
    given = parser.parse_args()
    turns = tuple(int(each) for each in given.concurrency.split(","))
    with tempfile.TemporaryDirectory() as directory:
        outcome = run(Path(directory), given.restarts, concurrency=turns, clients=given.clients)
    print(f"{outcome.restarts} hot restarts, {outcome.requests} requests, {len(outcome.failures)} failed")
    print(f"descriptors: {outcome.descriptors[0]} at first, {outcome.descriptors[1]} in the last epoch")
    for each in outcome.failures[:10]:
        print(f"  {each}")
    if outcome.left:
        print(f"processes that did not end: {outcome.left}")
    print("met" if outcome.is_good() else "NOT MET")
    return 0 if outcome.is_good() else 1


if __name__ == "__main__":
    sys.exit(main())
