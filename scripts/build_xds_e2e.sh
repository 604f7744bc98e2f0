#!/usr/bin/env bash
# Builds the control plane of tests/xds_e2e on go-control-plane (https://github.com/envoyproxy/go-control-plane), with
# Go 1.19 or newer, and prints the path of the program. It is kept in .cache/, by what it was built from.
#
#   scripts/build_xds_e2e.sh [--install]
#
#   --install  may install Debian's Go (as root, with apt) when there is none
#
# Exit status 3: there is no Go and none may be installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'build_xds_e2e: %s\n' "$*" >&2; }

sum=$(cat tests/xds_e2e/go.mod tests/xds_e2e/go.sum tests/xds_e2e/main.go | sha256sum | cut -c1-16)
program=$PWD/.cache/xds_e2e-$sum
if [ -x "$program" ]; then
  echo "$program"
  exit
fi
if ! command -v go >/dev/null; then
  if [ "${1:-}" != --install ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "there is no Go; on Debian: apt-get install golang-go"
    exit 3
  fi
  say "apt-get install golang-go"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >&2
  apt-get -qq install -y --no-install-recommends golang-go >/dev/null
fi
mkdir -p .cache
# -mod=mod lets old versions of Go write the lines of go.sum that they want; -trimpath keeps this place out.
copy=$(mktemp -d .cache/xds_e2e-build.XXXXXX)
trap 'rm -rf "$copy"' EXIT
cp tests/xds_e2e/go.mod tests/xds_e2e/go.sum tests/xds_e2e/main.go "$copy"
(cd "$copy" && GOFLAGS=-mod=mod timeout 500 go build -trimpath -o xds_e2e .) >&2
mv "$copy/xds_e2e" "$program"
say "built with $(go version | cut -d' ' -f3)"
echo "$program"
