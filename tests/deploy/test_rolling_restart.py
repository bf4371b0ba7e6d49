"""All nodes are restarted, one after the other, under clients that reconnect as partysocket does and a publish a second."""

import asyncio
import contextlib
from collections import Counter

import pytest

from harness.clients import Party, until
from harness.cluster import cluster, publish
from harness.proxies import proxy

DRAIN = {"RELAY_DRAIN__NOTICE_SECONDS": "1", "RELAY_DRAIN__SPREAD_SECONDS": "4"}
# A room for each moment at which its last publication is made: the clients that are away just then must hear of it too.
MOMENTS = [f"{moment}-{number}" for number in (1, 2, 3) for moment in ("noticed", "closing", "closed", "gone")]


class Publisher:
    """Publishes to every room each second, until the room has had its last publication."""

    def __init__(self, host, rooms):
        self.host = host
        self.open = list(rooms)
        self.last = {}
        self.statuses = Counter()
        self.revision = 0

    async def publish(self, room):
        self.revision += 1
        revision = str(self.revision)
        status, answer = await asyncio.to_thread(publish, self.host, room, revision)
        self.statuses[status] += 1
        assert status in (200, 202), f"{room}: {status} {answer}"
        self.last[room] = revision

    async def publish_last(self, room):
        self.open.remove(room)
        await self.publish(room)

    async def run(self):
        while True:
            await asyncio.gather(*(self.publish(room) for room in list(self.open)), asyncio.sleep(1))


async def restart(number, member, publisher):
    """One node goes and comes back; a room has its last publication at each step."""
    connected = member.connections()
    member.leave()
    await publisher.publish_last(f"noticed-{number}")
    await until(lambda: member.gone() or member.connections() < 0.7 * connected, "sockets are being closed")
    await publisher.publish_last(f"closing-{number}")
    await until(lambda: member.gone() or member.connections() < 0.1 * connected, "most sockets are closed")
    await publisher.publish_last(f"closed-{number}")
    await until(member.gone, "the node is gone", seconds=60)
    await publisher.publish_last(f"gone-{number}")
    assert member.node.process.returncode == 0
    await asyncio.to_thread(member.start)


async def roll(host, members, count):
    clients = [Party(host, MOMENTS[index % len(MOMENTS)]) for index in range(count)]
    publisher = Publisher(host, MOMENTS)
    try:
        await until(lambda: all(client.is_open for client in clients), "every client is connected", seconds=60)
        publishing = asyncio.create_task(publisher.run())
        for number, member in enumerate(members, 1):
            await restart(number, member, publisher)
            await until(lambda: all(client.is_open for client in clients), "every client is back", seconds=60)
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
        assert set(publisher.last) == set(MOMENTS)
        await until(
            lambda: all(client.last() == publisher.last[client.room] for client in clients),
            "every client has the last publication of its room",
            seconds=60,
        )
        return clients, publisher
    finally:
        await asyncio.gather(*(client.stop() for client in clients))


@pytest.mark.needs("refresh-relay", "redis-server", "nginx")
def test_a_rolling_restart_behind_nginx_costs_no_client_the_last_publication_and_ends_no_socket_without_a_close_frame(pytestconfig):
    count = pytestconfig.getoption("--clients")
    with cluster(3, DRAIN) as members, proxy("nginx", members) as host:
        clients, publisher = asyncio.run(roll(host, members, count))
    closes = Counter(code for client in clients for code in client.closes)
    failures = Counter(failure for client in clients for failure in client.failures)
    print(f"{count} clients: closes {dict(closes)}, failed handshakes {dict(failures)}, publishes {dict(publisher.statuses)}")
    assert set(closes) == {1012}, closes
    # Whoever was on the node that left was told so, and each node was one that left.
    assert closes[1012] >= count
    assert not failures, failures
