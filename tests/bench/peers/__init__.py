"""The servers that are compared. Each file has one `Peer`: how to install it, start it, connect to it and publish."""

from dataclasses import dataclass, field

ROOM = "bench"

# The bytes that the relay sends, and the same with the number of the publish.
PLAIN = '{"type":"refresh"}'
NUMBERED = '{"type":"refresh","revision":"{n}"}'
SEQUENCE = ["--sequence-marker", '"revision":"']


@dataclass
class Running:
    """A started server: its processes, and how `refresh-relay bench` is told to load it."""

    pids: list
    target: list


@dataclass
class Peer:
    """A way to run a server.

    `install(tools)` raises `Unavailable`. `start(place, nodes, numbered)` starts so many nodes and returns what is
    `Running`; `numbered` asks for deliveries that tell which publish they belong to.
    """

    name: str
    install: callable
    start: callable
    # Whether nodes share a Redis: only then there may be several.
    redis: bool
    # What a reader of its figures must know.
    notes: list = field(default_factory=list)


def publishing(numbered, wrap="{}"):
    """The body, and how its number is found in a delivery."""
    body = wrap.replace("{}", NUMBERED if numbered else PLAIN)
    return ["--publish-body", body, *(SEQUENCE if numbered else [])]


def everyone():
    from . import centrifuge, nchan, relay, socketio, sockudo, ws

    return [*relay.PEERS, *nchan.PEERS, *centrifuge.PEERS, *sockudo.PEERS, *socketio.PEERS, *ws.PEERS]
