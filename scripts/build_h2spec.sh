#!/usr/bin/env bash
# Builds h2spec (https://github.com/summerwind/h2spec), the conformance tests of HTTP/2 servers, with Go 1.19 or
# newer, and prints the path of the program. It is kept in .cache/, by what it was built from.
#
#   scripts/build_h2spec.sh [--install]
#
#   --install  may install Debian's Go (as root, with apt) when there is none
#
# Exit status 3: there is no Go and none may be installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'build_h2spec: %s\n' "$*" >&2; }

sum=$(cat tests/h2spec/go.mod tests/h2spec/go.sum | sha256sum | cut -c1-16)
program=$PWD/.cache/h2spec-$sum
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
copy=$(mktemp -d .cache/h2spec-build.XXXXXX)
trap 'rm -rf "$copy"' EXIT
cp tests/h2spec/go.mod tests/h2spec/go.sum tests/h2spec/tools.go "$copy"
(cd "$copy" && GOFLAGS=-mod=mod timeout 300 go build -trimpath -o h2spec github.com/summerwind/h2spec/cmd/h2spec) >&2
mv "$copy/h2spec" "$program"
say "built with $(go version | cut -d' ' -f3)"
echo "$program"
