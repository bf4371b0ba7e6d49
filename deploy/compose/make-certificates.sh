#!/bin/sh
# Makes a CA, a certificate for Redis and one for the relay in /tls, once. For trials: the keys are readable by every
# container that mounts the volume.
set -eu
cd /tls
[ ! -e done ] || exit 0

openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=refresh-relay trial CA" -keyout ca.key -out ca.crt

# certificate NAME ALTERNATIVE-NAME USAGE
certificate() {
  printf 'subjectAltName=DNS:%s\nextendedKeyUsage=%s\n' "$2" "$3" >"$1.extensions"
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.request"
  openssl x509 -req -in "$1.request" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 \
    -extfile "$1.extensions" -out "$1.crt"
  rm "$1.request" "$1.extensions"
}
certificate redis redis-tls serverAuth
certificate relay refresh-relay clientAuth
rm ca.key
chmod 0644 ./*.key
touch done
