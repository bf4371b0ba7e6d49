#!/usr/bin/env bash
# Installs what the tests need and runs everything: formatting, lints, docs, unit and black-box tests, hostile input, the real
# clients, the chart. A tool that cannot be had is named and its tests are skipped; with CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

skipped=()
apt_is_fresh=

step() { printf '\n== %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# apt_install PACKAGE... : through the system's package manager, as root or by sudo.
apt_install() {
  have apt-get || return 1
  local root=()
  if [[ $(id -u) != 0 ]]; then
    have sudo || return 1
    root=(sudo)
  fi
  if [[ -z $apt_is_fresh ]]; then
    "${root[@]}" apt-get update --quiet --quiet || return 1
    apt_is_fresh=yes
  fi
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --quiet --no-install-recommends "$@"
}

# need COMMAND PACKAGE... : makes the command available; fails, and notes it as skipped, if it cannot be had.
need() {
  local command=$1
  shift
  have "$command" && return
  echo "installing $*"
  if ! apt_install "$@" || ! have "$command"; then
    echo "cannot be had: $command" >&2
    skipped+=("$command")
    return 1
  fi
}

step "Rust toolchain"
have cargo || { echo "install Rust first: https://rustup.rs" >&2; exit 1; }
cargo fmt --version && cargo clippy --version || { echo "rustup component add rustfmt clippy" >&2; exit 1; }
have cc || need cc build-essential
# With the image's allocator, which takes make.
features=()
if need make make; then features=(--features jemalloc); fi

step "formatting"
cargo fmt --all --check
cargo fmt --manifest-path tests/fuzz/Cargo.toml --check

step "lints"
cargo clippy --locked "${features[@]}" --all-targets -- --deny warnings

step "docs"
RUSTDOCFLAGS="--deny warnings" cargo doc --locked "${features[@]}" --no-deps --document-private-items

step "unit tests"
cargo test --locked "${features[@]}" --lib

step "hostile input"
# The fuzz targets' properties, asked of seeds and changes to them. Building the targets themselves takes a nightly
# toolchain and several minutes, so they run beside this: tests/fuzz/run.sh, and the job "fuzz" of the CI workflow.
cargo test --locked "${features[@]}" --test hostile

step "black-box tests"
# Some print and run the curl line a new user would paste.
if need redis-server redis-server && need curl curl && need openssl openssl; then
  cargo test --locked "${features[@]}" --test suite
  # The other wire: everything above it is the same code, and must behave the same.
  REFRESH_RELAY_WIRE=actix-ws cargo test --locked "${features[@]}" --test suite
  # And under TLS, through a tunnel in the test process, which has too few files for the tests with thousands of sockets.
  REFRESH_RELAY_WIRE=tls cargo test --locked "${features[@]}" --test suite -- websocket drain publish partykit refusals round_trip
fi

step "release build"
cargo build --locked "${features[@]}" --release
export RELAY_BINARY=$PWD/target/release/refresh-relay

step "soak"
# Random faults from fixed seeds; longer by hand: cargo test --test soak -- --seed 7 --minutes 60
if have redis-server; then
  cargo test --locked "${features[@]}" --test soak
fi

step "real clients"
if have redis-server && have curl && need node nodejs && need npm npm; then
  npm ci --prefix tests/clients --no-audit --no-fund
  npm test --prefix tests/clients
fi

step "chart, compose, CI recipes, load balancers"
# Debian and Ubuntu keep venv in a package of its own. What is built with Go is skipped where there is none.
if need python3 python3 && { python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv; }; then
  tests/chart/run.sh
  tests/deploy/run.sh
else
  skipped+=("python3-venv")
fi

if ((${#skipped[@]})); then
  printf '\nskipped, as it cannot be had: %s\n' "${skipped[*]}" >&2
  [[ ${CI:-} != true ]] || exit 1
fi
printf '\neverything passed\n'
