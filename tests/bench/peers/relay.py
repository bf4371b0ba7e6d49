"""This relay: on either wire with the memory broker, and with Redis."""

import json
import os
from functools import partial

from place import Unavailable, answers

from . import ROOM, Peer, Running

KEY = "a-publish-key-for-the-bench"


def install(_tools):
    if "RELAY_BINARY" not in os.environ:
        raise Unavailable("the relay is not built")


def start(place, nodes, _numbered, redis=False, wire="direct"):
    settings = {
        "RELAY_SERVER__BIND": "127.0.0.1:0",
        "RELAY_ADMIN__BIND": "127.0.0.1:0",
        "RELAY_SERVER__WORKERS": str(place.cpus.workers),
        "RELAY_WEBSOCKET__WIRE": wire,
        "RELAY_PUBLISH__SECRET": KEY,
        "RELAY_LOG__FORMAT": "json",
    }
    if redis:
        settings["RELAY_REDIS__URL"] = f"redis://127.0.0.1:{place.redis()}"
    key_file = place.folder / "key"
    key_file.write_text(KEY)
    # The number of a publish is its revision; `bench` asks for it where it needs it.
    running = Running([], ["--room", ROOM, "--key-file", str(key_file)])
    for _ in range(nodes):
        server = place.start([os.environ["RELAY_BINARY"], "serve"], says='"listening"', env=settings, name="refresh-relay")
        listening = json.loads(server.line)
        answers(f"http://{listening['admin']}/readyz")
        running.pids.append(server.pid)
        running.target += ["--url", f"http://{listening['public']}"]
    return running


PEERS = [
    Peer("relay", install, start, redis=False),
    Peer("relay-actix-ws", install, partial(start, wire="actix-ws"), redis=False),
    Peer("relay-redis", install, partial(start, redis=True), redis=True),
]
