#!/usr/bin/env bash
# Builds the filters of filters_rust/ for wasm32-unknown-unknown and wasm32-wasip1.
#
#   scripts/build_wasm.sh [--install] [--debian] [--ship]
#
#   --install  may install Debian's Rust (as root, with apt) when no other toolchain has the targets
#   --debian   use Debian's Rust although rustup could do it
#   --ship     put the wasm32-unknown-unknown module into the package data and record its sources
#
# A toolchain is, in this order: one whose standard library for the target is already there; rustup,
# which adds it; Debian's rustc-web and cargo-web, which build the standard library from its sources.
# Exit status 3: there is no toolchain and none may be installed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
targets=(wasm32-unknown-unknown wasm32-wasip1)
debian_packages=(rustc-web cargo-web rust-web-src lld-22 wasi-libc)
# Debian's rustc looks for rust-lld, which no package of Debian's has: this is the same linker.
debian_linker=wasm-ld-22
install=no debian=no ship=no

for argument in "$@"; do
  case $argument in
    --install) install=yes ;;
    --debian) debian=yes ;;
    --ship) ship=yes ;;
    *) echo "build_wasm.sh: unknown option $argument" >&2; exit 2 ;;
  esac
done

say() { printf 'build_wasm: %s\n' "$*" >&2; }

# True where cargo can build for the target without building std first.
has_target() {
  command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
  local libdir
  libdir=$(rustc --print target-libdir --target "$1" 2>/dev/null) || return 1
  compgen -G "$libdir/libstd-*.rlib" >/dev/null
}

add_target() {
  command -v rustup >/dev/null || return 1
  say "rustup target add $1"
  timeout 300 rustup target add "$1" >&2 && has_target "$1"
}

has_debian_rust() {
  [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && compgen -G '/usr/src/rustc-*/library/std' >/dev/null &&
    command -v "$debian_linker" >/dev/null && [ -d /usr/lib/wasm32-wasi ]
}

install_debian_rust() {
  [ "$install" = yes ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  say "apt-get install ${debian_packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >&2
  apt-get -qq install -y --no-install-recommends "${debian_packages[@]}" >/dev/null
  has_debian_rust
}

# One toolchain for all targets, so that the two modules are of one make.
choose_toolchain() {
  local target
  if [ "$debian" = no ]; then
    for target in "${targets[@]}"; do
      has_target "$target" || add_target "$target" || { target=none; break; }
    done
    [ "$target" = none ] || { echo std; return; }
  fi
  has_debian_rust || install_debian_rust || return 1
  echo debian
}

# The registry's place differs from machine to machine and must not show in a module.
remap_flags() {
  local source
  for source in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    [ -d "$source" ] && printf -- '--remap-path-prefix=%s=/registry ' "$source"
  done
}

toolchain=$(choose_toolchain) || {
  say "no Rust toolchain can build ${targets[*]}"
  say "install rustup (https://rustup.rs), or on Debian: apt-get install ${debian_packages[*]}"
  exit 3
}

cd "$root/filters_rust"
cargo_arguments=()
if [ "$toolchain" = debian ]; then
  export PATH=/usr/bin:$PATH RUSTC_BOOTSTRAP=1
  export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$debian_linker CARGO_TARGET_WASM32_WASIP1_LINKER=$debian_linker
  cargo_arguments=(-Zbuild-std=std,panic_abort)
fi
say "$(rustc --version), $toolchain"
cargo fetch --locked >&2
for target in "${targets[@]}"; do
  flags=$(remap_flags)
  if [ "$toolchain" = debian ] && [ "$target" = wasm32-wasip1 ]; then
    flags+="-L/usr/lib/wasm32-wasi"
  fi
  RUSTFLAGS=$flags cargo build --locked --release --target "$target" "${cargo_arguments[@]}" >&2
done

if [ "$ship" = yes ]; then
  python3 "$root/scripts/wasm_record.py" write \
    "$root/filters_rust/target/wasm32-unknown-unknown/release/header_guard.wasm" "$(rustc --version)"
fi
for target in "${targets[@]}"; do
  ls -l target/"$target"/release/*.wasm
done
