#!/usr/bin/env bash
# Checks the Helm chart, the alerts, the dashboard and the runbook. Arguments go to pytest: tests/chart/run.sh -k secrets
#
# Needs Python 3 (with venv). What else it needs it takes from the PATH, or puts under target/tools:
#   helm          by `go install`
#   promtool, prometheus   out of Debian's package, unpacked and not installed, so that no service starts
# and of the PATH redis-server, and of the build the program itself (RELAY_BINARY, or target/release, or target/debug).
# What cannot be had is named, and its checks are skipped; with CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

helm_version=v3.22.0
. tests/with-pytest.sh
export PATH="$PATH:$tools"

install_helm() {
  have go || return 1
  echo "installing helm $helm_version with go install; this takes a minute or two"
  # As in Helm's own builds: without a cluster it assumes this version of Kubernetes.
  local defaults=helm.sh/helm/v3/pkg
  GOBIN=$tools go install -ldflags "-s -w \
    -X $defaults/lint/rules.k8sVersionMajor=1 -X $defaults/lint/rules.k8sVersionMinor=35 \
    -X $defaults/chartutil.k8sVersionMajor=1 -X $defaults/chartutil.k8sVersionMinor=35" \
    "helm.sh/helm/v3/cmd/helm@$helm_version"
}

install_prometheus() {
  have apt-get && have dpkg-deb || return 1
  echo "unpacking prometheus from its Debian package"
  local work
  work=$(mktemp -d)
  if ! (cd "$work" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; }) >"$work/log" 2>&1; then
    cat "$work/log" >&2
    rm -rf "$work"
    return 1
  fi
  dpkg-deb -x "$work"/prometheus_*.deb "$work/unpacked"
  cp "$work/unpacked/usr/bin/prometheus" "$work/unpacked/usr/bin/promtool" "$tools/"
  rm -rf "$work"
}

have helm || install_helm || missing+=(helm)
{ have promtool && have prometheus; } || install_prometheus || missing+=(promtool prometheus)
have redis-server || missing+=(redis-server)

find_relay
run_pytest tests/chart --dist loadgroup "$@"
