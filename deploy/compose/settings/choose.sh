#!/bin/sh
# choose.sh TOPOLOGY : puts its settings where the nodes read them. The plain one comes first, always, and takes back the
# choice of the last time; then that of a profile, which must be the only one: else no settings are left, and no node starts.
set -eu
if [ "$1" = standalone ]; then
  rm -rf /settings/chosen
fi
cp "/from/$1.toml" /settings/relay.toml
# Copied before, so that of two at the same time the one that fails takes away what either has copied.
if [ "$1" != standalone ] && ! mkdir /settings/chosen; then
  rm -f /settings/relay.toml
  echo "take one of the profiles sentinel, cluster and tls, not two" >&2
  exit 1
fi
