"""The CI recipes as their runners run them: the shell text out of the YAML, with the environment that a runner gives it."""

import os
import re
import subprocess
from pathlib import Path

import yaml

CI = Path(__file__).resolve().parents[3] / "deploy" / "ci"


class Run:
    """What a step left behind."""

    def __init__(self, finished, folder=None):
        self.code = finished.returncode
        self.log = finished.stdout + finished.stderr
        self.outputs, self.summary = {}, ""
        if folder:
            lines = (folder / "output").read_text().splitlines()
            self.outputs = dict(line.split("=", 1) for line in lines)
            self.summary = (folder / "summary").read_text()

    def everything(self):
        return self.log + self.summary + repr(self.outputs)


def environment(folder, extra):
    """As good as nothing of ours: a runner does not have it either."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "RELAY_RETRIES": retries(extra)} | extra


def retries(variables):
    """By itself a recipe asks a dead relay for half a minute; once again is enough for most tests."""
    return variables.get("RELAY_RETRIES", "1")


def github(folder, inputs, more=None):
    """Runs the composite action. Inputs that are not given have their defaults; those required must be given."""
    action = yaml.safe_load((CI / "github" / "action.yml").read_text())
    values = {}
    for name, declared in action["inputs"].items():
        assert name in inputs or "default" in declared, f"input {name} is required"
        values[name] = inputs.get(name, declared.get("default"))
    assert set(inputs) <= set(values), "no such input"
    (step,) = action["runs"]["steps"]
    assert step["shell"] == "bash"
    assert "${{" not in step["run"], "an input must not be pasted into the script"
    (folder / "output").touch()
    (folder / "summary").touch()
    ours = {name: resolved(text, values) for name, text in step["env"].items()}
    runner = {
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "GITHUB_ACTION_PATH": str(CI / "github"),
        "RUNNER_TEMP": str(folder),
    }
    script = folder / "step.sh"
    script.write_text(step["run"])
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]
    run = Run(execute(command, folder, environment(folder, (more or {}) | ours | runner)), folder)
    declared = {output["value"] for output in action["outputs"].values()}
    run.outputs_are_declared = {f"${{{{ steps.{step['id']}.outputs.{name} }}}}" for name in run.outputs} <= declared
    return run


def resolved(text, inputs):
    """`${{ inputs.name }}` as GitHub resolves it."""
    return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: inputs[match[1]], text)


def uncommented(name, *starts):
    """A recipe with those lines, and what is indented below them, taken in."""
    lines, below = [], None
    for line in (CI / name).read_text().splitlines():
        match = re.match(r"( *)# ( *)(\S.*)", line)
        if match and (below is not None and len(match[2]) > below or match[3].split(":")[0] in starts):
            below = len(match[2]) if below is None or len(match[2]) <= below else below
            line = match[1] + match[2] + match[3]
        else:
            below = None
        lines.append(line)
    return "\n".join(lines)


def gitlab(folder, variables):
    """Runs the job's script: its lines joined, in a shell that stops at the first failure."""
    job = yaml.safe_load((CI / "gitlab-ci.yml").read_text())["refresh-apps"]
    return joined(folder, job["script"], job["variables"] | variables)


def bitbucket(folder, variables):
    pipelines = yaml.safe_load((CI / "bitbucket-pipelines.yml").read_text())["pipelines"]
    (step,) = pipelines["branches"]["main"]
    return joined(folder, step["step"]["script"], variables)


def joined(folder, script, variables):
    text, count = re.subn(r"--retry 5\b", f"--retry {retries(variables)}", "\n".join(script))
    assert count == 1
    file = folder / "script.sh"
    file.write_text(f"set -e\n{text}\n")
    return Run(execute(["sh", str(file)], folder, environment(folder, variables)))


def script(folder, variables):
    """Runs refresh.sh."""
    result = folder / "result"
    finished = execute(["sh", str(CI / "refresh.sh")], folder, environment(folder, variables | {"RELAY_RESULT": str(result)}))
    run = Run(finished)
    if result.exists():
        run.outputs = dict(line.split("=", 1) for line in result.read_text().splitlines())
    return run


def from_readme(language):
    """The only block of that language that the README has for webhooks."""
    section = (CI / "README.md").read_text().split("\n## By webhook\n")[1]
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return block


def shell(text, folder, variables):
    return Run(execute(["sh", "-c", text], folder, environment(folder, variables)))


def execute(command, folder, env):
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
