"""The dashboard: well laid out, and asking only for metrics of the contract."""

import json
import subprocess

import pytest
import yaml

from support import contract, promql
from support.chart import CHART, ROOT, merged, REDIS, render
from test_rules import RUNBOOK

SOURCE = (CHART / "files" / "refresh-relay.dashboard.json").read_text()
DASHBOARD = json.loads(SOURCE)
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
VARIABLES = {item["name"]: item for item in DASHBOARD["templating"]["list"]}


def as_promql(expression):
    """With Grafana's variables filled in."""
    for name in ("namespace", "job", "instance"):
        expression = expression.replace(f"${name}", ".*")
    return expression.replace("$__rate_interval", "1m")


@pytest.mark.parametrize("title, expression", QUERIES, ids=lambda text: text[:40])
def test_panels_ask_only_for_metrics_of_the_contract(title, expression):
    query = promql.read(as_promql(expression))
    known = contract.series()
    assert query.selectors, title
    for name, matchers in query.selectors:
        assert name in known, f"{title}: {name}"
        labels = known[name][1]
        asked = {label for label, _, _ in matchers}
        assert {"namespace", "job", "instance"} <= asked, f"{title}: {name} ignores a variable"
        for label, _, pattern in matchers:
            if label not in contract.TARGET_LABELS:
                assert set(pattern.split("|")) <= labels[label], f"{title}: {label} {pattern}"
    allowed = set().union(*(known[name][1] for name, _ in query.selectors)) | contract.TARGET_LABELS
    assert query.grouped_by <= allowed, title


def test_every_metric_of_the_relay_is_shown():
    shown = {contract.series()[name][0] for _, expression in QUERIES for name, _ in promql.read(as_promql(expression)).selectors}
    assert {name for name in contract.METRICS if name.startswith("relay_")} <= shown


@pytest.mark.needs("promtool")
def test_queries_are_valid(tmp_path):
    rules = [{"record": f"panel:{position}", "expr": as_promql(expression)} for position, (_, expression) in enumerate(QUERIES)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    result = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(QUERIES)} rules found" in result.stdout


def test_panels_are_told_apart_and_explained():
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities) and len(set(titles)) == len(titles)
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]


def test_panels_do_not_overlap():
    taken = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken.get((x, y))}"
                taken[x, y] = panel["title"]


def test_all_also_matches_targets_without_the_label():
    """Outside Kubernetes there is no namespace."""
    for name in ("namespace", "job", "instance"):
        assert VARIABLES[name]["allValue"] == ".*" and VARIABLES[name]["includeAll"]
    assert set(VARIABLES) == {"datasource", "namespace", "job", "instance"}


def test_the_runbook_names_panels_that_exist():
    titles = {panel["title"] for panel in PANELS}
    named = {text for text in RUNBOOK.split('"')[1::2] if text[0].isupper()}
    named -= {"NS", "$NS"}
    assert named and named <= titles


@pytest.mark.needs("helm")
def test_the_chart_carries_the_dashboard_as_it_is():
    manifests = render(merged(REDIS, {"dashboard": {"enabled": True}}))
    dashboard = manifests.one("ConfigMap", "-dashboard")
    assert json.loads(dashboard["data"]["refresh-relay.json"]) == DASHBOARD
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert render(cell="observability").one("ConfigMap", "-dashboard")["metadata"]["annotations"] == {"grafana_folder": "Web"}


def test_grafana_of_docker_compose_finds_source_and_dashboard():
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus" and source["isDefault"] is True
    (provider,) = yaml.safe_load((provisioning / "dashboards/refresh-relay.yml").read_text())["providers"]
    assert provider["type"] == "file" and provider["options"]["path"].startswith("/var/lib/grafana/")
