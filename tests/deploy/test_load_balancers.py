"""nginx and HAProxy, with the settings that users are given, in front of real nodes."""

import asyncio
import json

import pytest
import websockets
import yaml

from harness import proxies
from harness.clients import Party, code_of, connect, until
from harness.cluster import cluster, cluster_and_broker, publish

PROXIES = [pytest.param(name, marks=pytest.mark.needs("refresh-relay", "redis-server", name)) for name in ("nginx", "haproxy")]
behind = pytest.mark.parametrize("name", PROXIES)

# Clients come from other loopback addresses than the proxy does, which has this one.
PROXY = "127.0.0.1/32"
ALICE, BOB = "127.0.1.1", "127.0.1.2"


@behind
def test_an_idle_socket_outlasts_the_idle_timeout_by_our_pings(name):
    async def stay(host):
        async with connect(host, "idle") as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 7)
            await asyncio.to_thread(publish, host, "idle")
            assert await asyncio.wait_for(socket.recv(), 10) == '{"type":"refresh"}'

    with cluster(1, {"RELAY_WEBSOCKET__PING_INTERVAL_SECONDS": "1"}) as members, proxies.proxy(name, members, idle="3s") as host:
        asyncio.run(stay(host))


@behind
def test_without_pings_the_idle_timeout_does_end_a_socket(name):
    """So the test above shows something."""

    async def be_cut(host):
        async with connect(host, "idle") as socket:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 20)
            assert code_of(closed.value) == 1006

    with cluster(1, {"RELAY_WEBSOCKET__PING_INTERVAL_SECONDS": "60"}) as members, proxies.proxy(name, members, idle="3s") as host:
        asyncio.run(be_cut(host))


@behind
def test_a_drain_of_one_of_two_nodes_loses_nobody(name):
    async def drain(host, leaving, staying):
        clients = [Party(host, "drained") for _ in range(12)]
        try:
            await until(lambda: all(client.is_open for client in clients), "every client is connected")
            # Least connections: both have some.
            assert leaving.connections() == staying.connections() == 6
            leaving.leave()
            closes = lambda: [code for client in clients for code in client.closes]
            assert (await asyncio.to_thread(publish, host, "drained", "noticed"))[0] == 200
            await until(lambda: all(client.last() == "noticed" for client in clients), "the node that leaves still delivers")
            await until(closes, "the first socket is closed")
            assert (await asyncio.to_thread(publish, host, "drained", "closing"))[0] == 200
            await until(lambda: len(closes()) == 6, "all its sockets are closed")
            # Somebody is away just now, and this is the last publication.
            assert not all(client.is_open for client in clients)
            assert (await asyncio.to_thread(publish, host, "drained", "last"))[0] == 200
            await until(lambda: all(client.last() == "last" for client in clients), "every client has the last publication")
            assert closes() == [1012] * 6
            assert not [client.failures for client in clients if client.failures]
            assert staying.connections() == 12
            await until(leaving.gone, "the node is gone")
        finally:
            await asyncio.gather(*(client.stop() for client in clients))

    settings = {"RELAY_DRAIN__NOTICE_SECONDS": "3", "RELAY_DRAIN__SPREAD_SECONDS": "2"}
    with cluster(2, settings) as members, proxies.proxy(name, members) as host:
        asyncio.run(drain(host, *members))


async def refused(host, source, headers=None):
    """The status of a handshake that is refused."""
    with pytest.raises(websockets.InvalidStatus) as refusal:
        async with connect(host, "limited", source=source, headers=headers):
            pass
    return refusal.value.response.status_code


@behind
def test_the_limit_per_address_hits_the_client_and_not_the_proxy(name):
    async def fill(host):
        async with connect(host, "limited", source=ALICE), connect(host, "limited", source=ALICE):
            assert await refused(host, ALICE) == 429
            # Who claims to be somebody else, or to have come by way of the proxy, is still the same client.
            for claimed in ("203.0.113.9", "203.0.113.9, 127.0.0.1", "127.0.0.1"):
                assert await refused(host, ALICE, {"X-Forwarded-For": claimed}) == 429
            async with connect(host, "limited", source=BOB):
                pass

    settings = {"RELAY_SERVER__MAX_CONNECTIONS_PER_IP": "2", "RELAY_SERVER__TRUSTED_PROXIES": PROXY}
    with cluster(1, settings) as members, proxies.proxy(name, members) as host:
        asyncio.run(fill(host))


@behind
def test_without_trusting_the_proxy_all_clients_share_its_limit(name):
    async def fill(host):
        async with connect(host, "limited", source=ALICE), connect(host, "limited", source=ALICE):
            assert await refused(host, BOB) == 429

    with cluster(1, {"RELAY_SERVER__MAX_CONNECTIONS_PER_IP": "2"}) as members, proxies.proxy(name, members) as host:
        asyncio.run(fill(host))


@behind
def test_a_node_that_is_gone_costs_neither_a_socket_nor_a_publish(name):
    async def go_on(host, dead):
        dead.node.stop()
        for _ in range(6):
            async with connect(host, "one-dead") as socket:
                status, answer = await asyncio.to_thread(publish, host, "one-dead")
                assert status in (200, 202), answer
                assert json.loads(await asyncio.wait_for(socket.recv(), 10))["type"] == "refresh"

    with cluster(2) as members, proxies.proxy(name, members) as host:
        asyncio.run(go_on(host, members[0]))


@behind
def test_publishes_that_fail_do_not_close_the_way_for_sockets(name):
    async def go_on(host, member, broker):
        broker.kill()
        await until(lambda: publish(member.public, "away")[0] == 503, "publishes are answered 503")
        for _ in range(8):
            status, _ = await asyncio.to_thread(publish, host, "away")
            assert status == 503
        for _ in range(4):
            async with connect(host, "away"):
                pass

    with cluster_and_broker(2) as (members, broker), proxies.proxy(name, members) as host:
        asyncio.run(go_on(host, members[0], broker))


def test_the_settings_for_envoy_and_traefik_are_yaml():
    blocks = [yaml.safe_load(text) for text in proxies.blocks("yaml")]
    assert [sorted(block) for block in blocks] == [
        ["clusters"],
        ["route_config", "stream_idle_timeout", "upgrade_configs", "use_remote_address"],
        ["http"],
    ]
