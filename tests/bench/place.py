"""Where servers run: their CPUs, their processes, their Redis."""

import contextlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

STARTS_WITHIN = 60


class Unavailable(Exception):
    """What cannot be had here, and why."""


@dataclass(frozen=True)
class Cpus:
    """The server's two CPUs, and the generator's two. With fewer than four they share all."""

    servers: str
    generator: str
    workers: int

    @property
    def shared(self):
        return self.servers == self.generator


def split_cpus():
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 4:
        both = ",".join(map(str, cpus))
        return Cpus(both, both, min(2, len(cpus)))
    return Cpus("{},{}".format(*cpus[:2]), "{},{}".format(*cpus[2:4]), 2)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """A process of a server under test."""

    process: subprocess.Popen
    log: list

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def tail(self):
        return "".join(self.log[-5:]).strip() or "it said nothing"


class Place:
    """Runs servers on their CPUs, and ends them."""

    def __init__(self, cpus, tools, folder, stack):
        self.cpus = cpus
        self.tools = tools
        self.folder = folder
        self._stack = stack

    def start(self, command, *, says=None, port=None, env=None, name=""):
        """Returns once it has printed a line with `says`, or accepts on `port`."""
        process = subprocess.Popen(
            ["taskset", "--cpu-list", self.cpus.servers, *map(str, command)],
            env=environment() | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        server = Server(process, [])
        self._stack.callback(stop, process)
        said = queue.Queue()
        threading.Thread(target=read, args=(server, says, said), daemon=True).start()
        deadline = time.monotonic() + STARTS_WITHIN
        while server.alive() and time.monotonic() < deadline:
            if says:
                with contextlib.suppress(queue.Empty):
                    server.line = said.get(timeout=0.1)
                    return server
            elif accepts(port):
                return server
            else:
                time.sleep(0.05)
        raise RuntimeError(f"{name or command[0]} did not start: {server.tail()}")

    def redis(self):
        """The port of a Redis of this run's own."""
        program = shutil.which("redis-server")
        if program is None:
            raise Unavailable("redis-server is not there (Debian: redis-server)")
        port = free_port()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        options = ["--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", folder]
        self.start([program, *options], port=port)
        return port


def environment():
    """Without the variables of the relay, which takes each for a setting."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}


def read(server, says, said):
    for line in server.process.stdout:
        server.log.append(line)
        del server.log[:-200]
        if says and says in line:
            said.put(line)


def answers(url, times=1):
    """Waits until that many requests in a row are answered, by whatever but a fault of the server."""
    deadline = time.monotonic() + STARTS_WITHIN
    row = 0
    while row < times:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            row += 1
        except urllib.error.HTTPError as answer:
            row = row + 1 if answer.code < 500 else 0
        except OSError:
            row = 0
        if row == 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answer at {url}")
            time.sleep(0.05)


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def stop(process):
    """Ends it with all it started, as it has a session of its own; none of them holds anything that must be kept."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
