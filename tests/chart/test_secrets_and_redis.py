"""Where keys and passwords come from, and each way to reach Redis."""

import base64

import pytest

from support.chart import NAME, REDIS, render

pytestmark = pytest.mark.needs("helm")
PATH = "/run/secrets/refresh-relay"


def secret(manifests):
    return {key: base64.b64decode(value).decode() for key, value in manifests.one("Secret")["data"].items()}


def test_a_given_key_is_kept_as_it_is():
    key = 'a "key" with $igns & spaces'
    assert secret(render({"publish": {"key": key}})) == {"publish-key": key}


def test_without_a_key_a_strong_one_is_made():
    made = [secret(render({"test": {"timeoutSeconds": seconds}}))["publish-key"] for seconds in (31, 32)]
    assert made[0] != made[1]
    assert all(len(key) == 40 and key.isalnum() for key in made)


def test_a_secret_of_the_user_is_used_and_none_is_made():
    manifests = render(cell="redis-existing-secrets")
    assert not manifests.all("Secret")
    assert manifests.secret_files == {
        "publish-key": ("relay-publish", "key"),
        "redis-password": ("relay-redis", "password"),
    }
    assert manifests.env["RELAY_PUBLISH__SECRET_FILE"] == f"{PATH}/publish-key"
    assert manifests.env["RELAY_REDIS__PASSWORD_FILE"] == f"{PATH}/redis-password"


def test_secret_files_are_readable_by_the_relay_only():
    volume = next(item for item in render().pod["volumes"] if item["name"] == "secrets")
    assert volume["projected"]["defaultMode"] == 0o440
    assert render().pod["securityContext"]["fsGroup"] == render().pod["securityContext"]["runAsGroup"]


@pytest.mark.parametrize(
    "setting",
    ["publish.keys_file", "publish.oidc_file", "subscribers.hs256_secret_file", "subscribers.public_keys_file", "webhooks.file"],
)
def test_a_setting_that_names_a_file_can_come_from_a_secret(setting):
    manifests = render({"settingsFromSecrets": {setting: {"secret": "relay-access", "key": "file"}}})
    assert manifests.secret_files[setting] == ("relay-access", "file")
    assert manifests.env[f"RELAY_{setting.replace('.', '__').upper()}"] == f"{PATH}/{setting}"


def test_standalone_redis_with_user_and_password():
    manifests = render(cell="redis-standalone")
    redis = manifests.settings["redis"]
    assert (redis["mode"], redis["url"], redis["username"]) == ("standalone", "redis://redis.example.com:6379/2", "relay")
    assert secret(manifests) == {"publish-key": "a-publish-key-for-tests", "redis-password": "a-password-for-tests"}
    assert manifests.secret_files["redis-password"] == (NAME, "redis-password")


def test_redis_without_password_names_no_password_file():
    manifests = render(REDIS)
    assert "RELAY_REDIS__PASSWORD_FILE" not in manifests.env
    assert set(manifests.secret_files) == {"publish-key"}


def test_sentinels_have_credentials_of_their_own():
    manifests = render(cell="redis-sentinel")
    redis = manifests.settings["redis"]
    assert redis["mode"] == "sentinel" and len(redis["urls"]) == 3
    assert (redis["sentinel_master"], redis["sentinel_username"]) == ("relay", "watcher")
    assert "url" not in redis
    assert secret(manifests)["redis-sentinel-password"] == "another-password-for-tests"
    assert manifests.env["RELAY_REDIS__SENTINEL_PASSWORD_FILE"] == f"{PATH}/redis-sentinel-password"


def test_sentinel_password_can_come_from_the_users_secret():
    values = {
        "config": {"redis": {"mode": "sentinel", "urls": ["redis://sentinel:26379"]}},
        "redis": {"existingSecret": "mine", "existingSecretSentinelPasswordKey": "watch"},
    }
    assert render(values).secret_files["redis-sentinel-password"] == ("mine", "watch")


def test_a_cluster_is_reached_by_its_seeds():
    redis = render(cell="redis-cluster").settings["redis"]
    assert redis["mode"] == "cluster"
    assert redis["urls"] == ["rediss://cluster-0.example.com:7000", "rediss://cluster-1.example.com:7001"]
    assert redis["tls"] == {"ca_file": f"{PATH}/redis-ca.crt"}


def test_certificates_are_mounted_and_named():
    manifests = render(cell="redis-tls")
    assert manifests.settings["redis"]["tls"] == {
        "ca_file": f"{PATH}/redis-ca.crt",
        "cert_file": f"{PATH}/redis-tls.crt",
        "key_file": f"{PATH}/redis-tls.key",
        "server_name": "redis.internal",
    }
    assert manifests.secret_files["redis-ca.crt"] == ("relay-redis-tls", "ca.crt")
    assert manifests.secret_files["redis-tls.key"] == ("relay-redis-tls", "tls.key")


def test_the_nodes_serve_tls_with_a_secret_of_the_user():
    manifests = render(cell="tls")
    assert manifests.settings["server"]["tls"] == {
        "cert_file": f"{PATH}/tls.crt",
        "key_file": f"{PATH}/tls.key",
        "min_version": "1.3",
        "handshake_timeout_seconds": 5,
    }
    assert manifests.secret_files["tls.crt"] == ("relay-tls", "tls.crt")
    assert manifests.secret_files["tls.key"] == ("relay-tls", "tls.key")
    probes = [manifests.container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert all(probe["port"] == "admin" and probe.get("scheme", "HTTP") == "HTTP" for probe in probes)
    (port,) = manifests.one("Service")["spec"]["ports"]
    assert port["appProtocol"] == "https"
    route = {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}}
    assert render(route, cell="tls").one("Service")["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/wss"


def test_the_test_pod_trusts_the_authority_that_it_is_given():
    pod = render(cell="tls").one("Pod", "-test")["spec"]
    arguments = pod["containers"][0]["args"]
    assert arguments[arguments.index("--url") + 1] == "wss://relay.example.com:443/party/helm-test"
    assert arguments[arguments.index("--publish-url") + 1] == "https://relay.example.com:443"
    assert arguments[arguments.index("--ca-file") + 1] == f"{PATH}/ca.crt"
    (volume,) = pod["volumes"]
    items = {item["path"]: source["secret"]["name"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}
    assert items == {"publish-key": NAME, "ca.crt": "relay-tls"}
    system = render({"tls": {"caKey": ""}}, cell="tls").one("Pod", "-test")["spec"]["containers"][0]["args"]
    assert "--ca-file" not in system


def test_certificates_from_elsewhere_can_be_named_by_path():
    values = {"config": {"redis": {"url": "rediss://redis.example.com", "tls": {"ca_file": "/mine/ca.crt"}}}}
    assert render(values).settings["redis"]["tls"] == {"ca_file": "/mine/ca.crt"}


def test_the_redis_in_the_chart_has_a_password_and_keeps_nothing():
    manifests = render(cell="redis-in-chart")
    assert manifests.settings["redis"]["url"] == f"redis://{NAME}-redis:6379"
    redis = manifests.one("StatefulSet", "-redis")["spec"]
    assert redis["replicas"] == 1 and "volumeClaimTemplates" not in redis
    container = redis["template"]["spec"]["containers"][0]
    reference = container["env"][0]["valueFrom"]["secretKeyRef"]
    assert (reference["name"], reference["key"]) == manifests.secret_files["redis-password"]
    assert container["args"][:2] == ["--requirepass", "$(REDISCLI_AUTH)"]
    assert container["args"][container["args"].index("--appendonly") + 1] == "no"
    service = manifests.one("Service", "-redis")["spec"]
    assert service["ports"][0]["port"] == 6379
    assert len(secret(manifests)["redis-password"]) == 40


def test_the_redis_in_the_chart_can_keep_its_data():
    redis = render(cell="redis-in-chart-persistent").one("StatefulSet", "-redis")["spec"]
    (claim,) = redis["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert claim["spec"]["storageClassName"] == "fast"
    container = redis["template"]["spec"]["containers"][0]
    assert container["args"][container["args"].index("--appendonly") + 1] == "yes"
    assert container["volumeMounts"] == [{"name": claim["metadata"]["name"], "mountPath": "/data"}]


def test_the_redis_in_the_chart_can_use_the_users_secret():
    manifests = render({"redis": {"inChart": {"enabled": True}, "existingSecret": "mine", "existingSecretPasswordKey": "pw"}})
    container = manifests.one("StatefulSet", "-redis")["spec"]["template"]["spec"]["containers"][0]
    assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "mine", "key": "pw"}
    assert manifests.secret_files["redis-password"] == ("mine", "pw")
    assert set(secret(manifests)) == {"publish-key"}


def test_other_redis_means_none_in_the_chart():
    assert not render(REDIS).all("StatefulSet")
    assert [item["metadata"]["name"] for item in render(REDIS).all("Service")] == [f"{NAME}-admin", NAME]
