"""Applications with a socket to a room, and what they see."""

import asyncio
import json

import websockets
from websockets.asyncio.client import connect as open_websocket

ABNORMAL = 1006


def connect(host, room, source=None, headers=None, seconds=10):
    """A socket; `source` is the address it comes from."""
    return open_websocket(
        f"ws://{host}/party/{room}",
        proxy=None,
        compression=None,
        ping_interval=None,
        open_timeout=seconds,
        close_timeout=2,
        local_addr=(source, 0) if source else None,
        additional_headers=headers,
    )


def code_of(closed):
    """The close code, or 1006 for an end without a close frame."""
    return closed.rcvd.code if closed.rcvd else ABNORMAL


class Party:
    """Reconnects as partysocket does: after 3.0 s, and 1.3 times as long after each failure, at most 10 s, without jitter;
    a handshake may take 4 s, and a socket that was open for 5 s begins anew."""

    FIRST, GROWTH, LONGEST, HANDSHAKE, STABLE = 3.0, 1.3, 10.0, 4.0, 5.0

    def __init__(self, host, room):
        self.host, self.room = host, room
        self.revisions, self.closes, self.failures = [], [], []
        self.is_open = False
        self.opens = 0
        self._task = asyncio.create_task(self._run())

    def last(self):
        return self.revisions[-1] if self.revisions else None

    async def _run(self):
        retries = 0
        while True:
            if retries:
                await asyncio.sleep(min(self.FIRST * self.GROWTH ** (retries - 1), self.LONGEST))
            retries += 1
            began = None
            try:
                async with connect(self.host, self.room, seconds=self.HANDSHAKE) as socket:
                    began = asyncio.get_running_loop().time()
                    self.is_open = True
                    self.opens += 1
                    async for frame in socket:
                        self.revisions.append(json.loads(frame).get("revision"))
                    self.closes.append(socket.close_code)
            except websockets.ConnectionClosed as closed:
                self.closes.append(code_of(closed))
            except (OSError, websockets.WebSocketException) as failure:
                # Before the upgrade: partysocket tries again, whatever it was.
                self.failures.append(repr(failure))
            self.is_open = False
            if began and asyncio.get_running_loop().time() - began > self.STABLE:
                retries = 1

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def until(condition, what, seconds=30):
    """The first true answer of `condition`, asked until the deadline."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)
