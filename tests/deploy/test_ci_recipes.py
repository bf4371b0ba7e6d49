"""Each CI recipe against real nodes: it succeeds when all apps were told, and fails when they were not."""

import json
import signal
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml

from harness import recipes
from harness.cluster import Member, address, cluster, publish
from support.relay import KEY, redis, scrape

pytestmark = pytest.mark.needs("refresh-relay", "redis-server", "curl")

RECIPES = ["github", "gitlab", "bitbucket", "script"]


@pytest.fixture(scope="module")
def nodes():
    with cluster(2) as members:
        yield members


def run(recipe, folder, host, key=KEY, room="featurevisor", retries="1", **more):
    """`more` are inputs of the action; the script has them as variables of the same name."""
    url, patience = f"http://{host}", {"RELAY_RETRIES": retries}
    if recipe == "github":
        inputs = {"url": url, "room": room, "key": key} | {name.replace("_", "-"): text for name, text in more.items()}
        return recipes.github(folder, inputs, patience)
    variables = {"RELAY_URL": url, "RELAY_ROOM": room, "RELAY_PUBLISH_KEY": key} | patience
    return getattr(recipes, recipe)(folder, variables | {f"RELAY_{name.upper()}": text for name, text in more.items()})


def told(host, room):
    """Where the room stands."""
    request = urllib.request.Request(f"http://{host}/v1/rooms/{room}", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def unauthorized(member):
    samples, _ = scrape(member.node.get("/metrics"))
    return sum(value for name, labels, value in samples if name == "relay_publishes_total" and labels["result"] == "unauthorized")


@pytest.mark.parametrize("recipe", RECIPES)
def test_apps_are_told(recipe, nodes, tmp_path):
    room = f"told-by-{recipe}"
    socket = nodes[1].node.connect(room)
    finished = run(recipe, tmp_path, nodes[0].public, room=room)
    assert finished.code == 0, finished.log
    assert socket.recv(100).endswith(b'{"type":"refresh"}')
    assert KEY not in finished.everything()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_wrong_key_fails_at_once_and_is_not_shown(recipe, nodes, tmp_path):
    before = unauthorized(nodes[0])
    finished = run(recipe, tmp_path, nodes[0].public, key="not-the-key")
    assert finished.code == 1
    assert "not-the-key" not in finished.everything()
    assert "401" in finished.log or "unauthorized" in finished.log
    assert not finished.outputs
    assert unauthorized(nodes[0]) == before + 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_relay_that_comes_back_is_asked_again(recipe, tmp_path):
    with redis() as broker:
        member = Member({"RELAY_REDIS__URL": broker.url, "RELAY_PUBLISH__SECRET": KEY})
        starting = threading.Timer(0.5, member.start)
        starting.start()
        try:
            finished = run(recipe, tmp_path, member.public, retries="5")
        finally:
            starting.join()
            member.node.stop()
    assert finished.code == 0, finished.log


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_relay_that_is_down_fails(recipe, tmp_path):
    finished = run(recipe, tmp_path, address())
    assert finished.code != 0
    assert "Failed to connect" in finished.log or "Couldn't connect" in finished.log
    assert KEY not in finished.everything()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_room_that_nobody_is_in_succeeds(recipe, nodes, tmp_path):
    finished = run(recipe, tmp_path, nodes[0].public, room=f"typo-{recipe}")
    assert finished.code == 0, finished.log
    assert told(nodes[0].public, f"typo-{recipe}")["connections"] == 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_node_that_does_not_confirm_fails(recipe, tmp_path):
    with cluster(2) as (alive, frozen):
        frozen.freeze()
        try:
            finished = run(recipe, tmp_path, alive.public)
        finally:
            frozen.node.process.send_signal(signal.SIGCONT)
    assert finished.code == 1, finished.log
    if recipe in ("github", "script"):
        assert "1 of 2 nodes did not confirm" in finished.log
        assert finished.outputs["nodes"] == "1"
        assert finished.outputs["expected"] == "2"
    else:
        assert '"expected":2,"confirmed":1' in finished.log


@pytest.mark.parametrize("recipe", ["github", "script"])
def test_a_node_that_does_not_confirm_is_a_warning_where_that_is_allowed(recipe, tmp_path):
    with cluster(2) as (alive, frozen):
        frozen.freeze()
        try:
            finished = run(recipe, tmp_path, alive.public, wait="1", allow_unconfirmed="true")
        finally:
            frozen.node.process.send_signal(signal.SIGCONT)
    assert finished.code == 0, finished.log
    assert "1 of 2 nodes did not confirm" in finished.log
    if recipe == "github":
        assert "::warning title=refresh-relay::" in finished.log


def test_the_action_has_outputs_and_a_summary(nodes, tmp_path):
    sockets = [member.node.connect("outputs") for member in nodes]
    finished = run("github", tmp_path, nodes[0].public, room="outputs", revision="42")
    assert finished.code == 0, finished.log
    head = told(nodes[0].public, "outputs")
    assert finished.outputs == {"connections": "2", "nodes": "2", "expected": "2", "position": head["position"]}
    assert finished.outputs_are_declared
    assert head["revision"] == "42"
    assert "### Apps were told" in finished.summary
    assert f"| 2 | 2 of 2 | `{head['position']}` |" in finished.summary
    assert all(socket.recv(100).endswith(b'{"type":"refresh","revision":"42"}') for socket in sockets)


def test_the_action_says_in_annotation_and_summary_why_it_failed(nodes, tmp_path):
    finished = run("github", tmp_path, nodes[0].public, key="not-the-key")
    assert "::error title=refresh-relay::refresh.sh: nobody was told: this is not a publish key" in finished.log
    assert "### Apps were not told" in finished.summary
    assert "not a publish key" in finished.summary


@pytest.mark.parametrize("recipe", ["github", "script"])
def test_fewer_connections_than_asked_for_fail(recipe, nodes, tmp_path):
    finished = run(recipe, tmp_path, nodes[0].public, room="nobody", min_connections="1")
    assert finished.code == 1
    assert "told 0 connections, fewer than the 1 asked for" in finished.log


@pytest.mark.parametrize("room", ["with blank", "a/b?c=d#e", "größe", 'quo"te', "100%25", "$(exit 7)`exit 8`"])
def test_a_room_and_a_revision_arrive_as_they_are(room, nodes, tmp_path):
    revision = f"{room} \\ {room}"
    finished = run("github", tmp_path, nodes[0].public, room=room, revision=revision)
    assert finished.code == 0, finished.log
    head = told(nodes[0].public, urllib.parse.quote(room, safe=""))
    assert (head["room"], head["revision"]) == (room, revision)


@pytest.mark.parametrize(
    "variable, value",
    [("wait", "11"), ("wait", "soon"), ("min_connections", "-1"), ("allow_unconfirmed", "yes")],
)
def test_a_wrong_input_is_refused_before_anything_is_published(variable, value, nodes, tmp_path):
    before = publish(nodes[0].public, "refused")[1]["position"]
    finished = run("github", tmp_path, nodes[0].public, room="refused", **{variable: value})
    assert finished.code == 2
    assert f"RELAY_{variable.upper()} must be" in finished.log
    assert told(nodes[0].public, "refused")["position"] == before


def test_an_answer_that_is_not_a_relays_fails(nodes, tmp_path):
    """Say, the page of a proxy that answers everything with 200."""
    class Page(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>\n::error::not a command\n</html>")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        finished = run("github", tmp_path, f"127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
    assert finished.code == 1
    assert "is this a relay?" in finished.log
    # What came from outside stays within its line, so that it cannot give orders to the runner.
    assert not [line for line in finished.log.splitlines() if line.startswith("::error::not")]


def test_the_workflow_tells_the_apps_between_upload_and_push(nodes):
    workflow = yaml.safe_load((recipes.CI / "github" / "publish.yml").read_text())
    steps = [step.get("name", step.get("uses")) for step in workflow["jobs"]["publish"]["steps"]]
    assert steps.index("Upload to Cloudflare Pages") < steps.index("Tell the apps") < steps.index("Push back to origin")
    action = yaml.safe_load((recipes.CI / "github" / "action.yml").read_text())
    (tell,) = [step for step in workflow["jobs"]["publish"]["steps"] if step.get("name") == "Tell the apps"]
    assert set(tell["with"]) <= set(action["inputs"])
    assert {name for name, declared in action["inputs"].items() if declared.get("required")} <= set(tell["with"])


@pytest.mark.needs("openssl")
def test_the_webhooks_file_and_the_command_of_the_readme_tell_the_apps(tmp_path):
    secret = "the secret of a webhook for tests"
    (tmp_path / "secret").write_text(secret)
    file = tmp_path / "webhooks.toml"
    file.write_text(recipes.from_readme("toml").replace("/run/secrets/relay-webhook", str(tmp_path / "secret")))
    with cluster(1, {"RELAY_WEBHOOKS__FILE": str(file)}) as (member,):
        socket = member.node.connect("featurevisor")
        command = recipes.from_readme("sh").replace("https://relay.example.com", f"http://{member.public}")
        for given, code in [(secret, 0), ("another secret", 22)]:
            finished = recipes.shell(command, tmp_path, {"WEBHOOK_SECRET": given})
            assert finished.code == code, finished.log
        assert socket.recv(100).endswith(b'{"type":"refresh"}')
        assert told(member.public, "featurevisor")["published_by"] == "webhook:site"
