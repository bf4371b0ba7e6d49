"""`helm install` as far as it goes without a cluster: the notes, and the key that is kept on an upgrade."""

import base64
import subprocess

import pytest
import yaml

from support.chart import CELLS, CHART, MATRIX, NAME, RELEASE, helm, parse, template
from support.cluster import cluster

pytestmark = pytest.mark.needs("helm")


def notes(cell=None, values=None, folder=None):
    """What `helm install` would print at its end."""
    files = [MATRIX / f"{cell}.yaml"] if cell else []
    if values:
        files.append(folder / "values.yaml")
        files[-1].write_text(yaml.safe_dump(values))
    with cluster() as api:
        arguments = ["--namespace", "relay", "--kube-apiserver", api, "--dry-run=client", "--disable-openapi-validation"]
        for file in files:
            arguments += ["--values", file]
        result = helm("install", RELEASE, CHART, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.partition("NOTES:")[2]


def secret_on_upgrade(kept, values):
    """The chart's Secret as it is rendered beside one that is already there."""
    with cluster([("relay", NAME, kept)]) as api:
        result = template(values, extra=["--dry-run=server", "--kube-apiserver", api])
    assert result.returncode == 0, result.stderr
    data = parse(result.stdout).one("Secret")["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


@pytest.mark.parametrize("cell", CELLS)
def test_the_notes_are_shell_that_parses(cell):
    commands = [line for line in notes(cell).splitlines() if line.startswith("  ")]
    assert len(commands) >= 4
    result = subprocess.run(["bash", "-n"], input="\n".join(commands), text=True, capture_output=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "cell, host, url",
    [
        ("minimal", "  HOST=127.0.0.1:8080", "http://$HOST/v1/rooms/featurevisor/refresh"),
        ("ingress", "  HOST=relay.example.com", "https://$HOST/v1/rooms/featurevisor/refresh"),
        ("gateway", "  HOST=relay.example.com", "https://$HOST/v1/rooms/featurevisor/refresh"),
        ("tls", "  HOST=127.0.0.1:8080", "https://$HOST/v1/rooms/featurevisor/refresh"),
        ("load-balancer", ":443", "http://$HOST/v1/rooms/featurevisor/refresh"),
    ],
)
def test_the_notes_print_the_right_curl(cell, host, url):
    text = notes(cell)
    assert host in text
    (curl,) = [line for line in text.splitlines() if line.startswith("  curl ")]
    assert curl.endswith(f'--header "Authorization: Bearer $KEY" "{url}"')
    scheme = "wss" if url.startswith("https") else "ws"
    assert f"{scheme}://$HOST/party/featurevisor" in text


def test_the_notes_read_the_key_from_the_secret_that_holds_it():
    assert f"get secret {NAME} -o go-template='{{{{index .data \"publish-key\" | base64decode}}}}'" in notes()
    assert "get secret relay-publish -o go-template='{{index .data \"key\" | base64decode}}'" in notes("redis-existing-secrets")


def test_the_notes_find_a_node_port(tmp_path):
    assert "{.spec.ports[0].nodePort}" in notes(values={"service": {"type": "NodePort"}}, folder=tmp_path)


def test_the_notes_ask_for_the_name_in_the_certificate():
    assert "put that name into HOST" in notes("tls")
    assert "put that name into HOST" not in notes("ingress")


def test_the_notes_say_what_is_for_trials():
    assert "one node on the memory broker" in notes()
    assert "in-chart Redis is for trials" in notes("redis-in-chart")
    assert "NOTE" not in notes("redis-standalone")


def test_keys_made_by_the_chart_are_kept_on_an_upgrade():
    kept = {"publish-key": "the-key-of-the-first-install", "redis-password": "the-password-of-then"}
    assert secret_on_upgrade(kept, {"redis": {"inChart": {"enabled": True}}}) == kept


def test_a_new_key_replaces_the_kept_one():
    kept = {"publish-key": "the-old-key"}
    assert secret_on_upgrade(kept, {"publish": {"key": "the-new-key"}}) == {"publish-key": "the-new-key"}


def test_the_packaged_chart_is_complete(tmp_path):
    assert helm("package", CHART, "--destination", tmp_path).returncode == 0
    packaged = helm("template", RELEASE, tmp_path / "refresh-relay-0.1.0.tgz", "--values", MATRIX / "observability.yaml", "--set", "publish.key=k")
    in_place = helm("template", RELEASE, CHART, "--values", MATRIX / "observability.yaml", "--set", "publish.key=k")
    assert packaged.returncode == 0, packaged.stderr
    assert packaged.stdout == in_place.stdout
    assert "RefreshRelayLinkDown" in packaged.stdout and "refresh-relay.json" in packaged.stdout
