#!/usr/bin/env bash
# Runs the same scenarios of `refresh-relay bench` against this relay and its peers, and prints one table. It installs the
# peers from package registries first. See README.md beside this file.
#   tests/bench/run.sh                                                all of it; two hours
#   tests/bench/run.sh --connections 500 --runs 1 relay nchan         a first look
#   tests/bench/run.sh --serve nchan                                  starts it, and prints how to load it
# The program is RELAY_BINARY, or is built.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ -z ${RELAY_BINARY:-} ]]; then
  cargo build --locked --release --features jemalloc
  RELAY_BINARY=target/release/refresh-relay
fi
RELAY_BINARY=$(realpath "$RELAY_BINARY")
export RELAY_BINARY PYTHONPYCACHEPREFIX=$PWD/target/pycache
exec python3 tests/bench/compare.py "$@"
