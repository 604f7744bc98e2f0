"""Ties the shipped Wasm module to the Rust sources that it was built from.

`write` copies a module into the package data and records the digests of the module and of every source;
`check` says what no longer belongs together. Called by `build_wasm.sh --ship`, by `.ci/run` and by
`tests/unit/test_demo_assets.py`. It needs nothing but Python.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "sidecar" / "demo_assets" / "header_guard.wasm"
RECORD = MODULE.with_name("header_guard.wasm.json")
TARGET = "wasm32-unknown-unknown"
CRATE = "header-guard"


def source_digests(root: Path = ROOT) -> dict[str, str]:
    """The SHA-256 of each file that the module is made of, by its path from `root`."""
    workspace = root / "filters_rust"
    files = [workspace / "Cargo.toml", workspace / "Cargo.lock", workspace / CRATE / "Cargo.toml"]
    files += sorted((workspace / CRATE / "src").rglob("*.rs"))
    return {str(path.relative_to(root)): sha256(path) for path in files}


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def problems(root: Path = ROOT, module: Path = MODULE, record: Path = RECORD) -> list[str]:
    """What does not belong together, one sentence each; empty when all is well."""
    recorded = json.loads(record.read_text())
    found = []
    if recorded["module_sha256"] != sha256(module):
        found.append(f"{module.name} is not the module that {record.name} describes")
    sources: dict[str, str] = recorded["sources_sha256"]
    now = source_digests(root)
    for path in sorted(sources.keys() | now.keys()):
        if path not in now:
            found.append(f"{path} is gone since the module was built")
        elif path not in sources:
            found.append(f"{path} is new since the module was built")
        elif sources[path] != now[path]:
            found.append(f"{path} has changed since the module was built")
    return found


def write(built: Path, rustc: str) -> None:
    """Ships `built` and records what it was made of."""
    shutil.copyfile(built, MODULE)
    record = {
        "module_sha256": sha256(MODULE),
        "target": TARGET,
        "rustc": rustc,
        "sources_sha256": source_digests(),
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n")


def main(arguments: list[str]) -> int:
    """`write MODULE RUSTC-VERSION` or `check`; the exit status is 1 when the check fails."""
    match arguments:
        case ["write", built, rustc]:
            write(Path(built), rustc)
            return 0
        case ["check"]:
            found = problems()
            for problem in found:
                print(problem, file=sys.stderr)
            if found:
                print("run: just wasm --ship (or scripts/build_wasm.sh --ship)", file=sys.stderr)
            return 1 if found else 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
