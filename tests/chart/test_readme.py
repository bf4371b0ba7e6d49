"""The chart's README: its table is that of values.yaml, its examples are accepted, its commands run."""

import re
import shlex

import pytest
import yaml

from support.chart import CHART, ROOT, helm, render
from support.cluster import cluster
from support.values import readme_with, table, uncommented, commented

README = (CHART / "README.md").read_text()
VALUES = (CHART / "values.yaml").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


EXAMPLES = [block for block in blocks("yaml") if "prometheus-adapter" not in block]
COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


def test_the_table_is_that_of_the_values():
    assert readme_with(README, table(VALUES)) == README, "stale: run target/venv-chart/bin/python tests/chart/support/values.py"


def test_every_value_is_described_in_a_sentence():
    assert uncommented(VALUES) == []
    for path, comment in commented(VALUES):
        assert re.match(r"^[A-Z`].*\.$", comment), f"{'.'.join(path)}: {comment}"


@pytest.mark.needs("helm")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_examples_are_accepted(example):
    assert render(yaml.safe_load(example)).all("Deployment")


@pytest.mark.needs("helm")
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("helm install ")])
def test_commands_install(command, tmp_path):
    production = next(example for example in EXAMPLES if "networkPolicy" in example)
    (tmp_path / "production.yaml").write_text(production)
    (tmp_path / "helm").symlink_to(ROOT / "helm")
    with cluster() as api:
        arguments = [*shlex.split(command)[1:], "--kube-apiserver", api, "--dry-run=client", "--disable-openapi-validation"]
        result = helm(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "NOTES:" in result.stdout


def test_no_command_is_left_untried():
    assert [line for line in COMMANDS if not line.startswith("helm install ")] == ["helm test relay"]
