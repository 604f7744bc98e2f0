"""``python -m tests.fuzz``: the fuzz targets on random damage, for as long as one likes (``just fuzz``).

Needs nothing but the test extra; ``python -m tests.fuzz.fuzz_h1`` lets atheris find the way by coverage.
What a target finds is printed as bytes, with the seed that leads to it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence

from tests.fuzz import fuzz_grpc, fuzz_h1, fuzz_h2, fuzz_listener, fuzz_wasm
from tests.fuzz.test_fuzz_h2 import SEEDS

TARGETS: dict[str, tuple[Callable[[bytes], None], Sequence[bytes]]] = {
    "h1": (fuzz_h1.test_one_input, fuzz_h1.CORPUS),
    "h2": (fuzz_h2.test_one_input, SEEDS),
    "grpc": (fuzz_grpc.test_one_input, fuzz_grpc.FRAMES),
    "client_hello": (fuzz_listener.test_client_hello, fuzz_listener.HELLOS),
    "proxy_protocol": (fuzz_listener.test_proxy_head, fuzz_listener.HEADS),
    "http_inspector": (fuzz_listener.test_http_line, fuzz_listener.LINES),
    "wasm_module": (fuzz_wasm.test_module, fuzz_wasm.MODULES),
    "wasm_pairs": (fuzz_wasm.test_pairs, fuzz_wasm.MAPS),
    "wasm_properties": (fuzz_wasm.test_property, fuzz_wasm.PATHS),
    "wasm_calls": (fuzz_wasm.test_host_call, fuzz_wasm.CALLS),
}
_PIECES = (b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"0", b";", b"\x00", b"\xff", b"chunked")
_MOST_PARTS = 5
_MOST_DAMAGE = 6


def main(arguments: Sequence[str]) -> int:
    """Run the targets in turns until the time is over; 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="just fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the run")
    parser.add_argument(
        "--inputs", type=int, help="end after so many inputs instead: with --seed, always the same run"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args(arguments)
    unknown = set(options.target) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    names = options.target or list(TARGETS)
    counts = dict.fromkeys(names, 0)
    deadline = time.monotonic() + options.seconds
    choice = random.Random(options.seed)
    while True:
        done = sum(counts.values())
        if (done >= options.inputs) if options.inputs else (time.monotonic() >= deadline):
            break
        name = names[done % len(names)]
        run, corpus = TARGETS[name]
        data = _damaged(corpus, choice)
        counts[name] += 1
        try:
            run(data)
        except Exception:
            print(f"{name}, --seed {options.seed}, input {counts[name]}: {data!r}", file=sys.stderr)
            raise
    for name, count in counts.items():
        print(f"{name}: {count} inputs, nothing found (--seed {options.seed})")
    return 0


def _damaged(corpus: Sequence[bytes], choice: random.Random) -> bytes:
    """A few parts of the corpus behind each other, damaged here and there."""
    data = bytearray(b"".join(choice.choices(corpus, k=choice.randrange(1, _MOST_PARTS))))
    for _ in range(choice.randrange(_MOST_DAMAGE)):
        if not data:
            break
        at = choice.randrange(len(data))
        match choice.randrange(5):
            case 0:
                data[at] ^= 1 << choice.randrange(8)
            case 1:
                del data[at : at + choice.randrange(1, 4)]
            case 2:
                data[at:at] = choice.choice(_PIECES)
            case 3:
                data.insert(at, choice.randrange(256))
            case _:
                data[at:] = data[: choice.randrange(len(data))]
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
