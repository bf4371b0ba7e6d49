"""Plain ws with ioredis: the least one would write on Node.js; from npm."""

from . import ROOM, Peer, node, publishing
from .socketio import NOTES


def address(port):
    return f"ws://127.0.0.1:{port}/{{room}}", f"http://127.0.0.1:{port}/{{room}}"


def start(place, nodes, numbered):
    return node.start(place, nodes, "ws.mjs", ["--room", ROOM, *publishing(numbered)], address)


PEERS = [Peer("ws-redis", node.install, start, redis=True, notes=NOTES)]
