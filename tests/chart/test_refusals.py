"""Values that the chart refuses: by its schema, or because they do not go together."""

import copy
import json

import pytest
from jsonschema import Draft7Validator

from support.chart import CELLS, CHART, MATRIX, REDIS, merged, refusal, render, template

import yaml

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def resolved(schema):
    """The schema behind a reference."""
    while "$ref" in schema:
        node = SCHEMA
        for part in schema["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        schema = node
    return schema


def described(schema=SCHEMA, path=()):
    """Every property that the schema describes, with its path."""
    schema = resolved(schema)
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from described(inner, path + (name,))


OBJECTS = [path for path, schema in described() if "properties" in schema]
LEAVES = [path for path, schema in described() if path and "properties" not in schema and path not in (("global",),)]


def values_with(path, value):
    tree = value
    for name in reversed(path):
        tree = {name: tree}
    return tree


def dotted(path):
    return ".".join(path) or "(top)"


@pytest.mark.needs("helm")
@pytest.mark.parametrize("path", OBJECTS, ids=dotted)
def test_unknown_keys_are_refused(path):
    reason = refusal(values_with(path + ("unknownKey",), 1))
    assert "unknownKey" in reason
    if path:
        assert path[-1] in reason


def test_the_schema_is_one():
    Draft7Validator.check_schema(SCHEMA)


def test_every_object_of_ours_says_what_it_takes():
    for path, schema in described():
        if "properties" in schema:
            assert schema.get("additionalProperties") is False, dotted(path)


def test_schema_and_values_name_the_same_keys():
    in_schema = {path for path, _ in described()} - {(), ("global",), ("enabled",)}
    in_values = set(every_path(VALUES))
    passed_on = {path for path in in_values if passed_on_to_kubernetes(path)}
    assert in_values - passed_on == in_schema - absent_by_default(in_schema)


def every_path(tree, path=()):
    for key, value in tree.items():
        yield path + (key,)
        if isinstance(value, dict):
            yield from every_path(value, path + (key,))


def passed_on_to_kubernetes(path):
    """Whether it lies in an object that the schema does not describe further."""
    schema = SCHEMA
    for name in path:
        properties = resolved(schema).get("properties")
        if properties is None:
            return True
        schema = properties.get(name, {})
    return False


def absent_by_default(paths):
    """Timings of probes that the values leave to Kubernetes."""
    return {path for path in paths if path[0].endswith("Probe") and len(path) == 2 and path[1] not in VALUES[path[0]]}


@pytest.mark.parametrize("path", LEAVES, ids=dotted)
def test_wrong_types_are_refused(path):
    """Each value is given a number, a text, a list, an object and a boolean: only what its kind allows may pass."""
    schema = next(schema for found, schema in described() if found == path)
    accepted = {kind for kind, value in SAMPLES.items() if valid(values_with(path, value))}
    assert accepted == kinds_of(schema) & accepted, f"{dotted(path)} takes {accepted}"
    assert len(accepted) <= 2


SAMPLES = {"integer": 1, "number": 1.5, "string": "text", "boolean": True, "array": [1], "object": {"a": "b"}}


def valid(values):
    tree = merged(copy.deepcopy(VALUES), values)
    return Draft7Validator(SCHEMA).is_valid(tree)


def kinds_of(schema):
    """The JSON types that a schema allows."""
    schema = resolved(schema)
    kinds = set()
    for inner in schema.get("oneOf", []) + schema.get("allOf", []):
        kinds |= kinds_of(inner)
    if "type" in schema:
        kinds.add(schema["type"])
    if "enum" in schema or "const" in schema:
        kinds.add("string")
    return kinds


@pytest.mark.needs("helm")
@pytest.mark.parametrize(
    "values, word",
    [
        ({"replicaCount": "three"}, "replicaCount"),
        ({"replicaCount": -1}, "replicaCount"),
        ({"maxSurge": 0}, "maxSurge"),
        ({"drainMarginSeconds": 0}, "drainMarginSeconds"),
        ({"image": {"digest": "sha256:123"}}, "digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"config": {"server": {"bind": "0.0.0.0:0"}}}, "bind"),
        ({"config": {"server": {"bind": "8080"}}}, "bind"),
        ({"config": {"admin": {"bind": "127.0.0.1:9090"}}}, "admin"),
        ({"config": {"admin": {"bind": "localhost:9090"}}}, "admin"),
        ({"config": {"drain": {"notice_seconds": -1}}}, "notice_seconds"),
        ({"config": {"drain": {"spread_seconds": "20"}}}, "spread_seconds"),
        ({"config": {"drain": {"spread_seconds": None}}}, "spread_seconds"),
        ({"config": {"drain": None}}, "drain"),
        ({"config": {"publish": {"secret": "never-here"}}}, "secret"),
        ({"config": {"redis": {"password": "never-here"}}}, "password"),
        ({"config": {"redis": {"url": "redis://user:never-here@redis.example.com"}}}, "url"),
        ({"config": {"redis": {"url": "redis.example.com:6379"}}}, "url"),
        ({"config": {"redis": {"url": "http://redis.example.com"}}}, "url"),
        ({"config": {"redis": {"mode": "cluster", "urls": ["redis://:never-here@redis.example.com"]}}}, "urls"),
        ({"config": {"redis": {"mode": "replicated"}}}, "mode"),
        ({"config": {"log": {"format": "xml"}}}, "format"),
        ({"extraEnv": [{"name": "RELAY_DRAIN__SPREAD_SECONDS", "value": "300"}]}, "extraEnv"),
        ({"extraEnv": [{"name": "RELAY_CONFIG", "value": "/mine.toml"}]}, "extraEnv"),
        ({"extraEnv": [{"name": "RELAY_PUBLISH__SECRET", "value": "never-here"}]}, "extraEnv"),
        ({"extraEnv": [{"name": "RELAY_REDIS__PASSWORD", "value": "never-here"}]}, "extraEnv"),
        ({"extraEnv": [{"name": "A", "vaule": "b"}]}, "extraEnv"),
        ({"service": {"type": "ExternalName"}}, "type"),
        ({"service": {"port": 0}}, "port"),
        ({"ingress": {"hosts": [{"host": "relay.example.com"}]}}, "hosts"),
        ({"ingress": {"paths": ["party"]}}, "paths"),
        ({"httpRoute": {"paths": []}}, "paths"),
        ({"httpRoute": {"timeouts": {"request": "never"}}}, "timeouts"),
        ({"podDisruptionBudget": {"maxUnavailable": "some"}}, "maxUnavailable"),
        ({"networkPolicy": {"redis": {"ports": ["6379"]}}}, "ports"),
        ({"prometheusRule": {"disabledAlerts": ["RefreshRelayLinkDwn"]}}, "disabledAlerts"),
        ({"prometheusRule": {"overrides": {"RefreshRelayLinkDwn": {"for": "1m"}}}}, "RefreshRelayLinkDwn"),
        ({"serviceMonitor": {"interval": "fast"}}, "interval"),
        ({"test": {"room": "a room"}}, "room"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused_by_name(values, word):
    reason = refusal(values)
    assert "schema" in reason and word in reason


@pytest.mark.needs("helm")
@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"replicaCount": 2}, "Several nodes need a Redis"),
        ({"autoscaling": {"enabled": True}}, "Several nodes need a Redis"),
        (merged(REDIS, {"redis": {"inChart": {"enabled": True}}}), "standalone Redis of its own"),
        ({"config": {"redis": {"urls": ["redis://a"]}}}, "config.redis.urls is for the modes"),
        ({"config": {"redis": {"mode": "sentinel"}}}, "takes its addresses from config.redis.urls"),
        (merged(REDIS, {"config": {"redis": {"mode": "cluster", "urls": ["redis://a"]}}}), "leave config.redis.url empty"),
        ({"publish": {"key": "one", "existingSecret": "two"}}, "two places for one key"),
        ({"redis": {"password": "one", "existingSecret": "two"}}, "redis.existingSecret already holds"),
        (merged(REDIS, {"redis": {"tls": {"existingSecret": "certificates"}}}), "no URL starts with rediss://"),
        ({"redis": {"tls": {"certKey": "tls.crt"}}}, "come together"),
        ({"config": {"server": {"tls": {"cert_file": "/mine/tls.crt"}}}}, "come together"),
        ({"tls": {"existingSecret": "a"}, "config": {"server": {"tls": {"cert_file": "/b", "key_file": "/c"}}}}, "two certificates"),
        ({"config": {"admin": {"bind": "0.0.0.0:8080"}}}, "need different ports"),
        (merged(REDIS, {"autoscaling": {"enabled": True, "minReplicas": 13}}), "larger than autoscaling.maxReplicas"),
        (merged(REDIS, {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}}), "needs a target"),
        ({"ingress": {"enabled": True}}, "ingress.hosts"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs"),
    ],
    ids=str,
)
def test_values_that_do_not_go_together_are_refused_with_advice(values, sentence):
    assert sentence in refusal(values)


@pytest.mark.needs("helm")
def test_a_kubernetes_too_old_is_refused():
    result = template(REDIS, version="1.26.0")
    assert result.returncode != 0 and "kubeVersion: >=1.27.0-0" in result.stderr


@pytest.mark.needs("helm")
def test_a_parent_chart_may_hand_down_what_helm_reserves():
    assert render({"global": {"anything": {"goes": 1}}, "enabled": True}).all("Deployment")


def test_the_matrix_turns_on_every_switch():
    """A template behind a switch that no cell turns on would be rendered by no test."""
    switches = {path for path in every_path(VALUES) if path[-1] == "enabled" and value_at(path) is False}
    turned_on = set()
    for cell in CELLS:
        tree = yaml.safe_load((MATRIX / f"{cell}.yaml").read_text())
        turned_on |= {path for path in every_path(tree) if path[-1] == "enabled"}
    assert switches <= turned_on


def value_at(path):
    tree = VALUES
    for name in path:
        tree = tree[name]
    return tree
