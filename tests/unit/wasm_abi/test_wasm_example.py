"""The example of embedding wasm_abi runs, and neither sidecar nor an event loop comes along."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CHECK = """
import runpy, sys
runpy.run_path("examples/wasm_host.py", run_name="__main__")
print(sorted({name.partition(".")[0] for name in sys.modules} & {"sidecar", "trio", "google", "envoy"}))
"""


def test_example_runs_without_sidecar() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "info: hello from the guest"
    assert lines[-2:] == ["x-guest: hello", "[]"]
