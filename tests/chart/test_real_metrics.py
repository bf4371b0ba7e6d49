"""Rules and dashboard held against real nodes: one on the memory broker, two on Redis, and a real Prometheus."""

import math

import pytest

from support import contract
from support.prometheus import prometheus
from support.relay import KEY, node, redis, scrape, wait_until
from test_dashboard import QUERIES, as_promql
from test_rules import ALERTS

pytestmark = [pytest.mark.needs("refresh-relay", "redis-server"), pytest.mark.xdist_group("real metrics")]


@pytest.fixture(scope="module")
def nodes():
    with redis() as server:
        shared = {"RELAY_REDIS__URL": server.url, "RELAY_PUBLISH__SECRET": KEY}
        with node(env={"RELAY_PUBLISH__SECRET": KEY}) as memory, node(env=shared) as first, node(env=shared) as second:
            wait_until(lambda: all("relay_nodes 2" in each.get("/metrics") for each in (first, second)), "two nodes that know each other")
            yield {"memory": memory, "first": first, "second": second}


@pytest.mark.parametrize("name", ["memory", "first"])
@pytest.mark.parametrize("metric", contract.METRICS)
def test_metrics_of_the_contract_are_exported(nodes, name, metric):
    kind, labels = contract.METRICS[metric]
    samples, kinds = scrape(nodes[name].get("/metrics"))
    if name == "memory" and metric.startswith("relay_redis_") and metric not in kinds:
        return
    assert kinds[metric] == kind
    series = f"{metric}_count" if kind == contract.HISTOGRAM else metric
    found = [found for sample, found, _ in samples if sample == series]
    assert found
    for label, values in labels.items():
        assert all(set(each) == set(labels) for each in found)
        if values is not None:
            assert {each[label] for each in found} == values


@pytest.fixture(scope="module")
def scraped(nodes, tmp_path_factory):
    """A Prometheus that has seen the nodes at work: sockets, and questions and publications between two scrapes."""
    jobs = {"memory": [nodes["memory"].admin], "redis": [nodes["first"].admin, nodes["second"].admin]}
    sockets = [each.connect("room") for each in nodes.values()]
    with prometheus(tmp_path_factory.mktemp("prometheus"), jobs) as running:
        wait_until(lambda: len(running.query("count_over_time(relay_connections[1m]) >= 2")) == 3, "two scrapes of each node")
        for publisher in (nodes["memory"], nodes["first"]):
            for call in (publisher.ask, publisher.publish):
                status, answer = call("room")
                assert status == 200, answer
        wait_until(
            lambda: len(running.query('increase(relay_deliveries_total{outcome="sent"}[1m]) > 0')) == 3,
            "deliveries on each node that Prometheus has seen",
        )
        yield running
    for stream in sockets:
        stream.close()


@pytest.mark.needs("prometheus")
@pytest.mark.parametrize("alert", ALERTS)
def test_alerts_are_quiet_while_all_is_well(scraped, alert):
    assert scraped.query(ALERTS[alert]["expr"]) == []


@pytest.mark.needs("prometheus")
@pytest.mark.parametrize("title, expression", QUERIES, ids=lambda text: text[:40])
def test_panels_show_something(scraped, title, expression):
    result = scraped.query(as_promql(expression))
    assert any(not math.isnan(value) for _, value in result), f"{title} is empty: {result}"


@pytest.mark.needs("prometheus")
def test_alerts_see_a_real_loss_of_redis(tmp_path):
    with redis() as server, node(env={"RELAY_REDIS__URL": server.url, "RELAY_PUBLISH__SECRET": KEY}) as alone:
        wait_until(lambda: "relay_redis_link_up 1" in alone.get("/metrics"), "a link")
        with prometheus(tmp_path, {"redis": [alone.admin]}) as running:
            wait_until(lambda: running.query("relay_redis_link_up == 1 and relay_redis_probe_seconds_count > 0"), "a scraped link")
            assert running.query(ALERTS["RefreshRelayLinkDown"]["expr"]) == []
            server.kill()
            wait_until(lambda: running.query(ALERTS["RefreshRelayLinkDown"]["expr"]), "a link down")
            assert alone.publish("room")[0] == 503
            wait_until(lambda: running.query(ALERTS["RefreshRelayPublishErrors"]["expr"]), "a publish error")
