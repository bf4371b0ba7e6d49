"""The slopes in deploy/sizing.md: what a node and a publish ask of Redis, and what a socket takes, its kernel memory included.

    tests/bench/run.sh --help    # builds the program, if RELAY_BINARY does not name it
    python3 tests/bench/slopes.py target/release/refresh-relay
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

KEY = "a-key-for-measuring"
SOCKETS = 8000
IDLE_SECONDS = 30
PUBLISHES = 100


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        key_file = os.path.join(folder, "key")
        with open(key_file, "w") as file:
            file.write(KEY)
        for nodes in (1, 2, 4):
            with redis(folder) as url, cluster(program, url, nodes) as publics:
                redis_load(url, publics)
        for wire in ("direct", "actix-ws"):
            with cluster(program, None, 1, {"RELAY_WEBSOCKET__WIRE": wire, "RELAY_SERVER__WORKERS": "2"}) as publics:
                socket_memory(program, publics[0], key_file, wire)


def redis_load(url, publics):
    # The first seconds belong to the start.
    time.sleep(5)
    ask(url, "CONFIG", "RESETSTAT")
    time.sleep(IDLE_SECONDS)
    idle = commands(url)
    print(f"{len(publics)} nodes, idle: {sum(idle.values()) / IDLE_SECONDS / len(publics):.2f} commands per second and node: {per(idle, IDLE_SECONDS)}")
    ask(url, "CONFIG", "RESETSTAT")
    started = time.monotonic()
    for number in range(PUBLISHES):
        request = urllib.request.Request(
            f"http://{publics[number % len(publics)]}/v1/rooms/room/refresh", method="POST", headers={"Authorization": f"Bearer {KEY}"}
        )
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["nodes"]["confirmed"] == len(publics)
    took = time.monotonic() - started
    busy = {name: count - idle.get(name, 0) * took / IDLE_SECONDS for name, count in commands(url).items()}
    print(f"{len(publics)} nodes, publishing: {sum(busy.values()) / PUBLISHES:.2f} commands per publish: {per(busy, PUBLISHES)}")


def per(counts, total):
    return ", ".join(f"{name} {count / total:.2f}" for name, count in sorted(counts.items()) if count / total >= 0.05)


def socket_memory(program, public, key_file, wire):
    before = kernel_memory()
    command = [program, "bench", "idle", "--url", f"http://{public}", "--key-file", key_file, "--connections", str(SOCKETS), "--duration", "10"]
    load = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(7)
    # Both ends of each connection are here.
    held = (kernel_memory() - before) / SOCKETS / 2
    load.wait()
    print(f"{wire}: about {held:.0f} bytes of kernel memory per socket")


def kernel_memory():
    with open("/proc/meminfo") as file:
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    with open("/proc/net/sockstat") as file:
        pages = next(int(line.split()[-1]) for line in file if line.startswith("TCP:"))
    return sizes["Slab"] + pages * os.sysconf("SC_PAGE_SIZE")


def ask(url, *words):
    address = url.removeprefix("redis://").split(":")
    return subprocess.run(["redis-cli", "-h", address[0], "-p", address[1], *words], capture_output=True, text=True, check=True).stdout


def commands(url):
    counts = {}
    for line in ask(url, "INFO", "commandstats").splitlines():
        if line.startswith("cmdstat_"):
            name, figures = line.removeprefix("cmdstat_").split(":")
            counts[name.lower()] = int(figures.split(",")[0].removeprefix("calls="))
    return {name: count for name, count in counts.items() if name not in ("info", "config|resetstat")}


@contextlib.contextmanager
def redis(folder):
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def cluster(program, url, count, settings=None):
    env = {
        "PATH": os.environ["PATH"],
        "RELAY_SERVER__BIND": "127.0.0.1:0",
        "RELAY_ADMIN__BIND": "127.0.0.1:0",
        "RELAY_PUBLISH__SECRET": KEY,
        "RELAY_LOG__FORMAT": "json",
        "RELAY_DRAIN__NOTICE_SECONDS": "0",
        "RELAY_DRAIN__SPREAD_SECONDS": "0",
    } | (settings or {})
    if url:
        env["RELAY_REDIS__URL"] = url
    processes = [subprocess.Popen([program, "serve"], env=env, stderr=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        yield [listening(process) for process in processes]
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def listening(process):
    for line in process.stderr:
        event = json.loads(line)
        if event["message"] == "listening":
            return event["public"]
    sys.exit("a node ended before it listened")


if __name__ == "__main__":
    main(sys.argv[1])
