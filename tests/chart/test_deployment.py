"""The Deployment: replicas, drain, probes, spread, settings and what makes pods roll."""

import pytest

from support.chart import NAME, REDIS, merged, render

pytestmark = pytest.mark.needs("helm")


def deployment(values=None, **options):
    return render(values, **options).one("Deployment")


def annotations(values):
    return deployment(values)["spec"]["template"]["metadata"]["annotations"]


def test_there_is_one_node_without_redis_and_three_with_it():
    assert deployment()["spec"]["replicas"] == 1
    assert deployment(REDIS)["spec"]["replicas"] == 3
    assert deployment({"redis": {"inChart": {"enabled": True}}})["spec"]["replicas"] == 3
    assert deployment(merged(REDIS, {"replicaCount": 7}))["spec"]["replicas"] == 7
    assert deployment(merged(REDIS, {"replicaCount": 0}))["spec"]["replicas"] == 0


def test_an_url_from_a_secret_counts_as_redis():
    env = {"name": "RELAY_REDIS__URL", "valueFrom": {"secretKeyRef": {"name": "managed", "key": "url"}}}
    assert deployment({"extraEnv": [env]})["spec"]["replicas"] == 3


def test_the_autoscaler_owns_the_number_of_nodes():
    values = merged(REDIS, {"autoscaling": {"enabled": True}})
    assert "replicas" not in deployment(values)["spec"]


@pytest.mark.parametrize("notice, spread, margin, expected", [(5, 20, 60, 85), (0, 0, 1, 1), (30, 600, 10, 640)])
def test_grace_period_is_notice_and_spread_and_margin(notice, spread, margin, expected):
    drain = {"notice_seconds": notice, "spread_seconds": spread}
    manifests = render({"config": {"drain": drain}, "drainMarginSeconds": margin})
    assert manifests.pod["terminationGracePeriodSeconds"] == expected
    assert manifests.settings["drain"] == drain


def test_probes_ask_the_admin_port():
    container = render().container
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8080, "admin": 9090}
    for probe, path in {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "admin"}


def test_timings_of_a_probe_can_be_set():
    probe = render({"livenessProbe": {"periodSeconds": 30}}).container["livenessProbe"]
    assert probe == {"httpGet": {"path": "/livez", "port": "admin"}, "periodSeconds": 30, "timeoutSeconds": 2, "failureThreshold": 3}


def test_ports_follow_the_listeners():
    manifests = render(cell="load-balancer")
    assert {port["name"]: port["containerPort"] for port in manifests.container["ports"]} == {"http": 8000, "admin": 9000}
    assert manifests.settings["server"]["bind"] == "[::]:8000"
    assert manifests.settings["admin"]["bind"] == "[::]:9000"


def test_nodes_are_spread_over_zones_and_machines_by_revision():
    constraints = render(REDIS).pod["topologySpreadConstraints"]
    assert [item["topologyKey"] for item in constraints] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    labels = deployment(REDIS)["spec"]["template"]["metadata"]["labels"]
    for item in constraints:
        assert item["whenUnsatisfiable"] == "ScheduleAnyway"
        assert item["matchLabelKeys"] == ["pod-template-hash"]
        assert item["labelSelector"]["matchLabels"].items() <= labels.items()


def test_own_spread_constraints_keep_their_selector():
    own = {"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"a": "b"}}}
    (constraint,) = render({"topologySpreadConstraints": [own]}).pod["topologySpreadConstraints"]
    assert constraint == own | {"matchLabelKeys": ["pod-template-hash"], "labelSelector": constraint["labelSelector"]}
    assert constraint["labelSelector"]["matchLabels"]["a"] == "b"


def test_settings_are_rendered_with_their_types():
    values = {
        "config": {
            "server": {"max_connections": 1000000, "allowed_origins": ['https://"quoted".example.com', "https://a&b.example.com"]},
            "rooms": {"replay_window_seconds": 0},
            "partykit": {"exact_status": True},
            "log": {"level": "info,refresh_relay::broker=debug"},
            "websocket": {"subprotocols": []},
        }
    }
    settings = render(values).settings
    assert settings["server"]["max_connections"] == 1000000
    assert settings["server"]["allowed_origins"] == ['https://"quoted".example.com', "https://a&b.example.com"]
    assert settings["rooms"] == {
        "allow": ["*"],
        "max_connections": 0,
        "max_name_bytes": 256,
        "replay_window_seconds": 0,
        "head_ttl_seconds": 2592000,
    }
    assert settings["partykit"] == {"exact_status": True}
    assert settings["log"]["level"] == "info,refresh_relay::broker=debug"
    assert settings["websocket"]["subprotocols"] == []


def test_empty_and_removed_settings_are_left_to_the_program():
    settings = render({"config": {"redis": {"pool_size": None}, "log": None}}).settings
    assert "url" not in settings["redis"]
    assert "username" not in settings["redis"]
    assert "tls" not in settings["redis"]
    assert "pool_size" not in settings["redis"]
    assert "log" not in settings


def test_a_change_of_settings_or_secrets_rolls_the_pods_and_nothing_else_does():
    base = merged(REDIS, {"publish": {"key": "one"}})
    settings = annotations(merged(base, {"config": {"drain": {"spread_seconds": 21}}}))
    secrets = annotations(merged(base, {"publish": {"key": "two"}}))
    assert settings["checksum/config"] != annotations(base)["checksum/config"]
    assert secrets["checksum/secrets"] != annotations(base)["checksum/secrets"]
    unrelated = merged(base, {"replicaCount": 9, "service": {"type": "LoadBalancer"}, "commonAnnotations": {"a": "b"}})
    assert deployment(unrelated)["spec"]["template"] == deployment(base)["spec"]["template"]


def test_a_key_made_by_the_chart_does_not_roll_the_pods_each_time():
    assert deployment(REDIS)["spec"]["template"] == deployment(merged(REDIS, {"revisionHistoryLimit": 4}))["spec"]["template"]


def test_pod_labels_do_not_tell_the_version_of_the_chart():
    labels = deployment(REDIS)["spec"]["template"]["metadata"]["labels"]
    assert "helm.sh/chart" not in labels and "app.kubernetes.io/version" not in labels


def test_the_image_is_the_tag_of_the_chart_or_what_is_asked_for():
    assert render().container["image"].endswith(":0.1.0")
    assert render({"image": {"tag": "1.2.3"}}).container["image"].endswith(":1.2.3")
    digest = "sha256:" + "0" * 64
    assert render({"image": {"tag": "1.2.3", "digest": digest}}).container["image"].endswith(f"relay@{digest}")


def test_names_can_be_replaced():
    assert render(release="refresh-relay").all("Deployment")[0]["metadata"]["name"] == "refresh-relay"
    assert render({"nameOverride": "push"}).all("Deployment")[0]["metadata"]["name"] == "web-push"
    assert render({"fullnameOverride": "push"}).all("Deployment")[0]["metadata"]["name"] == "push"
    longest = render({"fullnameOverride": "x" * 80, "redis": {"inChart": {"enabled": True}}, "networkPolicy": {"enabled": True}})
    assert all(len(item["metadata"]["name"]) <= 63 for item in longest)


def test_extras_reach_the_pod():
    manifests = render(cell="everything-extra")
    pod = manifests.pod
    assert [item["name"] for item in pod["containers"]] == ["relay", "beside"]
    assert [item["name"] for item in pod["initContainers"]] == ["before"]
    assert "more" in [item["name"] for item in pod["volumes"]]
    assert {"name": "more", "mountPath": "/more"} in manifests.container["volumeMounts"]
    assert manifests.env["RELAY_LOG__LEVEL"] == "debug"
    assert manifests.container["envFrom"] == [{"configMapRef": {"name": "more-settings", "optional": True}}]
    assert pod["priorityClassName"] == "important" and pod["runtimeClassName"] == "sandboxed"
    assert pod["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    assert pod["tolerations"] and pod["affinity"] and "topologySpreadConstraints" not in pod
    assert pod["serviceAccountName"] == "relay"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    template = manifests.one("Deployment")["spec"]["template"]["metadata"]
    assert template["labels"]["example.com/tier"] == "edge" and template["labels"]["team"] == "web"
    assert template["annotations"]["example.com/scrape"] == "true"


def test_extra_manifests_are_rendered():
    manifests = render(cell="everything-extra")
    more = next(item for item in manifests.all("ConfigMap") if item["metadata"]["name"] == "web-more")
    assert more["data"]["relay"] == NAME


def test_common_labels_and_annotations_stand_on_every_resource():
    for item in render(cell="everything-extra"):
        if item["metadata"]["name"] in ("web-more", "plain"):
            continue
        assert item["metadata"]["labels"]["team"] == "web", item["kind"]
        assert item["metadata"]["annotations"]["example.com/owner"] == "web", item["kind"]


def test_a_platform_that_assigns_users_can_do_so():
    manifests = render(cell="openshift")
    assert manifests.pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert manifests.pod["serviceAccountName"] == "default"
    assert not manifests.all("ServiceAccount")


def test_the_service_account_has_no_token():
    account = render().one("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
