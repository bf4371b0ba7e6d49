#!/bin/sh
# Tells a relay that a datafile is new, and fails when the apps were not told. Needs curl and a POSIX shell.
#
#   RELAY_URL=https://relay.example.com RELAY_ROOM=featurevisor RELAY_PUBLISH_KEY=... ./refresh.sh
#
#   RELAY_URL                where the relay is; it may end in a slash
#   RELAY_ROOM               whom to tell
#   RELAY_PUBLISH_KEY        a publish key of the relay, or a token of the CI system that a rule of the relay takes; never
#                            printed, never an argument of a program
#   RELAY_OIDC_AUDIENCE      instead of it, on GitHub Actions: have GitHub sign a token with this audience for the job, which
#                            needs `permissions: id-token: write`
#   RELAY_WAIT               seconds to wait for all nodes to confirm, 0 to 10 (default 5)
#   RELAY_REVISION           handed on to the apps (optional)
#   RELAY_ALLOW_UNCONFIRMED  true: it is enough that the refresh is stored and sent (default false)
#   RELAY_MIN_CONNECTIONS    fail when fewer sockets were told (default 0: nobody may be there at night)
#   RELAY_RETRIES            how often what may pass is tried again (default 5: about half a minute)
#   RELAY_RESULT             a file to which connections=, nodes=, expected= and position= are added (optional)
#
# Exit codes: 0 told; 1 not told, or not enough; 2 wrong usage.
#
# A refresh that arrives twice costs each app one conditional request, one that is lost costs it the new flags. So every
# failure that may pass is tried again, and nothing is done about the second copy.
set -eu

usage() {
  echo "refresh.sh: $*" >&2
  exit 2
}

fail() {
  printf 'refresh.sh: %s\n' "$*" >&2
  exit 1
}

url=${RELAY_URL:-}
room=${RELAY_ROOM:-}
wait=${RELAY_WAIT:-5}
minimum=${RELAY_MIN_CONNECTIONS:-0}
[ -n "$url" ] || usage "RELAY_URL is not set"
[ -n "$room" ] || usage "RELAY_ROOM is not set"
case ${RELAY_PUBLISH_KEY:+key}${RELAY_OIDC_AUDIENCE:+token} in
  key) ;;
  token)
    [ -n "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ] && [ -n "${ACTIONS_ID_TOKEN_REQUEST_TOKEN:-}" ] ||
      usage "GitHub gives this job no token: it needs permissions: id-token: write"
    ;;
  keytoken) usage "RELAY_PUBLISH_KEY and RELAY_OIDC_AUDIENCE are both set, one is enough" ;;
  *) usage "RELAY_PUBLISH_KEY is not set" ;;
esac
case $wait in
  [0-9] | 10) ;;
  *) usage "RELAY_WAIT must be a number of seconds from 0 to 10" ;;
esac
case $minimum in
  *[!0-9]* | "") usage "RELAY_MIN_CONNECTIONS must be a number" ;;
esac
case ${RELAY_ALLOW_UNCONFIRMED:-false} in
  true | false) ;;
  *) usage "RELAY_ALLOW_UNCONFIRMED must be true or false" ;;
esac

# A name with anything unusual in it is percent-encoded, byte by byte.
segment=$room
case $room in
  *[!A-Za-z0-9._~-]*) segment=$(printf '%s' "$room" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g') ;;
esac
body='{}'
if [ -n "${RELAY_REVISION:-}" ]; then
  body=$(printf '%s' "$RELAY_REVISION" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g; s/.*/{"revision":"&"}/')
fi

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# ask ARGUMENT... : with what both requests have in common; what comes on standard input is their header with the secret.
ask() {
  curl --header @- --silent --show-error --max-time 20 --retry "${RELAY_RETRIES:-5}" --retry-all-errors "$@"
}

if [ -n "${RELAY_OIDC_AUDIENCE:-}" ]; then
  token=$(
    printf 'Authorization: Bearer %s\n' "$ACTIONS_ID_TOKEN_REQUEST_TOKEN" |
      ask --get --data-urlencode "audience=$RELAY_OIDC_AUDIENCE" "$ACTIONS_ID_TOKEN_REQUEST_URL" |
      sed -n 's/.*"value" *: *"\([^"]*\)".*/\1/p'
  )
  [ -n "$token" ] || fail "nobody was told: GitHub gave no token for this job"
  RELAY_PUBLISH_KEY=$token
fi

# Without --fail: a refusal such as 401 is final, and --retry-all-errors would try it again.
status=$(
  printf 'Authorization: Bearer %s\n' "$RELAY_PUBLISH_KEY" |
    ask --header 'Content-Type: application/json' --data-binary "$body" \
      --output "$answer" --write-out '%{http_code}' \
      "${url%/}/v1/rooms/$segment/refresh?wait=$wait"
) || fail "nobody was told: no answer from $url"

# One line of what came, whatever it is: it may be the page of a proxy.
shown=$(tr -d '\r\n' <"$answer" | cut -c 1-300)
case $status in
  200 | 202) ;;
  401)
    [ -z "${RELAY_OIDC_AUDIENCE:-}" ] || fail "nobody was told: $url does not take this job's token (401): $shown"
    fail "nobody was told: this is not a publish key of the relay (401)"
    ;;
  *) fail "nobody was told: $url answered $status: $shown" ;;
esac

# field PATTERN : what the pattern finds in the answer, which is one line of JSON.
field() {
  sed -n "s/.*$1.*/\\1/p" "$answer"
}
connections=$(field '"connections":\([0-9]*\)')
expected=$(field '"expected":\([0-9]*\)')
confirmed=$(field '"confirmed":\([0-9]*\)')
position=$(field '"position":"\([^"]*\)"')
[ -n "$connections" ] && [ -n "$expected" ] && [ -n "$confirmed" ] && [ -n "$position" ] ||
  fail "is this a relay? $url answered: $shown"

if [ -n "${RELAY_RESULT:-}" ]; then
  printf 'connections=%s\nnodes=%s\nexpected=%s\nposition=%s\n' \
    "$connections" "$confirmed" "$expected" "$position" >>"$RELAY_RESULT"
fi
printf 'room %s at position %s: told %s connections on %s of %s nodes\n' \
  "$room" "$position" "$connections" "$confirmed" "$expected"

if [ "$status" = 202 ]; then
  text="$((expected - confirmed)) of $expected nodes did not confirm within $wait s; they catch up by themselves"
  [ "${RELAY_ALLOW_UNCONFIRMED:-false}" = true ] || fail "$text"
  printf 'refresh.sh: %s\n' "$text" >&2
fi
[ "$connections" -ge "$minimum" ] ||
  fail "told $connections connections, fewer than the $minimum asked for: is the room's name right?"
