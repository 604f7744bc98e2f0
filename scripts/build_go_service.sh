#!/usr/bin/env bash
# Builds the service of another project that a test asks, from tests/NAME_e2e's go.mod and main.go, and prints the path
# of the program. It is kept in .cache/, by what it was built from.
#
#   scripts/build_go_service.sh ratelimit   https://github.com/envoyproxy/ratelimit
#   scripts/build_go_service.sh opa         https://github.com/open-policy-agent/opa-envoy-plugin
#
# Exit status 3: there is no Go, or one that is too old (go.mod names the version).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'build_go_service: %s\n' "$*" >&2; }

name=$1
from=tests/${name}_e2e
sum=$(cat "$from/go.mod" "$from/go.sum" "$from/main.go" | sha256sum | cut -c1-16)
program=$PWD/.cache/$name-$sum
if [ -x "$program" ]; then
  echo "$program"
  exit
fi
wanted=$(sed -n 's/^go //p' "$from/go.mod")
found=$(command -v go >/dev/null && go env GOVERSION | sed 's/^go//' || true)
if [ -z "$found" ] || [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
  say "needs Go $wanted, and there is ${found:-none}"
  exit 3
fi
mkdir -p .cache
# -trimpath keeps this place out.
copy=$(mktemp -d ".cache/$name-build.XXXXXX")
trap 'rm -rf "$copy"' EXIT
cp "$from/go.mod" "$from/go.sum" "$from/main.go" "$copy"
(cd "$copy" && timeout 900 go build -trimpath -o service .) >&2
mv "$copy/service" "$program"
say "built with go$found"
echo "$program"
