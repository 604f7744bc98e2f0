#!/usr/bin/env bash
# Makes the virtual environment .venv in the checkout and installs the project into it.
#
#   scripts/setup.sh [run|dev]
#
#   run   what the proxy needs (the default)
#   dev   and what its tests and checks need; on Debian as root the programs that tests call, too
#
# Needs Python 3.11 or newer; PYTHON names another one than python3.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
what=${1:-run}
test_packages=(curl iproute2 iptables nftables nghttp2-client openssl wrk)
# Beside Envoy, in `just bench` and `just smuggling`; what is missing is left out there.
compared=(nginx haproxy)

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
  printf 'setup: apt-get install %s\n' "$*" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >&2
  apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

case $what in
  run) requirement=. ;;
  dev) requirement='.[dev]' ;;
  *) fail "run or dev, not $what" ;;
esac

if ! command -v "$python" >/dev/null; then
  can_apt || fail "there is no $python: install Python 3.11 or newer"
  apt_install python3 python3-venv
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version) is too old: name Python 3.11 or newer with PYTHON=..."

if ! [ -x .venv/bin/pip ]; then
  # Debian keeps ensurepip, without which a venv has no pip, in a package of its own.
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    can_apt || fail "$python cannot make virtual environments; on Debian: apt-get install python3-venv"
    apt_install python3-venv
  fi
  rm -rf .venv
  "$python" -m venv .venv
fi

export PIP_DISABLE_PIP_VERSION_CHECK=1
.venv/bin/pip install --quiet --editable "$requirement"

if [ "$what" = dev ] && can_apt; then
  missing=()
  command -v curl >/dev/null || missing+=(curl)
  command -v h2load >/dev/null || missing+=(nghttp2-client)
  # Of interception: namespaces, and packets that are redirected in them.
  command -v ip >/dev/null || missing+=(iproute2)
  command -v iptables >/dev/null || missing+=(iptables)
  command -v nft >/dev/null || missing+=(nftables)
  command -v openssl >/dev/null || missing+=(openssl)
  command -v wrk >/dev/null || missing+=(wrk)
  # Their packages start a server, unless a policy forbids it as in containers: elsewhere that is the user's.
  if [ -x /usr/sbin/policy-rc.d ]; then
    for program in "${compared[@]}"; do
      command -v "$program" >/dev/null || missing+=("$program")
    done
  fi
  # What mypyc makes is compiled with these (scripts/compile_modules.py).
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    missing+=(python3-dev)
  # A guest in C is built with these (tests/integration/test_wasm_languages.py).
  command -v clang >/dev/null && [ -e /usr/lib/wasm32-wasi/libc.a ] || missing+=(clang lld wasi-libc)
  [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
  rt=$(clang -dumpversion 2>/dev/null | cut -d. -f1)
  [ -z "$rt" ] || dpkg -s "libclang-rt-$rt-dev-wasm32" >/dev/null 2>&1 || apt_install "libclang-rt-$rt-dev-wasm32"
elif [ "$what" = dev ]; then
  for program in curl h2load ip iptables nft openssl wrk; do
    command -v "$program" >/dev/null ||
      printf 'setup: %s is missing; on Debian: apt-get install %s\n' "$program" "${test_packages[*]}" >&2
  done
fi

# The compiler of a guest in AssemblyScript; without it that test is skipped.
if [ "$what" = dev ] && command -v npm >/dev/null; then
  guests=tests/integration/guests
  [ -x $guests/node_modules/.bin/asc ] || npm install --prefix $guests --no-audit --no-fund --no-package-lock \
    --silent >/dev/null || printf 'setup: AssemblyScript could not be installed\n' >&2
fi
