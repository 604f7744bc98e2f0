#!/usr/bin/env bash
# Installs what the tests need and runs all of them; arguments go to pytest.
#
# The filters in Rust are built first, with rustup or, on Debian as root, with a toolchain from apt. Where
# neither can be had the tests that need one are skipped and say so. So is h2spec, with Go.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh dev
if ! scripts/build_wasm.sh --install >/dev/null; then
  echo "test: the filters in Rust were not built; see above" >&2
fi
if ! scripts/build_h2spec.sh --install >/dev/null; then
  echo "test: h2spec was not built; see above" >&2
fi
# Hundreds of interpreters are started: what they import is compiled once.
unset PYTHONDONTWRITEBYTECODE
# Two workers; what shares processes stays on one of them (conformance: the scenarios of one setup).
exec .venv/bin/python -m pytest -n 2 --dist loadgroup "$@"
