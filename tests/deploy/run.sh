#!/usr/bin/env bash
# Checks docker-compose.yml, the CI recipes and the load balancers. Arguments go to pytest: tests/deploy/run.sh -k nginx
# The rolling restart with more clients: tests/deploy/run.sh -k rolling --clients 1000
#
# Needs Python 3 (with venv). What else it needs it takes from the PATH, or puts under target/tools:
#   nginx, haproxy    out of the distribution's packages, unpacked and not installed, so that no service starts
#   docker-compose    by `go build`; it only reads the file, there is no engine
# and of the PATH redis-server, curl and openssl, and of the build the program itself (RELAY_BINARY, or target/release,
# or target/debug). What cannot be had is named, and its checks are skipped; with CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

compose_version=v5.2.0
. tests/with-pytest.sh
export PATH="$tools:$PATH:/usr/sbin"

# unpack PROGRAM : the package of that name with what it depends on and is not there yet, and a wrapper that finds its
# libraries.
unpack() {
  have apt-get && have dpkg-deb || return 1
  echo "unpacking $1 from its package"
  local program=$1 work
  work=$(mktemp -d)
  mkdir "$work/partial"
  if ! download "$program" "$work" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    rm -rf "$work"
    return 1
  fi
  rm -rf "$tools/$program.files"
  for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$tools/$program.files"
  done
  rm -rf "$work"
  local libraries
  libraries=$(find "$tools/$program.files" -name '*.so*' -printf '%h\n' | sort -u | paste -sd :)
  cat >"$tools/$program" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH="$libraries" exec "$tools/$program.files/usr/sbin/$program" "\$@"
WRAPPER
  chmod +x "$tools/$program"
  "$tools/$program" -v >/dev/null 2>&1
}

download() {
  local get=(apt-get install --yes --download-only --no-install-recommends
    -o "Dir::Cache::archives=$2" -o Debug::NoLocking=1 "$1")
  "${get[@]}" || { apt-get update && "${get[@]}"; }
}

# `go install` refuses a module with exclude directives, so it is built as a dependency of an empty one.
install_compose() {
  have go || return 1
  echo "building docker-compose $compose_version; this takes a minute or two"
  local work done=
  work=$(mktemp -d)
  if (
    cd "$work"
    go mod init compose &&
      go get "github.com/docker/compose/v5/cmd@$compose_version" &&
      go build -ldflags "-s -w -X github.com/docker/compose/v5/internal.Version=$compose_version" \
        -o "$tools/docker-compose" github.com/docker/compose/v5/cmd
  ) >"$work/log" 2>&1; then
    done=yes
  else
    tail -5 "$work/log" >&2
  fi
  rm -rf "$work"
  [[ $done ]]
}

for program in nginx haproxy; do
  have "$program" || unpack "$program" || missing+=("$program")
done
have docker-compose && docker-compose version --short 2>/dev/null | grep -q '^v\?[2-9]' || install_compose || missing+=(docker-compose)
for program in redis-server curl openssl; do
  have "$program" || missing+=("$program")
done

find_relay
run_pytest tests/deploy "$@"
