#!/bin/sh
# Starts a Sentinel. It rewrites its settings, and is told addresses, not names: one that cannot resolve the name of a
# master that is gone stops looking after it.
set -eu
master=$(getent hosts redis | cut -d ' ' -f 1)
cat >/data/sentinel.conf <<SETTINGS
port 26379
dir /data
sentinel monitor mymaster $master 6379 2
sentinel auth-pass mymaster $REDISCLI_AUTH
sentinel down-after-milliseconds mymaster 3000
sentinel failover-timeout mymaster 10000
sentinel parallel-syncs mymaster 1
SETTINGS
exec redis-server /data/sentinel.conf --sentinel
