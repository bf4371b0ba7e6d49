"""Real nodes of the program under test, a real Redis, and a socket to a room."""

import base64
import contextlib
import json
import os
import queue
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

KEY = "a-publish-key-for-tests"


def wait_until(condition, what, seconds=30):
    """The first true answer of `condition`, asked again and again until the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def program():
    return os.environ["RELAY_BINARY"]


class Node:
    """One `serve` on free ports; its log is read to its end so that it never blocks."""

    def __init__(self, arguments=(), env=None):
        base = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
        ours = {"RELAY_SERVER__BIND": "127.0.0.1:0", "RELAY_ADMIN__BIND": "127.0.0.1:0", "RELAY_LOG__FORMAT": "json"}
        self.process = subprocess.Popen(
            [program(), "serve", *arguments],
            env=base | ours | (env or {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = []
        listening = queue.Queue()
        threading.Thread(target=self._read, args=(listening,), daemon=True).start()
        try:
            line = listening.get(timeout=20)
        except queue.Empty:
            line = None
        if line is None:
            self.process.kill()
            raise AssertionError("no node: " + "".join(self.log))
        self.public, self.admin = line["public"], line["admin"]

    def _read(self, listening):
        for line in self.process.stderr:
            self.log.append(line)
            with contextlib.suppress(ValueError):
                fields = json.loads(line)
                if fields.get("message") == "listening":
                    listening.put(fields)
        listening.put(None)

    def get(self, path, listener="admin"):
        with urllib.request.urlopen(f"http://{getattr(self, listener)}{path}", timeout=10) as answer:
            return answer.read().decode()

    def publish(self, room, key=KEY):
        return self._call("POST", f"/v1/rooms/{room}/refresh", key)

    def ask(self, room, key=KEY):
        """Where the room stands."""
        return self._call("GET", f"/v1/rooms/{room}", key)

    def _call(self, method, path, key):
        request = urllib.request.Request(
            f"http://{self.public}{path}", method=method, headers={"Authorization": f"Bearer {key}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.loads(refusal.read())

    def connect(self, room):
        """An open socket in that room."""
        host, port = self.public.rsplit(":", 1)
        stream = socket.create_connection((host, int(port)), timeout=10)
        nonce = base64.b64encode(os.urandom(16)).decode()
        stream.sendall(
            f"GET /party/{room} HTTP/1.1\r\nHost: {self.public}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            piece = stream.recv(4096)
            assert piece, head
            head += piece
        assert head.startswith(b"HTTP/1.1 101"), head
        return stream

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=20)


@contextlib.contextmanager
def node(**options):
    running = Node(**options)
    try:
        yield running
    finally:
        running.stop()


class Redis:
    """A Redis of the test's own, on a unix socket, so that no port is shared."""

    def __init__(self, url, process):
        self.url = url
        self.process = process

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=20)


@contextlib.contextmanager
def redis():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "redis.sock"
        arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", folder]
        process = subprocess.Popen([shutil.which("redis-server"), *arguments], stdout=subprocess.DEVNULL)
        try:
            wait_until(path.exists, "a socket of Redis")
            yield Redis(f"redis+unix://{path}", process)
        finally:
            process.kill()
            process.wait(timeout=20)


SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")


def scrape(text):
    """Samples of one scrape, and kinds: [(name, labels, value)], {metric: kind}."""
    samples, kinds = [], {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            kinds[name] = kind
        elif line and not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            samples.append((name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")), float(value)))
    return samples, kinds
