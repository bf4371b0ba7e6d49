"""Kubernetes' own schemas, by version, and small ones of ours for the custom resources."""

import functools
import json
import re
from pathlib import Path

import kubernetes_validate.utils as upstream
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

OWN = Path(__file__).resolve().parents[1] / "schemas"


@functools.lru_cache(maxsize=None)
def _definitions(version):
    contents = upstream.schema_contents(f"kubernetes-json-schema/v{version}-local-strict/_definitions.json", version)
    return Resource.from_contents(contents) @ Registry()


@functools.lru_cache(maxsize=None)
def _validator(kind, api_version, version):
    own = OWN / f"{kind.lower()}.json"
    if own.exists():
        schema = json.loads(own.read_text())
        Draft202012Validator.check_schema(schema)
        return Draft202012Validator(schema)
    api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    path = f"kubernetes-json-schema/v{version}-local-strict/{kind.lower()}-{api}.json"
    schema = upstream.schema_contents(path, version)
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ _definitions(version))


def problems(manifest, version):
    """What that version of Kubernetes finds wrong; unknown fields are wrong."""
    validator = _validator(manifest["kind"], manifest["apiVersion"], version)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
