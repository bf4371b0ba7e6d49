"""The checks themselves: each finds what it is there to find."""

import pytest

from support import promql
from support.chart import NEW, OLD, render
from support.kubernetes import problems
from support.values import commented, table, uncommented


def names(expression):
    return [name for name, _ in promql.read(expression).selectors]


def test_a_query_is_read_down_to_its_metrics():
    query = promql.read(
        'histogram_quantile(0.9, sum by (job, le) (rate(a_bucket{job=~"x|y", reason!="{}"}[5m])))'
        " / on (job) group_left (pod) (b > 0) unless count by (instance) (last_over_time(c[1h])) or 0 * d offset 5m"
    )
    assert query.selectors == [
        ("a_bucket", [("job", "=~", "x|y"), ("reason", "!=", "{}")]),
        ("b", []),
        ("c", []),
        ("d", []),
    ]
    assert query.grouped_by == {"job", "le", "pod", "instance"}


def test_operators_and_functions_are_no_metrics():
    assert names("min(a) and max(b) unless c") == ["a", "b", "c"]
    assert names("time() - a") == ["a"]


@pytest.mark.needs("helm")
@pytest.mark.parametrize("version", [OLD, NEW])
def test_unknown_and_missing_fields_are_found(version):
    deployment = render().one("Deployment")
    assert problems(deployment, version) == []
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    del deployment["spec"]["selector"]
    found = " ".join(problems(deployment, version))
    assert "imagePullPolice" in found and "selector" in found


@pytest.mark.needs("helm")
@pytest.mark.parametrize(
    "cell, kind, section", [("gateway", "HTTPRoute", "rules"), ("observability", "ServiceMonitor", "endpoints"), ("observability", "PrometheusRule", "groups")]
)
def test_unknown_fields_of_custom_resources_are_found(cell, kind, section):
    item = render(cell=cell).one(kind)
    assert problems(item, NEW) == []
    item["spec"][section][0]["unknown"] = 1
    assert "unknown" in " ".join(problems(item, NEW))


def test_values_are_read_with_their_comments():
    text = "# -- First.\na: 1\nb:\n  # -- Second.\n  c: {d: 2}\n  e: 3\nf:\n  - g: 4\n"
    assert commented(text) == [(("a",), "First."), (("b", "c"), "Second.")]
    assert uncommented(text) == [("b", "e"), ("f",)]
    assert table(text).splitlines()[2:] == ["| `a` | `1` | First. |", '| `b.c` | `{"d": 2}` | Second. |']
