"""What the peers that run on Node.js have in common: their packages, and a process per core."""

import shutil
from pathlib import Path

from install import run
from place import free_port

from . import Running

SOURCE = Path(__file__).parent.parent / "servers/node"


def install(tools):
    """Node.js looks for packages beside the program, so the servers go with them."""
    folder = tools / "node"
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*SOURCE.glob("*.json"), *SOURCE.glob("*.mjs")):
        shutil.copy(file, folder)
    lock = SOURCE / "package-lock.json"
    installed = folder / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        run(["npm", "ci", "--no-audit", "--no-fund"], "the packages of Node.js", cwd=folder)


def start(place, nodes, server, target, address):
    """`address(port)` gives where to connect and where to publish."""
    redis = f"redis://127.0.0.1:{place.redis()}"
    running = Running([], target)
    for _ in range(nodes):
        port = free_port()
        command = ["node", place.tools / "node" / server, port, redis, place.cpus.workers]
        running.pids.append(place.start(command, says="listening", env={"NODE_ENV": "production"}).pid)
        connect, publish = address(port)
        running.target += ["--ws-url", connect, "--publish-url", publish]
    return running
