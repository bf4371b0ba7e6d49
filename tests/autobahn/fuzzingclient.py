"""Runs Autobahn's fuzzing client against a server that does not echo.

The relay ignores what clients say, but most cases wait for an echo. In its place a message counts as echoed once the
server has answered a ping that was sent right behind it: it has then read the message to its end, found nothing wrong
with it, and goes on serving. Everything else is Autobahn's own: the cases, what they expect, and the verdicts.

Usage, with Python 2.7: fuzzingclient.py SPEC
"""

import json
import sys

from autobahntestsuite import fuzzing
from autobahntestsuite.fuzzing import FuzzingClientProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet import reactor

CONTINUATION, TEXT, BINARY, PING = 0, 1, 2, 9
FENCE = "fence %d"

# Many cases end the connection after half a second, which is how long actix-http reads on before it does.
PATIENCE_SECONDS = 1


class Client(FuzzingClientProtocol):
    def connectionMade(self):
        self.fenced = {}
        self.fences = 0
        self.opcode = None
        self.fragments = []
        FuzzingClientProtocol.connectionMade(self)

    def sendFrame(self, opcode, payload="", fin=True, rsv=0, mask=None, payload_len=None, chopsize=None, sync=False):
        FuzzingClientProtocol.sendFrame(self, opcode, payload, fin, rsv, mask, payload_len, chopsize, sync)
        if opcode > BINARY or self.state != WebSocketProtocol.STATE_OPEN:
            return
        if opcode != CONTINUATION:
            self.opcode, self.fragments = opcode, []
        self.fragments.append(repeated(payload, payload_len))
        if fin and self.opcode is not None:
            self.fence("".join(self.fragments), self.opcode == BINARY)
            self.opcode = None

    def fence(self, message, binary):
        self.fences += 1
        name = FENCE % self.fences
        self.fenced[name] = (message, binary)
        FuzzingClientProtocol.sendFrame(self, PING, name)

    def killAfter(self, delay):
        FuzzingClientProtocol.killAfter(self, delay + PATIENCE_SECONDS)

    def onPong(self, payload):
        if payload in self.fenced:
            self.onMessage(*self.fenced.pop(payload))
        else:
            FuzzingClientProtocol.onPong(self, payload)


def repeated(payload, length):
    """What `sendFrame` makes of a payload that is to be repeated until it has that length."""
    if length is None or not payload:
        return payload
    return (payload * (length // len(payload) + 1))[:length]


if __name__ == "__main__":
    fuzzing.FuzzingClientProtocol = Client
    with open(sys.argv[1]) as spec:
        fuzzing.startClient(json.load(spec))
    reactor.run()
