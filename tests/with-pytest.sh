# Sourced by the scripts whose checks are Python: finds the program, makes the environment, names what is missing.

tools=$PWD/target/tools
mkdir -p "$tools"
missing=()

have() { command -v "$1" >/dev/null 2>&1; }

skip_or_fail() {
  echo "cannot be had, so its checks are skipped: $*" >&2
  [[ ${CI:-} != true ]] || exit 1
}

# Exports RELAY_BINARY: as it is given, or what cargo built last.
find_relay() {
  local profile
  if [[ -z ${RELAY_BINARY:-} ]]; then
    for profile in release debug; do
      if [[ -x target/$profile/refresh-relay ]]; then
        RELAY_BINARY=$PWD/target/$profile/refresh-relay
        break
      fi
    done
  fi
  if [[ -x ${RELAY_BINARY:-} ]]; then
    RELAY_BINARY=$(realpath "$RELAY_BINARY")
    export RELAY_BINARY
  else
    unset RELAY_BINARY
    missing+=(refresh-relay)
  fi
}

# run_pytest FOLDER ARGUMENT... : in an environment of its own, which is made anew when its requirements change.
run_pytest() {
  local folder=$1 venv wanted
  shift
  venv=$PWD/target/venv-$(basename "$folder")
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    skip_or_fail "python3 with venv (all checks of $folder)"
    exit 0
  fi
  wanted=$(cat "$folder/requirements.txt" && python3 --version)
  if [[ ! -f $venv/made-of || $(<"$venv/made-of") != "$wanted" ]]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$folder/requirements.txt"
    printf '%s\n' "$wanted" >"$venv/made-of"
  fi
  if ((${#missing[@]})); then
    skip_or_fail "${missing[@]}"
  fi
  export PYTHONPYCACHEPREFIX=$PWD/target/pycache
  cd "$folder"
  exec "$venv/bin/python" -m pytest --quiet --numprocesses auto "$@"
}
