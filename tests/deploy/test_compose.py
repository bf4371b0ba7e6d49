"""docker-compose.yml, read as docker compose reads it, and what it mounts."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from support.chart import tomllib

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "deploy" / "compose" / "settings"
NODES = ["relay-1", "relay-2", "relay-3"]
ALWAYS = {"lb", *NODES, "redis", "settings"}
PROFILES = {
    "observability": {"prometheus", "grafana"},
    "sentinel": {"settings-sentinel", "redis-replica-1", "redis-replica-2", "sentinel-1", "sentinel-2", "sentinel-3"},
    "cluster": {"settings-cluster", "redis-cluster-made", *(f"redis-cluster-{number}" for number in range(1, 7))},
    "tls": {"settings-tls", "certificates", "redis-tls"},
}
TOPOLOGIES = [profile for profile in PROFILES if profile != "observability"]
compose_needed = pytest.mark.needs("docker-compose")
relay_needed = pytest.mark.needs("refresh-relay")


def docker_compose(*arguments, env_file=ROOT / ".env.example", profiles=()):
    """The plugin run by itself; it reads nothing from the surroundings and asks no engine."""
    flags = [flag for profile in profiles for flag in ("--profile", profile)]
    return subprocess.run(
        [shutil.which("docker-compose"), "--project-directory", str(ROOT), "--env-file", str(env_file), *flags, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def config(*profiles):
    finished = docker_compose("config", "--format", "json", profiles=profiles)
    assert finished.returncode == 0, finished.stderr
    assert not finished.stderr, finished.stderr
    return json.loads(finished.stdout)


def seconds(text):
    """Of a duration as compose prints it: 40s, 1m30s."""
    minutes, _, rest = text.rpartition("m")
    return 60 * int(minutes or 0) + int(rest.rstrip("s") or 0)


@compose_needed
@pytest.mark.parametrize("profiles", [(), *((profile,) for profile in PROFILES), ("observability", "sentinel")], ids="+".join)
def test_a_profile_adds_its_services(profiles):
    expected = ALWAYS.union(*(PROFILES[profile] for profile in profiles))
    assert set(config(*profiles)["services"]) == expected


@compose_needed
def test_the_example_file_has_all_that_must_be_set_and_its_comments_tell_the_defaults():
    text = (ROOT / ".env.example").read_text()
    with tempfile.TemporaryDirectory() as folder:
        everything = Path(folder) / "env"
        everything.write_text("".join(line.removeprefix("# ") for line in text.splitlines(True) if "=" in line))
        finished = docker_compose("config", "--format", "json", env_file=everything, profiles=["*"])
    assert json.loads(finished.stdout) == config("*")


@compose_needed
@pytest.mark.parametrize("missing", ["RELAY_PUBLISH__SECRET", "REDIS_PASSWORD", "GRAFANA_PASSWORD"])
def test_without_a_secret_nothing_starts(missing, tmp_path):
    lines = [line for line in (ROOT / ".env.example").read_text().splitlines() if not line.startswith(missing)]
    (tmp_path / "env").write_text("\n".join(lines))
    finished = docker_compose("config", env_file=tmp_path / "env")
    assert finished.returncode != 0
    assert missing in finished.stderr and "copy .env.example to .env" in finished.stderr


@compose_needed
def test_one_port_is_open_and_only_to_this_machine():
    services = config("*")["services"]
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(ports) == {"lb", "prometheus", "grafana"}
    assert all(port["host_ip"] == "127.0.0.1" for opened in ports.values() for port in opened)
    assert len({port["published"] for opened in ports.values() for port in opened}) == 3


@compose_needed
def test_redis_is_there_before_the_nodes_and_the_nodes_before_the_load_balancer():
    services = config("*")["services"]
    for node in NODES:
        awaited = {name: needed["condition"] for name, needed in services[node]["depends_on"].items()}
        assert awaited["redis"] == "service_healthy"
        assert all(awaited[f"settings-{topology}"] == "service_completed_successfully" for topology in TOPOLOGIES)
        assert awaited["settings"] == "service_completed_successfully"
        assert services["lb"]["depends_on"][node]["condition"] == "service_healthy"
        assert services[node]["healthcheck"]["test"] == ["CMD", "/usr/local/bin/refresh-relay", "healthcheck"]
    for name, service in services.items():
        awaited = {other: needed["condition"] for other, needed in service.get("depends_on", {}).items()}
        for other, condition in awaited.items():
            if condition == "service_healthy":
                assert "test" in services[other]["healthcheck"], f"{name} waits for {other}, which has no health check"


@compose_needed
def test_what_runs_all_the_time_has_no_rights_it_does_not_need():
    services = config("*")["services"]
    for name in ["lb", *NODES]:
        assert services[name]["read_only"] is True
    for name, service in services.items():
        if service.get("restart") == "unless-stopped" and name not in ("prometheus", "grafana"):
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name


@compose_needed
@relay_needed
def test_a_node_is_given_longer_than_its_drain_takes():
    defaults = tomllib().loads((ROOT / "src" / "config" / "default.toml").read_text())["drain"]
    for node in NODES:
        grace = seconds(config()["services"][node]["stop_grace_period"])
        assert grace >= defaults["notice_seconds"] + defaults["spread_seconds"] + 20


@compose_needed
@relay_needed
@pytest.mark.parametrize("topology", ["standalone", *TOPOLOGIES])
def test_the_program_takes_the_settings_and_the_environment(topology, tmp_path):
    text = (SETTINGS / f"{topology}.toml").read_text()
    if topology == "tls":
        make_certificates(tmp_path)
        text = text.replace('"/tls/', f'"{tmp_path}/')
    (tmp_path / "relay.toml").write_text(text)
    service = config(*([topology] if topology in PROFILES else []))["services"]["relay-1"]
    finished = subprocess.run(
        [os.environ["RELAY_BINARY"], "check-config", "--config", str(tmp_path / "relay.toml")],
        env=service["environment"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert finished.returncode == 0, finished.stderr
    redis = tomllib().loads(finished.stdout)["redis"]
    assert redis["mode"] == (topology if topology in ("sentinel", "cluster") else "standalone")
    # Each server that the settings name is a service of the same profile.
    servers = redis["urls"] or [redis["url"]]
    hosts = {server.split("//")[1].split("@")[-1].split(":")[0] for server in servers}
    assert hosts <= PROFILES.get(topology, set()) | {"redis"}


def choose(topology, folder):
    """The script that picks the settings, with its folders exchanged."""
    script = (SETTINGS / "choose.sh").read_text().replace("/settings/", f"{folder}/").replace("/from/", f"{SETTINGS}/")
    return subprocess.run(["sh", "-c", script, "choose.sh", topology], capture_output=True, text=True, timeout=20)


def test_the_settings_of_one_profile_replace_the_plain_ones_until_the_next_start(tmp_path):
    chosen = tmp_path / "relay.toml"
    for topology in ("standalone", "sentinel"):
        assert choose(topology, tmp_path).returncode == 0
        assert chosen.read_text() == (SETTINGS / f"{topology}.toml").read_text()
    second = choose("cluster", tmp_path)
    assert second.returncode == 1 and "not two" in second.stderr
    # compose only warns of an optional service that failed: without settings, no node starts.
    assert not chosen.exists()
    assert choose("standalone", tmp_path).returncode == 0
    assert chosen.read_text() == (SETTINGS / "standalone.toml").read_text()


def make_certificates(folder):
    """The profile's script, with its folder exchanged."""
    script = (ROOT / "deploy" / "compose" / "make-certificates.sh").read_text()
    assert script.count("cd /tls") == 1
    subprocess.run(["sh", "-c", script.replace("cd /tls", f"cd {folder}")], check=True, capture_output=True, timeout=60)


@pytest.mark.needs("openssl")
def test_the_certificates_are_for_their_names_and_made_once(tmp_path):
    make_certificates(tmp_path)
    verify = ["openssl", "verify", "-CAfile", "ca.crt"]
    for arguments in (["-purpose", "sslserver", "-verify_hostname", "redis-tls", "redis.crt"], ["-purpose", "sslclient", "relay.crt"]):
        subprocess.run([*verify, *arguments], cwd=tmp_path, check=True, capture_output=True)
    assert not (tmp_path / "ca.key").exists()
    before = (tmp_path / "redis.crt").read_bytes()
    make_certificates(tmp_path)
    assert (tmp_path / "redis.crt").read_bytes() == before


@compose_needed
def test_what_is_mounted_is_there():
    for name, service in config("*")["services"].items():
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                source = Path(mount["source"])
                assert source.exists(), f"{name} mounts {source}"
                assert not source.is_symlink(), f"{name} mounts a link, which not every engine follows"
                assert mount["read_only"], f"{name} could write to {source}"


@compose_needed
def test_prometheus_scrapes_the_nodes_of_this_file():
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert [target for job in scraped for group in job["static_configs"] for target in group["targets"]] == [f"{node}:9090" for node in NODES]
    balanced = (ROOT / "deploy" / "compose" / "nginx.conf").read_text()
    assert all(f"server {node}:8080 " in balanced for node in NODES)


def test_the_image_is_built_from_what_the_ignore_file_lets_through():
    """All that the Dockerfile copies from the folder is let through, and nothing else is."""
    copied = set()
    for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert copied == {line.removeprefix("!") for line in lines[1:]}
