"""Nodes that share a Redis, each on a loopback address of its own, so that it comes back where it was."""

import contextlib
import json
import random
import signal
import urllib.error
import urllib.request

from support.relay import KEY, Node, redis, wait_until


def address(port=8080):
    """A loopback address that nothing else uses: one of the sixteen million there are."""
    return "127.{}.{}.{}:{}".format(random.randint(1, 250), random.randint(0, 250), random.randint(2, 250), port)


class Member:
    """A place for a node: its addresses stay, its process comes and goes."""

    def __init__(self, settings):
        self.public = address()
        self.admin = self.public.rsplit(":", 1)[0] + ":9090"
        self.settings = settings | {"RELAY_SERVER__BIND": self.public, "RELAY_ADMIN__BIND": self.admin}
        self.node = None

    def start(self):
        self.node = Node(env=self.settings)
        wait_until(self.ready, f"the node at {self.public} is ready")

    def ready(self):
        try:
            return self.node.get("/readyz").startswith("ready")
        except OSError:
            return False

    def connections(self):
        """Its open sockets; none once it has stopped to answer, a moment before its process is gone."""
        try:
            return json.loads(self.node.get("/status"))["connections"]
        except OSError:
            return 0

    def leave(self):
        self.node.process.send_signal(signal.SIGTERM)

    def freeze(self):
        self.node.process.send_signal(signal.SIGSTOP)

    def gone(self):
        return self.node.process.poll() is not None


@contextlib.contextmanager
def cluster(size, settings=None):
    """So many ready nodes."""
    with cluster_and_broker(size, settings) as (members, _):
        yield members


@contextlib.contextmanager
def cluster_and_broker(size, settings=None):
    with redis() as broker, contextlib.ExitStack() as stack:
        members = []
        for _ in range(size):
            member = Member({"RELAY_REDIS__URL": broker.url, "RELAY_PUBLISH__SECRET": KEY} | (settings or {}))
            member.start()
            stack.callback(lambda member=member: member.node.stop())
            members.append(member)
        expect_members(members[0], size)
        yield members, broker


def expect_members(member, size):
    """Waits until the node counts so many nodes, so that a publish asks all of them."""
    wait_until(lambda: len(json.loads(member.node.get("/status"))["nodes"]) == size, f"{size} live nodes")


def publish(host, room, revision=None, wait=None):
    """Publishes at that host; the status and the answer."""
    query = "" if wait is None else f"?wait={wait}"
    request = urllib.request.Request(
        f"http://{host}/v1/rooms/{room}/refresh{query}",
        method="POST",
        headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        data=json.dumps({"revision": str(revision)} if revision is not None else {}).encode(),
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()
