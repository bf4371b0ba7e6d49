"""nginx and HAProxy as child processes, on the very settings that users are given."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from harness.cluster import address
from support.relay import wait_until

ROOT = Path(__file__).resolve().parents[3]
NGINX_CONF = ROOT / "deploy" / "compose" / "nginx.conf"
PAGE = ROOT / "deploy" / "load-balancers.md"


def replaced(text, pattern, by):
    """Every match replaced; a pattern that matches nothing is a mistake here."""
    text, count = re.subn(pattern, by, text, flags=re.MULTILINE)
    assert count, f"nothing matches {pattern}"
    return text


def nginx_settings(listen, members, folder, idle):
    """docker compose's nginx.conf with names, port, paths and the idle timeout exchanged."""
    text = NGINX_CONF.read_text()
    text = replaced(text, r"^ *resolver .*\n", "")
    text = replaced(text, r"^ *server relay-[23]:8080 .*\n", "")
    servers = lambda match: "".join(f"    server {member.public}{match[1]}\n" for member in members)
    text = replaced(text, r"^ *server relay-1:8080 resolve(.*)\n", servers)
    text = replaced(text, r"\blisten 8080\b", f"listen {listen}")
    text = replaced(text, r"/tmp/", f"{folder}/")
    return replaced(text, r"(proxy_(?:read|send)_timeout) 75s;", rf"\1 {idle};")


def haproxy_settings(listen, members, folder, idle):
    """The page's settings for HAProxy with addresses and the idle timeout exchanged."""
    (text,) = blocks("haproxy")
    # It asks for that many files, which not every machine allows.
    text = replaced(text, r"\bmaxconn 20000\b", "maxconn 2000")
    text = replaced(text, r"^ *server relay-[23] .*\n", "")
    servers = lambda match: "".join(
        f"    server relay-{number} {member.public}{match[1]} port 9090{match[2]}\n" for number, member in enumerate(members)
    )
    text = replaced(text, r"^ *server relay-1 relay-1:8080(.*) port 9090(.*)\n", servers)
    text = replaced(text, r"\bbind :8080\b", f"bind {listen}")
    return replaced(text, r"(timeout (?:client|server|tunnel)) +75s", rf"\1 {idle}")


def blocks(language):
    """The page's code blocks in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


def nginx_command(file, folder):
    # As root it would otherwise give its folders away to a user that may not reach them.
    user = "user root; " if os.geteuid() == 0 else ""
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(file), "-g", f"daemon off; {user}"]


def haproxy_command(file, folder):
    return ["haproxy", "-db", "-f", str(file)]


PROXIES = {"nginx": (nginx_settings, nginx_command), "haproxy": (haproxy_settings, haproxy_command)}


@contextlib.contextmanager
def proxy(name, members, idle="75s"):
    """The proxy in front of these nodes; yields its address."""
    settings, command = PROXIES[name]
    with tempfile.TemporaryDirectory() as folder:
        listen = address()
        file = Path(folder) / "settings"
        file.write_text(settings(listen, members, folder, idle))
        arguments = command(file, folder)
        arguments[0] = shutil.which(arguments[0])
        log_file = Path(folder) / "log"
        with open(log_file, "w") as log:
            process = subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(lambda: process.poll() is not None or accepts(listen), f"{name} accepts connections")
            assert process.poll() is None, log_file.read_text()
            yield listen
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                # Its workers too, which have the same group.
                os.killpg(process.pid, 9)
                process.wait(timeout=10)


def accepts(listen):
    host, port = listen.rsplit(":", 1)
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False
