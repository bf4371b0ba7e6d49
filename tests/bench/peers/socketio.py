"""Socket.IO with its Redis adapter, over WebSocket alone; from npm."""

from . import ROOM, Peer, node, publishing


def address(port):
    connect = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket&room={{room}}"
    return connect, f"http://127.0.0.1:{port}/publish?room={{room}}"


def start(place, nodes, numbered):
    engine = ["--send", "40", "--ready-marker", "40{", "--delivery-marker", '42["refresh"', "--ping-reply", "2=3"]
    return node.start(place, nodes, "socketio.mjs", ["--room", ROOM, *publishing(numbered), *engine], address)


NOTES = ["socketio-redis and ws-redis run one process per core behind one port, so they always need Redis"]

PEERS = [Peer("socketio-redis", node.install, start, redis=True, notes=NOTES)]
