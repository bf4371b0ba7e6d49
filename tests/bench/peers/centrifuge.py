"""Centrifuge, the Go library that Centrifugo is made of, in a server of a few lines (`servers/centrifuge`).

Centrifugo itself is a Go module that the module proxy used here does not hand out.
"""

from functools import partial
from pathlib import Path

from install import run
from place import free_port

from . import ROOM, Peer, Running, publishing

SOURCE = Path(__file__).parent.parent / "servers/centrifuge"


def install(tools):
    tools.mkdir(parents=True, exist_ok=True)
    run(["go", "build", "-mod=readonly", "-o", tools / "centrifuge", "."], "centrifuge", cwd=SOURCE)


def start(place, nodes, numbered, redis=False):
    broker = ["-redis", f"127.0.0.1:{place.redis()}"] if redis else []
    running = Running(
        [],
        [
            *("--room", ROOM, *publishing(numbered)),
            *("--send", '{"id":1,"connect":{}}', "--send", '{"id":2,"subscribe":{"channel":"{room}"}}'),
            *("--ready-marker", '"id":2,"subscribe"', "--delivery-marker", '"push"', "--ping-reply", "{}={}"),
        ],
    )
    for _ in range(nodes):
        port = free_port()
        command = [place.tools / "centrifuge", "-listen", f"127.0.0.1:{port}", *broker]
        server = place.start(command, port=port, env={"GOMAXPROCS": str(place.cpus.workers)})
        running.pids.append(server.pid)
        running.target += ["--ws-url", f"ws://127.0.0.1:{port}/connection/websocket"]
        running.target += ["--publish-url", f"http://127.0.0.1:{port}/publish?channel={{room}}"]
    return running


NOTES = ["centrifuge is the library in Centrifugo; the server itself cannot be had from the Go module proxy used here"]

PEERS = [
    Peer("centrifuge", install, start, redis=False, notes=NOTES),
    Peer("centrifuge-redis", install, partial(start, redis=True), redis=True, notes=NOTES),
]
