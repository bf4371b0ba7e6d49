#!/usr/bin/env bash
# Builds the fuzz targets and runs each: tests/fuzz/run.sh [SECONDS [TARGET...]]
#
#   tests/fuzz/run.sh                      30 seconds for each target
#   tests/fuzz/run.sh 600 client_frames    ten minutes for one
#   RUNS=10000000 tests/fuzz/run.sh        ten million executions for each, however long they take
#   SANITIZER=address tests/fuzz/run.sh    with AddressSanitizer: slower, and of use for what the libraries do unsafely
#
# Needs a nightly toolchain (rustup toolchain install nightly) and cargo-fuzz (cargo install --locked cargo-fuzz). What a
# run finds grows in corpus/, which is not kept; an input that breaks a property is left in artifacts/, and belongs
# into seeds/ once it is understood: then `cargo test --test hostile` asks it each time, with any toolchain.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-30}
shift || true

cargo +nightly --version >/dev/null 2>&1 || { echo "install a nightly toolchain: rustup toolchain install nightly" >&2; exit 1; }
cargo fuzz --version >/dev/null 2>&1 || { echo "install cargo-fuzz: cargo install --locked cargo-fuzz" >&2; exit 1; }

targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir .)
limit=(-max_total_time="$seconds")
[[ -z ${RUNS:-} ]] || limit=(-runs="$RUNS")
# This code has no unsafe part, so by default the properties have all the time.
sanitizer=${SANITIZER:-none}

cargo +nightly fuzz build --fuzz-dir . --sanitizer "$sanitizer"
failed=()
for target in "${targets[@]}"; do
  printf '\n== %s\n' "$target"
  longest=$(sed -n "s/.*name: \"$target\".*max_bytes: \([0-9]*\).*/\1/p" properties/mod.rs)
  mkdir -p "corpus/$target"
  cargo +nightly fuzz run --fuzz-dir . --sanitizer "$sanitizer" "$target" "corpus/$target" "seeds/$target" -- \
    "${limit[@]}" -max_len="${longest:-1000}" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 || failed+=("$target")
done
if ((${#failed[@]})); then
  printf '\na property does not hold: %s\n' "${failed[*]}" >&2
  exit 1
fi
printf '\n%s targets held\n' "${#targets[@]}"
