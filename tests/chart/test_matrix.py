"""Every cell of the matrix: well-formed, accepted by an old and a new Kubernetes, and true to what the chart always promises."""

import re

import pytest

from support.chart import CELLS, CHART, MATRIX, NEW, OLD, helm, render
from support.kubernetes import problems

pytestmark = pytest.mark.needs("helm")
SECRETS = ("a-publish-key-for-tests", "a-password-for-tests", "another-password-for-tests")


@pytest.fixture(params=CELLS)
def cell(request):
    return request.param


def pods(manifests):
    """Every pod specification with the name of what makes it."""
    for item in manifests:
        if item["kind"] == "Pod":
            yield item["metadata"]["name"], item["spec"]
        elif item["kind"] in ("Deployment", "StatefulSet"):
            yield item["metadata"]["name"], item["spec"]["template"]["spec"]


def test_lints_strictly(cell):
    result = helm("lint", "--strict", CHART, "--values", MATRIX / f"{cell}.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "[WARNING]" not in result.stdout + result.stderr


@pytest.mark.parametrize("version", [OLD, NEW])
def test_is_valid_for_an_old_and_a_new_kubernetes(cell, version):
    found = {}
    for item in render(cell=cell, version=version):
        wrong = problems(item, version)
        if wrong:
            found[item["kind"] + "/" + item["metadata"]["name"]] = wrong
    assert not found


def test_each_resource_is_named_and_labelled_once(cell):
    manifests = render(cell=cell)
    assert len(set(manifests.names())) == len(manifests)
    for item in manifests:
        if "helm.sh/chart" not in item["metadata"].get("labels", {}):
            assert cell == "everything-extra" and item["metadata"]["name"] in ("web-more", "plain")
            continue
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "refresh-relay"
        assert labels["app.kubernetes.io/instance"] == "web"
        assert labels["app.kubernetes.io/version"] == "0.1.0"
        assert item["metadata"]["namespace"] == "relay"
        assert len(item["metadata"]["name"]) <= 63


def test_services_policies_and_budgets_select_the_pods(cell):
    manifests = render(cell=cell)
    labelled = {
        item["metadata"]["name"]: item["spec"]["template"]["metadata"]["labels"]
        for item in manifests
        if item["kind"] in ("Deployment", "StatefulSet")
    }
    for item in manifests:
        spec = item.get("spec", {})
        selector = spec.get("selector") if item["kind"] == "Service" else None
        if item["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            selector = spec["selector"]["matchLabels"]
        if item["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        if selector is None:
            continue
        selected = [name for name, labels in labelled.items() if selector.items() <= labels.items()]
        component = item["metadata"]["labels"]["app.kubernetes.io/component"]
        assert len(selected) == 1, f"{item['kind']} {item['metadata']['name']} selects {selected}"
        assert selected[0].endswith("-redis") == (component == "redis")


def test_pods_meet_the_restricted_standard(cell):
    for name, spec in pods(render(cell=cell)):
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            if container["name"] == "beside":
                continue
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"], name


def test_secrets_stand_in_secrets_only(cell):
    for item in render(cell=cell):
        if item["kind"] == "Secret":
            continue
        text = str(item)
        assert not any(secret in text for secret in SECRETS), item["kind"]
        assert not re.search(r"password\s*=|secret\s*=", text), item["kind"]


def test_secrets_that_are_mounted_are_made_or_named_by_the_user(cell):
    manifests = render(cell=cell)
    made = {(item["metadata"]["name"], key) for item in manifests.all("Secret") for key in item["data"]}
    for name, key in manifests.secret_files.values():
        assert (name, key) in made or name in ("relay-publish", "relay-redis", "relay-redis-tls", "relay-tls")


def test_environment_names_only_files_that_are_mounted(cell):
    manifests = render(cell=cell)
    mounts = {mount["name"]: mount for mount in manifests.container["volumeMounts"]}
    assert mounts["config"]["readOnly"] and mounts["secrets"]["readOnly"]
    assert manifests.env["RELAY_CONFIG"] == mounts["config"]["mountPath"] + "/config.toml"
    named = {value for name, value in manifests.env.items() if name.endswith("_FILE")}
    for section in ("redis", "server"):
        named |= {value for name, value in manifests.settings[section].get("tls", {}).items() if name.endswith("_file")}
    mounted = {mounts["secrets"]["mountPath"] + "/" + path for path in manifests.secret_files}
    assert named == mounted


def test_grace_period_covers_the_drain(cell):
    manifests = render(cell=cell)
    drain = manifests.settings["drain"]
    assert manifests.pod["terminationGracePeriodSeconds"] == drain["notice_seconds"] + drain["spread_seconds"] + 60


def test_rollouts_never_lack_a_node(cell):
    strategy = render(cell=cell).one("Deployment")["spec"]["strategy"]
    assert strategy["type"] == "RollingUpdate"
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0
    assert strategy["rollingUpdate"]["maxSurge"] not in (0, "0%")
