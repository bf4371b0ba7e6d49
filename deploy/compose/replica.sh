#!/bin/sh
# Starts a replica. It is told the master's address, not its name: while it looks up the name of a master that is gone,
# it answers nobody, and the Sentinels take it for gone as well.
set -eu
master=$(getent hosts redis | cut -d ' ' -f 1)
exec redis-server --save "" --requirepass "$REDISCLI_AUTH" --masterauth "$REDISCLI_AUTH" --replicaof "$master" 6379
