#!/usr/bin/env bash
# Runs the WebSocket cases of Autobahn's fuzzing client against a node, once per wire, and prints a table. Sections or
# cases can be named: tests/autobahn/run.sh '6.*' 7.5.1
#
# Needs Python 3, and Python 2.7 for the client: out of Debian's packages, unpacked under target/tools and not
# installed. Of the build it needs the program (RELAY_BINARY, or target/release, or target/debug).
# The reports, one page per case, are under target/autobahn.
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/with-pytest.sh
python2=$tools/python2.7
packages=$tools/python2.7.packages
pip=20.3.4

# From the last Debian that had it, through the mirror that this system uses.
unpack_python2() {
  have apt-get && have dpkg-deb || return 1
  local work mirror
  work=$(mktemp -d)
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m 1 -E 'debian/?$') || return 1
  mkdir -p "$work/lists/partial" "$work/cache" "$work/debs"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bullseye main" >"$work/sources.list"
  local apt=(apt-get --quiet --quiet -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=-
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=)
  "${apt[@]}" update
  (cd "$work/debs" && "${apt[@]}" download python2.7-minimal libpython2.7-minimal libpython2.7-stdlib libffi7 libssl1.1)
  rm -rf "$python2.files"
  for package in "$work"/debs/*.deb; do
    dpkg-deb -x "$package" "$python2.files"
  done
  rm -rf "$work"
  cat >"$python2" <<WRAPPER
#!/bin/sh
PYTHONHOME="$python2.files/usr" LD_LIBRARY_PATH="$python2.files/usr/lib/$(uname -m)-linux-gnu" \\
  exec "$python2.files/usr/bin/python2.7" -W ignore "\$@"
WRAPPER
  chmod +x "$python2"
}

# pip of today no longer runs there; it only fetches the last one that does, which installs the rest.
install_packages() {
  local work
  work=$(mktemp -d)
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "pip==$pip"
  local install=("$python2" "$work/pip-$pip-py2.py3-none-any.whl/pip" --quiet --disable-pip-version-check
    --no-python-version-warning install --upgrade --no-deps --no-warn-conflicts --target "$packages")
  rm -rf "$packages"
  "${install[@]}" setuptools==44.1.1 wheel==0.37.1
  PYTHONPATH=$packages "${install[@]}" --no-build-isolation --requirement tests/autobahn/requirements.txt
  cp tests/autobahn/requirements.txt "$packages/made-of"
  rm -rf "$work"
}

if [[ ! -x $python2 ]] && ! unpack_python2; then
  skip_or_fail "python2.7"
  exit 0
fi
cmp --quiet tests/autobahn/requirements.txt "$packages/made-of" || install_packages

find_relay
if ((${#missing[@]})); then
  skip_or_fail "${missing[@]}"
  exit 0
fi
# `support.relay` starts the nodes.
export PYTHONPATH=$PWD/tests/chart PYTHONPYCACHEPREFIX=$PWD/target/pycache
exec python3 tests/autobahn/cases.py "$python2" "$packages" "$PWD/target/autobahn" "$@"
