#!/usr/bin/env bash
# Builds filters_rust/conformance-guest for every ABI, and filters_rust/hostile-guest, and keeps the modules in
# tests/conformance/modules/, with the digests of what they were made of. Needs a Rust toolchain with wasm32-unknown-unknown (scripts/build_wasm.sh).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
crate=$root/filters_rust/conformance-guest
modules=$root/tests/conformance/modules
target=wasm32-unknown-unknown

cd "$crate"
mkdir -p "$modules"
for abi in 0_1_0 0_2_0 0_2_1; do
  features=()
  [ "$abi" = 0_2_1 ] || features=(--features "abi_$abi")
  cargo build --quiet --locked --release --target "$target" --target-dir "$root/filters_rust/target" "${features[@]}"
  install -m 644 "$root/filters_rust/target/$target/release/conformance_guest.wasm" "$modules/conformance_guest_$abi.wasm"
done
cd "$root/filters_rust/hostile-guest"
cargo build --quiet --locked --release --target "$target" --target-dir "$root/filters_rust/target"
install -m 644 "$root/filters_rust/target/$target/release/hostile_guest.wasm" "$modules/hostile_guest.wasm"
cd "$root"
sha256sum filters_rust/{conformance,hostile}-guest/Cargo.toml filters_rust/{conformance,hostile}-guest/src/*.rs \
  tests/conformance/modules/*.wasm > "$modules/SHA256SUMS"
