#!/usr/bin/env bash
# Installs what the proxy needs into .venv and runs `sidecar demo` with the arguments given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh run
exec .venv/bin/sidecar demo "$@"
