"""The slopes in deploy/sizing.md: what a node and a publish ask of Redis, and what the kernel holds for a socket.

    python3 tests/bench/slopes.py target/release/refresh-relay
"""

import contextlib
import json
import os
import signal
import socket
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
            with redis(folder) as url, cluster(program, {"RELAY_REDIS__URL": url}, nodes) as running:
                redis_load(url, [public for public, _ in running])
        for wire in ("direct", "actix-ws"):
            with cluster(program, {"RELAY_WEBSOCKET__WIRE": wire, "RELAY_SERVER__WORKERS": "2"}, 1) as running:
                kernel_share(program, running[0], key_file, wire)


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


def kernel_share(program, node, key_file, wire):
    public, pid = node
    before = kernel_memory()
    command = [program, "bench", "idle", "--url", f"http://{public}", "--key-file", key_file, "--server-pid", str(pid)]
    command += ["--connections", str(SOCKETS), "--duration", "10"]
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
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def cluster(program, settings, count):
    env = {
        "PATH": os.environ["PATH"],
        "RELAY_SERVER__BIND": "127.0.0.1:0",
        "RELAY_ADMIN__BIND": "127.0.0.1:0",
        "RELAY_PUBLISH__SECRET": KEY,
        "RELAY_LOG__FORMAT": "json",
        "RELAY_DRAIN__NOTICE_SECONDS": "0",
        "RELAY_DRAIN__SPREAD_SECONDS": "0",
    } | settings
    processes = [subprocess.Popen([program, "serve"], env=env, stderr=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        yield [(listening(process), process.pid) for process in processes]
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
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
