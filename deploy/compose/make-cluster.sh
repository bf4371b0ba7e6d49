#!/bin/sh
# Joins the six nodes into a cluster, once. `redis-cli` asks for addresses, not names.
set -eu
if redis-cli -h redis-cluster-1 cluster info | grep -q cluster_state:ok; then
  exit 0
fi
nodes=
for number in 1 2 3 4 5 6; do
  address=$(getent hosts "redis-cluster-$number" | cut -d ' ' -f 1)
  nodes="$nodes $address:6379"
done
# shellcheck disable=SC2086
redis-cli --cluster create $nodes --cluster-replicas 1 --cluster-yes
until redis-cli -h redis-cluster-1 cluster info | grep -q cluster_state:ok; do
  sleep 1
done
