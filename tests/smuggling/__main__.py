"""``python -m tests.smuggling``: who forwards what of the corpus, and who what can be read in two ways.

Writes docs/smuggling.md.  Exits with 1 when one of ours forwards anything ambiguous.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trio

from tests.smuggling.attack import Outcome, attack
from tests.smuggling.corpus import VECTORS, Vector
from tests.smuggling.proxies import KINDS, OURS, Kind
from tests.smuggling.readers import read_lax, read_strict
from tests.smuggling.report import PAGE, is_ambiguous, page, summary

Results = dict[str, list[dict[str, Outcome]]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="just smuggling", description=__doc__)
    parser.add_argument("--only", default="", help="vectors whose names begin so; prints, writes no page")
    parser.add_argument("--proxy", action="append", choices=[kind.name for kind in KINDS])
    options = parser.parse_args()
    vectors = [vector for vector in VECTORS if vector.name.startswith(options.only)]
    kinds = [kind for kind in KINDS if not options.proxy or kind.name in options.proxy]
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="smuggling-") as name:
        for kind in kinds:
            if kind.command([], _made(Path(name) / "look")) is None:
                print(f"{kind.name}: not installed, left out")
                continue
            results[kind.name] = trio.run(_both, kind, vectors, Path(name))
    text = page(vectors, results)
    if options.only or options.proxy:
        print(text)
    else:
        PAGE.write_text(text)
        print(f"{PAGE.name}: {len(vectors)} vectors")
    print(summary(vectors, results))
    bad = [(kind, vector.name) for kind in OURS for vector in vectors if is_ambiguous(results, kind, vector)]
    for kind_name, vector_name in bad:
        print(f"{kind_name} forwards what can be read in two ways: {vector_name}", file=sys.stderr)
    return 1 if bad else 0


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory


async def _both(kind: Kind, vectors: list[Vector], directory: Path) -> list[dict[str, Outcome]]:
    """In front of the strict upstream, then of the lax one."""
    where = directory / kind.name.replace(" ", "-")
    return [
        await attack(kind, read_strict, vectors, where / "strict"),
        await attack(kind, read_lax, vectors, where / "lax"),
    ]


if __name__ == "__main__":
    sys.exit(main())
