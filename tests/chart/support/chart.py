"""Renders the chart, as `helm template` would hand it to a cluster."""

import functools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "helm" / "refresh-relay"
MATRIX = Path(__file__).resolve().parents[1] / "matrix"
CELLS = sorted(path.stem for path in MATRIX.glob("*.yaml"))
OLD, NEW = "1.27.0", "1.37.0"
RELEASE = "web"
NAME = "web-refresh-relay"


def helm(*arguments, **options):
    """Runs helm; the caller looks at the return code."""
    return subprocess.run([shutil.which("helm"), *map(str, arguments)], capture_output=True, text=True, **options)


def template(values=None, files=(), version=NEW, release=RELEASE, namespace="relay", extra=()):
    """One `helm template` with these values (a dictionary) over those files."""
    arguments = ["template", release, CHART, "--namespace", namespace, "--kube-version", version]
    for file in files:
        arguments += ["--values", file]
    with tempfile.TemporaryDirectory() as folder:
        if values is not None:
            path = Path(folder) / "values.yaml"
            path.write_text(yaml.safe_dump(values))
            arguments += ["--values", path]
        return helm(*arguments, *extra)


class Manifests(list):
    """Rendered resources, found by kind and by what their name adds to the release's."""

    def one(self, kind, suffix=""):
        found = [item for item in self if item["kind"] == kind and item["metadata"]["name"] == NAME + suffix]
        assert len(found) == 1, f"{len(found)} of {kind} {NAME + suffix} in {self.names()}"
        return found[0]

    def all(self, kind):
        return [item for item in self if item["kind"] == kind]

    def names(self):
        return sorted(f"{item['kind']}/{item['metadata']['name']}" for item in self)

    @property
    def pod(self):
        return self.one("Deployment")["spec"]["template"]["spec"]

    @property
    def container(self):
        return next(item for item in self.pod["containers"] if item["name"] == "relay")

    @property
    def settings(self):
        """The settings file, parsed."""
        return tomllib().loads(self.one("ConfigMap")["data"]["config.toml"])

    @property
    def secret_files(self):
        """The files of the volume `secrets`: path -> (Secret, key)."""
        volume = next(item for item in self.pod["volumes"] if item["name"] == "secrets")
        return {
            item["path"]: (source["secret"]["name"], item["key"])
            for source in volume["projected"]["sources"]
            for item in source["secret"]["items"]
        }

    @property
    def env(self):
        return {item["name"]: item.get("value") for item in self.container["env"]}


def tomllib():
    try:
        import tomllib as module
    except ModuleNotFoundError:
        import tomli as module
    return module


def parse(text):
    return Manifests(item for item in yaml.safe_load_all(text) if item)


@functools.lru_cache(maxsize=None)
def _rendered(values, cell, options):
    files = [MATRIX / f"{cell}.yaml"] if cell else []
    result = template(json.loads(values), files, **dict(options))
    assert result.returncode == 0, result.stderr
    return result.stdout


def render(values=None, cell=None, **options):
    """The manifests for these values, or for a cell of the matrix with these values over it."""
    return parse(_rendered(json.dumps(values or {}), cell, tuple(sorted(options.items()))))


def refusal(values):
    """Why the chart refuses these values."""
    result = template(values)
    assert result.returncode != 0, f"not refused: {values}"
    return result.stderr


def merged(*trees):
    """Later trees over earlier ones, as Helm merges values."""
    result = {}
    for tree in trees:
        for key, value in tree.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


REDIS = {"config": {"redis": {"url": "redis://redis.example.com:6379"}}}
