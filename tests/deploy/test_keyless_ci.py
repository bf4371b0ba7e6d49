"""The CI recipes without a key, against a node that takes the tokens of a local issuer."""

import pytest
import yaml

from harness import recipes
from harness.cluster import cluster
from harness.issuer import REQUEST_TOKEN, issuer

pytestmark = pytest.mark.needs("refresh-relay", "redis-server", "curl", "openssl")

AUDIENCE = "https://relay.example.com/a b?c=d&e"
GITHUB = {"repository": "my-org/flags", "ref": "refs/heads/main"}
GITLAB = {"project_path": "my-org/flags", "ref": "main", "ref_type": "branch", "ref_protected": "true"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The issuer, and a node with a rule for each of the two systems. The node has no key that would do instead."""
    folder = tmp_path_factory.mktemp("keyless")
    with issuer(folder, **GITHUB) as signs:
        rules = [f'[[issuer]]\nurl = "{signs.url}"\naudience = "{AUDIENCE}"']
        for name, claims in (("github", GITHUB), ("gitlab", GITLAB)):
            conditions = ", ".join(f'{claim} = "{value}"' for claim, value in claims.items())
            rules.append(f'[[issuer.rule]]\nid = "{name}"\nrooms = ["featurevisor"]\nclaims = {{ {conditions} }}')
        (folder / "oidc.toml").write_text("\n".join(rules))
        with cluster(1, {"RELAY_PUBLISH__OIDC_FILE": str(folder / "oidc.toml")}) as (member,):
            yield signs, member


def github(folder, world, audience=AUDIENCE, room="featurevisor", environment=None):
    signs, member = world
    inputs = {"url": f"http://{member.public}", "room": room, "oidc-audience": audience}
    return recipes.github(folder, inputs, signs.environment if environment is None else environment)


def test_the_action_publishes_with_a_token_of_its_job(world, tmp_path):
    socket = world[1].node.connect("featurevisor")
    finished = github(tmp_path, world)
    assert finished.code == 0, finished.log
    assert socket.recv(100).endswith(b'{"type":"refresh"}')
    assert "eyJ" not in finished.everything() and REQUEST_TOKEN not in finished.everything()


def test_refresh_sh_publishes_with_a_token_of_its_job(world, tmp_path):
    signs, member = world
    variables = {"RELAY_URL": f"http://{member.public}", "RELAY_ROOM": "featurevisor", "RELAY_OIDC_AUDIENCE": AUDIENCE}
    finished = recipes.script(tmp_path, variables | signs.environment)
    assert finished.code == 0, finished.log


def test_the_job_of_gitlab_publishes_with_its_token(world, tmp_path):
    signs, member = world
    job = yaml.safe_load(recipes.uncommented("gitlab-ci.yml", "id_tokens"))["refresh-apps"]
    ((name, asked),) = job["id_tokens"].items()
    assert asked == {"aud": "https://relay.example.com"}
    variables = {"RELAY_URL": f"http://{member.public}", "RELAY_ROOM": "featurevisor", name: signs.token(AUDIENCE, **GITLAB)}
    finished = recipes.gitlab(tmp_path, variables)
    assert finished.code == 0, finished.log
    finished = recipes.gitlab(tmp_path, variables | {name: signs.token(AUDIENCE, **GITLAB | {"ref_protected": "false"})})
    assert finished.code == 1
    assert '"code":"forbidden"' in finished.log


@pytest.mark.parametrize(
    "change, said",
    [
        ({"audience": "https://other.example.com"}, "does not take this job's token (401)"),
        ({"room": "other"}, "not for the room"),
        ({"environment": {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x"}}, "permissions: id-token: write"),
    ],
)
def test_the_action_says_why_it_was_not_taken(change, said, world, tmp_path):
    finished = github(tmp_path, world, **change)
    assert finished.code != 0
    assert said in finished.log
    assert "eyJ" not in finished.everything()


def test_a_job_that_gets_no_token_fails(world, tmp_path):
    finished = github(tmp_path, world, environment=world[0].environment | {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "another"})
    assert finished.code == 1
    assert "GitHub gave no token for this job" in finished.log


def test_key_and_token_together_are_refused(world, tmp_path):
    signs, member = world
    inputs = {"url": f"http://{member.public}", "room": "featurevisor", "oidc-audience": AUDIENCE, "key": "k"}
    finished = recipes.github(tmp_path, inputs, signs.environment)
    assert finished.code == 2
    assert "one is enough" in finished.log


def test_the_workflow_has_what_a_token_needs():
    text = recipes.uncommented("github/publish.yml", "id-token", "oidc-audience")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "write", "id-token": "write"}
    (tell,) = [step for step in workflow["jobs"]["publish"]["steps"] if step.get("name") == "Tell the apps"]
    assert tell["with"]["oidc-audience"] == "${{ vars.RELAY_URL }}"
