"""Sockudo, which speaks Pusher's protocol; from crates.io. Its build needs protoc, which is Debian's."""

import hashlib
import hmac
import os
import shutil
import time
from functools import partial

from install import debian, libraries, run
from place import free_port

from . import PLAIN, ROOM, Peer, Running

VERSION = "5.2.0"
PACKAGES = ["protobuf-compiler", "libprotobuf-dev", "libprotoc32", "libprotobuf32"]

KEY, SECRET = "bench-key", "bench-secret"
UNLIMITED = 10**9
BODY = '{"name":"refresh","channels":["' + ROOM + '"],"data":"' + PLAIN.replace('"', '\\"') + '"}'


def install(tools):
    version_file = tools / "sockudo/version"
    if version_file.exists() and version_file.read_text() == VERSION:
        return
    files, build = tools / "protobuf", tools / "sockudo-build"
    debian(PACKAGES, files)
    env = {
        "PROTOC": str(files / "usr/bin/protoc"),
        "PROTOC_INCLUDE": str(files / "usr/include"),
        "LD_LIBRARY_PATH": libraries(files),
        "CARGO_TARGET_DIR": str(build),
    }
    print("building sockudo; this takes some minutes", flush=True)
    options = ["--force", "--version", VERSION, "--locked", "--no-default-features", "--features", "local,redis"]
    run(["cargo", "install", "sockudo", *options, "--root", tools / "sockudo"], "sockudo", env=os.environ | env)
    shutil.rmtree(build)
    version_file.write_text(VERSION)


def start(place, nodes, _numbered, redis=False):
    settings = {
        "HOST": "127.0.0.1",
        "ENVIRONMENT": "production",
        "SOCKUDO_DEFAULT_APP_ID": "bench",
        "SOCKUDO_DEFAULT_APP_KEY": KEY,
        "SOCKUDO_DEFAULT_APP_SECRET": SECRET,
        "SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS": str(UNLIMITED),
        "SOCKUDO_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SECOND": str(UNLIMITED),
        "SOCKUDO_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SECOND": str(UNLIMITED),
        "SOCKUDO_MAX_CONNECTIONS": str(UNLIMITED),
        "RATE_LIMITER_ENABLED": "false",
        "METRICS_ENABLED": "false",
        "ADAPTER_DRIVER": "redis" if redis else "local",
        "CACHE_DRIVER": "redis" if redis else "memory",
        "QUEUE_DRIVER": "memory",
        "LOG_LEVEL": "error",
        "RUST_LOG": "error",
    }
    if redis:
        settings["REDIS_URL"] = f"redis://127.0.0.1:{place.redis()}"
    subscribe = '{"event":"pusher:subscribe","data":{"channel":"{room}"}}'
    # Publishes are signed with their body, so it cannot hold a number.
    running = Running(
        [],
        [
            *("--room", ROOM, "--publish-body", BODY, "--publish-header", "Content-Type: application/json"),
            *("--send", subscribe, "--ready-marker", "subscription_succeeded", "--delivery-marker", '"refresh"'),
            *("--ping-reply", '{"event":"pusher:ping","data":{}}={"event":"pusher:pong","data":{}}'),
        ],
    )
    for _ in range(nodes):
        port = free_port()
        command = [place.tools / "sockudo/bin/sockudo"]
        server = place.start(command, port=port, env=settings | {"PORT": str(port)})
        running.pids.append(server.pid)
        running.target += ["--ws-url", f"ws://127.0.0.1:{port}/app/{KEY}?protocol=7&client=bench&version=1.0"]
        running.target += ["--publish-url", f"http://127.0.0.1:{port}{signed('/apps/bench/events')}"]
    return running


def signed(path):
    """As Pusher's HTTP API wants it; good for ten minutes."""
    query = f"auth_key={KEY}&auth_timestamp={int(time.time())}&auth_version=1.0&body_md5={hashlib.md5(BODY.encode()).hexdigest()}"
    signature = hmac.new(SECRET.encode(), f"POST\n{path}\n{query}".encode(), hashlib.sha256).hexdigest()
    return f"{path}?{query}&auth_signature={signature}"


PEERS = [
    Peer("sockudo", install, start, redis=False),
    Peer("sockudo-redis", install, partial(start, redis=True), redis=True),
]
