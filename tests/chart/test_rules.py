"""The alerts: each fires and clears, asks only for metrics of the contract, and has its part in the runbook."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from support import contract, promql
from support.chart import CHART, NAME, REDIS, ROOT, merged, render

HERE = Path(__file__).parent
SOURCE = CHART / "files" / "refresh-relay.rules.yml"
GROUPS = yaml.safe_load(SOURCE.read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES}
TESTS = sorted((HERE / "alerts").glob("*.yml"))
RUNBOOK = (ROOT / "deploy" / "runbook.md").read_text()


def promtool(*arguments):
    result = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.needs("promtool")
def test_the_rules_are_valid():
    promtool("check", "rules", SOURCE)


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("file", TESTS, ids=lambda path: path.stem)
def test_alerts_behave(file):
    promtool("test", "rules", file)


def test_every_alert_is_seen_quiet_then_firing_then_clear():
    for alert in ALERTS:
        histories = [history(test, alert) for file in TESTS for test in yaml.safe_load(file.read_text())["tests"]]
        assert any("quiet firing quiet" in seen for seen in histories), f"{alert}: {histories}"


def history(test, alert):
    """What the test expects of the alert over time, such as `quiet firing quiet`."""
    checks = [check for check in test["alert_rule_test"] if check["alertname"] == alert]
    checks.sort(key=lambda check: seconds(check["eval_time"]))
    seen = ["firing" if check["exp_alerts"] else "quiet" for check in checks]
    return " ".join(word for position, word in enumerate(seen) if position == 0 or seen[position - 1] != word)


def seconds(duration):
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


@pytest.mark.parametrize("alert", ALERTS)
def test_alerts_ask_only_for_metrics_of_the_contract(alert):
    query = promql.read(ALERTS[alert]["expr"])
    assert query.selectors
    known = contract.series()
    for name, matchers in query.selectors:
        if name in contract.BUILT_IN:
            continue
        assert name in known, name
        labels = known[name][1]
        for label, _, pattern in matchers:
            assert label in labels, f"{name} has no label {label}"
            assert set(pattern.split("|")) <= labels[label], f"{name} has no {label} {pattern}"
    labels = {"le"} | contract.TARGET_LABELS
    labels = labels.union(*(known[name][1] for name, _ in query.selectors if name not in contract.BUILT_IN))
    assert query.grouped_by <= labels


@pytest.mark.parametrize("alert", ALERTS)
def test_alerts_have_their_part_in_the_runbook(alert):
    annotations = ALERTS[alert]["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    path, _, anchor = annotations["runbook_url"].partition("#")
    assert path.endswith("/blob/main/deploy/runbook.md")
    part = parts()[anchor]
    for heading in ("**Symptom.**", "**For users.**", "**Look at.**", "**Do.**"):
        assert part.count(heading) == 1, f"{anchor}: {heading}"


def test_the_runbook_has_no_part_without_an_alert():
    anchors = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in RULES}
    assert set(parts()) == anchors


def parts():
    """anchor -> text, as GitHub makes anchors of headings."""
    found = {}
    for part in re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        found[re.sub(r"[^\w -]", "", title.strip().lower()).replace(" ", "-")] = text
    return found


def test_the_schema_knows_the_alerts_by_name():
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert schema["definitions"]["alert"]["enum"] == list(ALERTS)


@pytest.mark.needs("helm")
def test_the_chart_renders_the_rules_as_they_are():
    rule = render(merged(REDIS, {"prometheusRule": {"enabled": True}})).one("PrometheusRule")
    assert rule["spec"]["groups"] == GROUPS


@pytest.mark.needs("helm")
def test_the_chart_changes_only_what_is_asked_for():
    groups = render(cell="observability").one("PrometheusRule")["spec"]["groups"]
    rendered = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    assert set(rendered) == set(ALERTS) - {"RefreshRelayUneven"}
    for alert, rule in rendered.items():
        expected = merged(ALERTS[alert], {"labels": {"team": "web"}})
        if alert == "RefreshRelayLinkDown":
            expected = merged(expected, {"for": "2m", "labels": {"severity": "warning"}})
        if alert == "RefreshRelayDrainOverrun":
            expected["for"] = "85s"
        assert rule == expected


@pytest.mark.needs("helm")
def test_a_drain_that_overruns_is_reported_before_the_pod_is_killed():
    """Worst case: one scrape and one evaluation late, 15 seconds each."""
    values = merged(REDIS, {"prometheusRule": {"enabled": True}, "config": {"drain": {"notice_seconds": 10, "spread_seconds": 300}}})
    manifests = render(values)
    rules = manifests.one("PrometheusRule")["spec"]["groups"][0]["rules"]
    wait = seconds(next(rule for rule in rules if rule["alert"] == "RefreshRelayDrainOverrun")["for"])
    assert 310 < wait and wait + 15 + 15 < manifests.pod["terminationGracePeriodSeconds"]


@pytest.mark.needs("helm")
def test_the_monitor_selects_the_admin_service_only():
    manifests = render(cell="observability")
    monitor = manifests.one("ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    selector = monitor["spec"]["selector"]["matchLabels"]
    selected = [item["metadata"]["name"] for item in manifests.all("Service") if selector.items() <= item["metadata"]["labels"].items()]
    assert selected == [f"{NAME}-admin"]
    (endpoint,) = monitor["spec"]["endpoints"]
    ports = [port["name"] for port in manifests.one("Service", "-admin")["spec"]["ports"]]
    assert endpoint["port"] in ports and endpoint["path"] == "/metrics"
    assert endpoint["interval"] == "15s" and endpoint["scrapeTimeout"] == "5s"
    assert endpoint["relabelings"] and endpoint["metricRelabelings"]


def test_deploy_holds_the_same_files():
    assert (ROOT / "deploy/prometheus/refresh-relay.rules.yml").read_text() == SOURCE.read_text()
    dashboard = CHART / "files" / "refresh-relay.dashboard.json"
    assert (ROOT / "deploy/grafana/refresh-relay.dashboard.json").read_text() == dashboard.read_text()


@pytest.mark.needs("promtool")
def test_the_prometheus_of_docker_compose_loads_them():
    promtool("check", "config", ROOT / "deploy/prometheus/prometheus.yml")
