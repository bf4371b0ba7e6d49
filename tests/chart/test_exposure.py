"""What reaches the nodes, and what they reach: Services, Ingress, HTTPRoute, NetworkPolicies, autoscaler and budget."""

import pytest

from support.chart import NAME, REDIS, merged, render

pytestmark = pytest.mark.needs("helm")


def policy(manifests, suffix):
    return manifests.one("NetworkPolicy", suffix)["spec"]


def ports(rules):
    return [port["port"] for rule in rules for port in rule["ports"]]


def test_the_public_service_leads_to_the_public_port_only():
    spec = render().one("Service")["spec"]
    assert spec["type"] == "ClusterIP"
    assert spec["ports"] == [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}]


def test_gateways_are_told_of_web_sockets():
    assert render(cell="gateway").one("Service")["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/ws"
    assert render(cell="load-balancer").one("Service")["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/wss"


def test_the_admin_service_shows_nodes_that_are_not_ready():
    spec = render().one("Service", "-admin")["spec"]
    assert spec["clusterIP"] == "None" and spec["publishNotReadyAddresses"] is True
    assert [(port["port"], port["targetPort"]) for port in spec["ports"]] == [(9090, "admin")]


def test_a_load_balancer_is_set_as_asked():
    spec = render(cell="load-balancer").one("Service")["spec"]
    assert spec["type"] == "LoadBalancer" and spec["externalTrafficPolicy"] == "Local"
    assert spec["loadBalancerClass"] == "example.com/lb" and spec["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
    assert spec["ports"][0]["nodePort"] == 30443 and spec["ports"][0]["port"] == 443


def test_an_ingress_leads_each_host_to_the_public_service():
    ingress = render(cell="ingress").one("Ingress")
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "3600"
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["relay.example.com", "relay.example.org"]
    for rule in ingress["spec"]["rules"]:
        assert rule["http"]["paths"] == [
            {"path": path, "pathType": "Prefix", "backend": {"service": {"name": NAME, "port": {"name": "http"}}}}
            for path in ("/party", "/parties")
        ]
    assert ingress["spec"]["tls"][0]["secretName"] == "relay-tls"


def test_a_route_leads_to_the_public_service_without_timeouts():
    spec = render(cell="gateway").one("HTTPRoute")["spec"]
    assert spec["parentRefs"] == [{"name": "public", "namespace": "gateways", "sectionName": "https"}]
    assert spec["hostnames"] == ["relay.example.com"]
    (rule,) = spec["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert rule["backendRefs"] == [{"name": NAME, "port": 80}]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert rule["filters"][0]["type"] == "RequestHeaderModifier"


def test_a_gateway_that_knows_no_timeouts_can_be_spared_them():
    route = {"enabled": True, "parentRefs": [{"name": "public"}], "timeouts": {"request": None, "backendRequest": None}}
    (rule,) = render(merged(REDIS, {"httpRoute": route})).one("HTTPRoute")["spec"]["rules"]
    assert "timeouts" not in rule


def test_nothing_is_exposed_unless_asked():
    kinds = {item["kind"] for item in render(REDIS)}
    assert kinds.isdisjoint({"Ingress", "HTTPRoute", "NetworkPolicy", "ServiceMonitor", "PrometheusRule", "HorizontalPodAutoscaler"})


def test_public_admin_and_redis_have_a_policy_each():
    manifests = render(cell="locked-down")
    public, admin, redis = (policy(manifests, suffix) for suffix in ("-public", "-admin", "-redis"))
    assert public["policyTypes"] == ["Ingress"] and ports(public["ingress"]) == ["http"]
    assert public["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "ingress"}
    assert admin["policyTypes"] == ["Ingress"] and ports(admin["ingress"]) == ["admin"]
    assert admin["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert redis["policyTypes"] == ["Egress"] and ports(redis["egress"]) == [53, 53, 6390, 443]
    assert redis["egress"][1]["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]


def test_by_default_the_public_port_is_open_and_the_admin_port_is_for_the_namespace():
    manifests = render(merged(REDIS, {"networkPolicy": {"enabled": True}}))
    assert "from" not in policy(manifests, "-public")["ingress"][0]
    assert policy(manifests, "-admin")["ingress"][0]["from"] == [{"podSelector": {}}]


@pytest.mark.parametrize(
    "redis, expected",
    [
        ({"url": "redis://redis.example.com"}, [6379]),
        ({"url": "rediss://redis.example.com:6380/3"}, [6380]),
        ({"url": "redis://[2001:db8::1]:6390"}, [6390]),
        ({"url": "redis://[2001:db8::1]"}, [6379]),
        ({"url": "redis+unix:///run/redis.sock"}, []),
        ({"mode": "sentinel", "urls": ["redis://a:26379", "redis://b"]}, [26379, 6379]),
        ({"mode": "sentinel", "urls": ["redis://a:5000"]}, [5000, 6379]),
        ({"mode": "cluster", "urls": ["redis://a:7000", "redis://b:7001", "redis://c:7000"]}, [7000, 7001]),
    ],
)
def test_egress_is_open_for_the_ports_in_the_urls(redis, expected):
    manifests = render({"config": {"redis": redis}, "networkPolicy": {"enabled": True}})
    assert ports(policy(manifests, "-redis")["egress"]) == [53, 53, *expected]


def test_ports_of_redis_can_be_named():
    values = merged(REDIS, {"networkPolicy": {"enabled": True, "redis": {"ports": [16379]}}})
    assert ports(policy(render(values), "-redis")["egress"]) == [53, 53, 16379]


def test_the_redis_in_the_chart_hears_the_relay_only():
    manifests = render(cell="redis-in-chart")
    server = policy(manifests, "-redis-server")
    assert server["policyTypes"] == ["Ingress", "Egress"] and server["egress"] == []
    (peer,) = server["ingress"][0]["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "relay"
    (_, to_redis) = policy(manifests, "-redis")["egress"]
    assert to_redis["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "redis"


def test_the_autoscaler_goes_up_at_once_and_down_slowly():
    spec = render(cell="autoscaling").one("HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (4, 40)
    assert spec["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
        {"type": "Pods", "pods": {"metric": {"name": "relay_connections"}, "target": {"type": "AverageValue", "averageValue": "20000"}}},
    ]
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert spec["behavior"]["scaleDown"] == {
        "stabilizationWindowSeconds": 900,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}],
    }


def test_the_autoscaler_can_go_by_one_metric():
    def metrics(**targets):
        values = merged(REDIS, {"autoscaling": {"enabled": True, **targets}})
        return [item["type"] for item in render(values).one("HorizontalPodAutoscaler")["spec"]["metrics"]]

    assert metrics() == ["Resource"]
    assert metrics(targetCPUUtilizationPercentage=0, targetConnectionsPerPod=5000) == ["Pods"]


def test_the_budget_lets_one_node_go_at_a_time():
    spec = render(REDIS).one("PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1 and spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert render(cell="load-balancer").one("PodDisruptionBudget")["spec"]["maxUnavailable"] == "20%"
    assert not render(merged(REDIS, {"podDisruptionBudget": {"enabled": False}})).all("PodDisruptionBudget")
