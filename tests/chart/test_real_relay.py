"""What the chart hands to the relay, handed to the real one: settings file, secrets, probes, and the test's round trip."""

import json
import os
import signal
import subprocess

import pytest
import yaml

from support.chart import CELLS, CHART, render, tomllib
from support.relay import KEY, node, program, wait_until

pytestmark = pytest.mark.needs("helm", "refresh-relay")
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SECRETS = "/run/secrets/refresh-relay"


def mounted(manifests, folder):
    """Settings file and secrets as the pod has them, below `folder`; the environment that names them."""
    for path in manifests.secret_files:
        (folder / path).write_text(KEY + "\n")
    if "tls.crt" in manifests.secret_files:
        make_certificate(folder)
    (folder / "config.toml").write_text(manifests.one("ConfigMap")["data"]["config.toml"].replace(SECRETS, str(folder)))
    env = {name: value.replace(SECRETS, str(folder)) for name, value in manifests.env.items() if value}
    return env | {"RELAY_CONFIG": str(folder / "config.toml")}


def make_certificate(folder):
    """One that is its own authority, in the files of the chart's volume."""
    arguments = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    files = ["-keyout", folder / "tls.key", "-out", folder / "tls.crt"]
    subprocess.run(["openssl", *arguments, *names, *files], check=True, capture_output=True)


def run(*arguments, env=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    return subprocess.run([program(), *arguments], env=clean | (env or {}), capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("cell", CELLS)
def test_the_relay_accepts_the_settings_of_every_cell(cell, tmp_path):
    manifests = render(cell=cell)
    result = run("check-config", env=mounted(manifests, tmp_path))
    assert result.returncode == 0, result.stderr
    in_force, wanted = tomllib().loads(result.stdout), tomllib().loads((tmp_path / "config.toml").read_text())
    for section, settings in wanted.items():
        for key, value in settings.items():
            if f"RELAY_{section}__{key}".upper() not in manifests.env:
                assert in_force[section][key] == value, f"{section}.{key}"


def test_the_relay_takes_keys_from_a_secret_that_a_setting_names(tmp_path):
    manifests = render({"settingsFromSecrets": {"publish.keys_file": {"secret": "relay-keys", "key": "keys.toml"}}})
    env = mounted(manifests, tmp_path)
    entry = run("gen-key", "--id", "ci", "--secret-file", str(tmp_path / "secret")).stdout
    (tmp_path / "publish.keys_file").write_text(entry)
    with node(env=env) as pod:
        secret = (tmp_path / "secret").read_text().strip()
        publishers = (answer.get("published_by") for _, answer in iter(lambda: pod.publish("room", secret), None))
        wait_until(lambda: next(publishers) == "ci", "a publish with the key of the file")


def set_in(value):
    """Of a table, what has a value: an empty text leaves a setting out."""
    return {name: inner for name, inner in value.items() if inner != ""} if isinstance(value, dict) else value


def test_values_hold_every_setting_with_the_default_of_the_relay():
    defaults = tomllib().loads(run("check-config").stdout)
    for section, settings in defaults.items():
        for key, value in settings.items():
            assert key in VALUES["config"][section], f"config.{section}.{key} is missing in values.yaml"
            if (section, key) != ("admin", "bind"):
                assert set_in(VALUES["config"][section][key]) == value, f"config.{section}.{key}"


def test_a_pod_becomes_ready_and_ends_within_its_grace_period(tmp_path):
    manifests = render({"publish": {"key": KEY}, "config": {"drain": {"notice_seconds": 0, "spread_seconds": 1}}, "drainMarginSeconds": 10})
    with node(env=mounted(manifests, tmp_path)) as pod:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            pod.get(manifests.container[probe]["httpGet"]["path"])
        stream = pod.connect("room")
        pod.process.send_signal(signal.SIGTERM)
        assert pod.process.wait(timeout=manifests.pod["terminationGracePeriodSeconds"]) == 0
        assert stream.recv(100).startswith(b"\x88"), "closed without a close frame"


def round_trip(pod, folder, key=KEY):
    """`helm test` as its pod runs it, but for the addresses and the key's file."""
    manifests = render({"publish": {"key": KEY}, "test": {"timeoutSeconds": 5}})
    (folder / "key").write_text(key + "\n")
    arguments = manifests.one("Pod", "-test")["spec"]["containers"][0]["args"]
    arguments = [text.replace("web-refresh-relay:80", pod.public).replace(f"{SECRETS}/publish-key", str(folder / "key")) for text in arguments]
    return run(*arguments)


def test_the_test_pod_passes_against_a_node(tmp_path):
    with node(env={"RELAY_PUBLISH__SECRET": KEY}) as pod:
        result = round_trip(pod, tmp_path)
        assert result.returncode == 0, result.stderr
        samples = pod.get("/metrics")
        assert 'relay_publishes_total{api="v1",result="ok"} 1' in samples
        assert 'relay_deliveries_total{outcome="sent"} 1' in samples


def test_the_test_pod_passes_under_tls(tmp_path):
    pod_of = render({"publish": {"key": KEY}, "test": {"timeoutSeconds": 5}}, cell="tls")
    with node(env=mounted(pod_of, tmp_path)) as pod:
        arguments = pod_of.one("Pod", "-test")["spec"]["containers"][0]["args"]
        (tmp_path / "ca.crt").write_text((tmp_path / "tls.crt").read_text())
        arguments = [text.replace("relay.example.com:443", pod.public).replace(SECRETS, str(tmp_path)) for text in arguments]
        result = run(*arguments)
        assert result.returncode == 0, result.stderr
        assert 'relay_deliveries_total{outcome="sent"} 1' in pod.get("/metrics")


def test_the_test_pod_fails_with_a_wrong_key(tmp_path):
    with node(env={"RELAY_PUBLISH__SECRET": KEY}) as pod:
        result = round_trip(pod, tmp_path, key="another key")
        assert result.returncode == 1, result.stderr


def test_the_test_pod_fails_without_a_node(tmp_path):
    with node(env={"RELAY_PUBLISH__SECRET": KEY}) as pod:
        pod.stop()
        result = round_trip(pod, tmp_path)
        assert result.returncode == 1, result.stderr


def test_a_key_that_the_chart_makes_is_accepted(tmp_path):
    manifests = render()
    with node(env=mounted(manifests, tmp_path)) as pod:
        assert json.loads(pod.get("/status"))["phase"] == "serving"
        assert pod.publish("room")[0] == 200
