//! Webhooks: whose deliveries are believed, and which of them tell the apps.

use crate::support::http::{Answer, Request};
use crate::support::node::{KEY, Node, Setup, cluster, refresh};
use crate::support::program::{Files, environment, run};
use crate::support::redis::TestRedis;
use crate::support::socket::{REFRESH, refresh_with};
use crate::support::wait::{SOON, equal, eventually};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use nix::sys::signal::Signal;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::timeout;

const ROOM: &str = "featurevisor";

/// The vectors that GitHub and Standard Webhooks publish.
const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const GITHUB_SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

const GITLAB_TOKEN: &str = "the secret token at gitlab";
const GITLAB_SIGNING_TOKEN: &str = "whsec_QSBzaWduaW5nIHRva2VuIG9mIGdpdGxhYiE=";

/// An entry of a webhooks file.
fn entry(id: &str, kind: &str, secret: &str, rest: &str) -> String {
    format!(
        "[[webhook]]\nid = {id:?}\nkind = {kind:?}\nsecret = {secret:?}\nrooms = [{ROOM:?}, \"shop-*\"]\n{rest}\n"
    )
}

/// What the apps wait for: the deployment of the datafiles, in the ways of each sender.
fn all() -> String {
    let github = r#"
        [[webhook.on]]
        event = "workflow_run"
        when = { action = "completed", "workflow_run.conclusion" = "success", "workflow_run.name" = "Publish", "workflow_run.head_branch" = "main" }
        revision = "workflow_run.head_sha"
        [[webhook.on]]
        event = "push"
        when = { ref = ["refs/heads/main", "refs/tags/v*"], deleted = false }
        [[webhook.on]]
        event = "deployment_status"
        when = { "deployment_status.state" = "success", "deployment.environment" = "production" }
        [[webhook.on]]
        event = "page_build"
        when = { "build.status" = "built" }
    "#;
    let gitlab = r#"
        [[webhook.on]]
        event = "Pipeline Hook"
        when = { "object_attributes.status" = "success", "object_attributes.ref" = "main" }
        revision = "object_attributes.sha"
        [[webhook.on]]
        event = "Push Hook"
        when.ref = "refs/heads/main"
        [[webhook.on]]
        event = "Deployment Hook"
        when = { status = "success", environment = "production" }
    "#;
    let standard = "[[webhook.on]]\nevent = \"datafile.published\"\n";
    [
        entry("site", "github", GITHUB_SECRET, github),
        entry("lab", "gitlab", GITLAB_TOKEN, gitlab),
        entry("lab-signed", "gitlab", GITLAB_SIGNING_TOKEN, gitlab),
        entry("cms", "standard", STANDARD_SECRET, standard),
    ]
    .concat()
}

fn with_webhooks(file: &str) -> Setup {
    Setup::memory().set("webhooks.file", file)
}

async fn start(files: &Files) -> Node {
    with_webhooks(&files.write("webhooks.toml", &all())).start().await
}

fn path(room: &str, kind: &str) -> String {
    format!("/v1/rooms/{room}/webhooks/{kind}")
}

fn hmac(key: &[u8], parts: &[&str]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().to_vec()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn json_post(path: &str, body: &str) -> Request {
    Request::post(path).header("Content-Type", "application/json").body(body)
}

/// A delivery with the headers of GitHub.
fn github(room: &str, secret: &str, event: &str, delivery: &str, body: &str) -> Request {
    let signature = hex::encode(hmac(secret.as_bytes(), &[body]));
    json_post(&path(room, "github"), body)
        .header("User-Agent", "GitHub-Hookshot/044aadd")
        .header("X-GitHub-Hook-ID", "292430182")
        .header("X-GitHub-Event", event)
        .header("X-GitHub-Delivery", delivery)
        .header("X-Hub-Signature-256", &format!("sha256={signature}"))
}

/// A delivery with the headers of GitLab and a secret token.
fn gitlab(room: &str, token: &str, event: &str, delivery: &str, body: &str) -> Request {
    json_post(&path(room, "gitlab"), body)
        .header("User-Agent", "GitLab/18.5.0")
        .header("X-Gitlab-Token", token)
        .header("X-Gitlab-Event", event)
        .header("X-Gitlab-Event-UUID", "13792a34-cac6-4fda-95a8-c58e00a3954e")
        .header("Idempotency-Key", delivery)
}

/// The headers of Standard Webhooks.
fn signed(request: Request, secret: &str, id: &str, timestamp: u64, body: &str) -> Request {
    let key = BASE64.decode(secret.trim_start_matches("whsec_")).expect("base64");
    let signature = hmac(&key, &[id, ".", &timestamp.to_string(), ".", body]);
    request
        .header("webhook-id", id)
        .header("webhook-timestamp", &timestamp.to_string())
        .header("webhook-signature", &format!("v1,{}", BASE64.encode(signature)))
}

fn standard(room: &str, id: &str, timestamp: u64, body: &str) -> Request {
    signed(json_post(&path(room, "standard"), body), STANDARD_SECRET, id, timestamp, body)
}

/// The shape of a workflow run that ended, as far as anyone looks at it.
fn workflow_run(name: &str, branch: &str, conclusion: &str) -> Value {
    json!({
        "action": "completed",
        "workflow": {"id": 2_823_525, "name": name, "path": ".github/workflows/publish.yml", "state": "active"},
        "workflow_run": {
            "id": 289_782_451, "name": name, "head_branch": branch, "event": "push", "status": "completed",
            "head_sha": "3484a3fb816e0859fd6e1cea078d76385ff50625", "conclusion": conclusion, "pull_requests": [],
            "head_commit": {"id": "3484a3fb816e0859fd6e1cea078d76385ff50625", "message": "feat: ünïcode 😀"},
        },
        "repository": {"id": 300_029_405, "full_name": "octo-org/octo-repo", "default_branch": "main"},
        "organization": {"login": "octo-org"}, "sender": {"login": "Codertocat"},
    })
}

fn pipeline(reference: &str, status: &str) -> Value {
    json!({
        "object_kind": "pipeline",
        "object_attributes": {
            "id": 31, "ref": reference, "tag": false, "sha": "bcbb5ec396a2c0f828686f14fac9b80b780504f2",
            "status": status, "stages": ["build", "deploy"], "duration": 63,
        },
        "project": {"id": 1, "path_with_namespace": "gitlab-org/gitlab-test", "default_branch": "main"},
        "builds": [{"id": 380, "stage": "deploy", "name": "production", "status": status}],
    })
}

/// Publishes by key and sees that nothing else came before it.
async fn expect_nothing_before_a_fence(node: &Node, socket: &mut crate::support::socket::Socket) {
    node.refresh_to(ROOM, "fence").await;
    socket.expect_frame(&refresh_with("fence")).await;
}

fn ignored(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    body["ignored"].as_str().unwrap_or_else(|| panic!("not ignored: {body}")).to_owned()
}

async fn count(node: &Node, result: &str) -> f64 {
    node.metric("relay_publishes_total", &[("api", "webhook"), ("result", result)]).await
}

#[tokio::test]
async fn a_successful_workflow_run_of_that_name_tells_the_apps() {
    let files = Files::new();
    let node = start(&files).await;
    let mut socket = node.connect(ROOM).await;

    let body = workflow_run("Publish", "main", "success").to_string();
    let answer = github(ROOM, GITHUB_SECRET, "workflow_run", "d-1", &body).send(node.public).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let state = answer.json();
    assert_eq!((&state["room"], &state["connections"]), (&json!(ROOM), &json!(1)));
    assert_eq!(state["nodes"], json!({"expected": 1, "confirmed": 1}));
    assert_eq!(state["published_by"], "webhook:site");
    let sha = "3484a3fb816e0859fd6e1cea078d76385ff50625";
    assert_eq!(state["revision"], sha);
    socket.expect_frame(&refresh_with(sha)).await;
    assert_eq!(node.room(ROOM).await.json()["published_by"], "webhook:site");
    assert_eq!(count(&node, "ok").await, 1.0);
}

#[tokio::test]
async fn what_no_rule_asks_for_is_answered_200_and_says_why() {
    let files = Files::new();
    let node = start(&files).await;
    let mut socket = node.connect(ROOM).await;
    let run = |name, branch, conclusion| workflow_run(name, branch, conclusion).to_string();
    let mut started = workflow_run("Publish", "main", "success");
    started["action"] = json!("requested");
    let cases = [
        (
            "workflow_run",
            run("Publish", "main", "failure"),
            "workflow_run.conclusion is \"failure\", not \"success\"",
        ),
        ("workflow_run", run("Test", "main", "success"), "workflow_run.name is \"Test\", not \"Publish\""),
        (
            "workflow_run",
            run("Publish", "dev", "success"),
            "workflow_run.head_branch is \"dev\", not \"main\"",
        ),
        ("workflow_run", started.to_string(), "action is \"requested\", not \"completed\""),
        ("workflow_run", "{}".to_owned(), "action is not there"),
        ("push", json!({"ref": "refs/heads/dev", "deleted": false}).to_string(), "ref is \"refs/heads/dev\""),
        (
            "push",
            json!({"ref": "refs/tags/v1", "deleted": true}).to_string(),
            "deleted is \"true\", not \"false\"",
        ),
        ("star", "{}".to_owned(), "the event is \"star\", not \"workflow_run\""),
    ];
    for (index, (event, body, why)) in cases.iter().enumerate() {
        let answer = github(ROOM, GITHUB_SECRET, event, &format!("d-{index}"), body).send(node.public).await;
        let told = ignored(&answer);
        assert!(told.contains(why), "{why}: {told}");
    }
    let failed = gitlab(ROOM, GITLAB_TOKEN, "Pipeline Hook", "d", &pipeline("main", "failed").to_string());
    assert!(ignored(&failed.send(node.public).await).contains("object_attributes.status is \"failed\""));
    let other =
        standard(ROOM, "msg_1", now(), r#"{"type": "user.created", "data": {}}"#).send(node.public).await;
    assert_eq!(ignored(&other), "the event is \"user.created\", not \"datafile.published\"");

    expect_nothing_before_a_fence(&node, &mut socket).await;
    assert_eq!(count(&node, "ignored").await, cases.len() as f64 + 2.0);
    assert_eq!(count(&node, "ok").await, 0.0);
}

#[tokio::test]
async fn deliveries_of_every_kind_of_event_tell_the_apps() {
    let files = Files::new();
    let node = start(&files).await;
    let mut socket = node.connect(ROOM).await;
    let status =
        json!({"deployment_status": {"state": "success"}, "deployment": {"environment": "production"}});
    let deployment = json!({
        "object_kind": "deployment", "status": "success", "deployment_id": 15, "environment": "production",
        "project": {"id": 30, "path_with_namespace": "root/site"}, "short_sha": "279484c0",
    });
    let of_github = |event: &str, body: Value| github(ROOM, GITHUB_SECRET, event, event, &body.to_string());
    let of_gitlab = |event: &str, body: Value| {
        gitlab(ROOM, GITLAB_TOKEN, event, &event.replace(' ', "-"), &body.to_string())
    };
    let of_standard =
        r#"{"type": "datafile.published", "timestamp": "2026-11-22T12:00:00Z", "data": {"id": 1}}"#;
    for request in [
        of_github(
            "push",
            json!({"ref": "refs/heads/main", "deleted": false, "after": "6113728f27ae82c7b1a177c8d03f9e96e0adf246"}),
        ),
        of_github("deployment_status", status),
        of_github("page_build", json!({"id": 15, "build": {"status": "built", "commit": "d16b1f3"}})),
        of_gitlab(
            "Push Hook",
            json!({"object_kind": "push", "ref": "refs/heads/main", "total_commits_count": 4}),
        ),
        of_gitlab("Deployment Hook", deployment),
        standard(ROOM, "msg_1", now(), of_standard),
    ] {
        let answer = request.send(node.public).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.json()["position"].is_null(), "{answer:?}");
        socket.expect_frame(REFRESH).await;
    }
    let answer = of_gitlab("Pipeline Hook", pipeline("main", "success")).send(node.public).await;
    assert_eq!(answer.json()["published_by"], "webhook:lab");
    socket.expect_frame(&refresh_with("bcbb5ec396a2c0f828686f14fac9b80b780504f2")).await;
}

#[tokio::test]
async fn gitlab_may_sign_instead_of_showing_its_token() {
    let files = Files::new();
    let node = start(&files).await;
    let body = pipeline("main", "success").to_string();
    let request = || json_post(&path(ROOM, "gitlab"), &body).header("X-Gitlab-Event", "Pipeline Hook");

    let answer = signed(request(), GITLAB_SIGNING_TOKEN, "id-1", now(), &body).send(node.public).await;
    assert_eq!((answer.status, &answer.json()["published_by"]), (200, &json!("webhook:lab-signed")));

    let unsigned = request().header("X-Gitlab-Token", GITLAB_SIGNING_TOKEN);
    let other = signed(request(), STANDARD_SECRET, "id-2", now(), &body);
    let late = signed(request(), GITLAB_SIGNING_TOKEN, "id-3", now() - 400, &body);
    for request in [request(), unsigned, other, late] {
        request.send(node.public).await.expect_problem(401, "unauthorized");
    }
    // While one replaces the other, GitLab sends both, and the relay need not know both.
    let both =
        signed(request(), STANDARD_SECRET, "id-4", now(), &body).header("X-Gitlab-Token", GITLAB_TOKEN);
    assert_eq!(both.send(node.public).await.json()["published_by"], "webhook:lab");
}

#[tokio::test]
async fn the_published_vectors_are_believed() {
    let files = Files::new();
    let node = start(&files).await;
    // "Hello, World!" is signed well, and is no JSON.
    let vector =
        json_post(&path(ROOM, "github"), "Hello, World!").header("X-Hub-Signature-256", GITHUB_SIGNATURE);
    let answer = vector.header("X-GitHub-Event", "push").send(node.public).await;
    answer.expect_problem(400, "invalid_body");
    assert!(answer.json()["detail"].as_str().unwrap_or_default().contains("not JSON"), "{answer:?}");

    // That of Standard Webhooks is right but years old, as the answer says.
    let vector = json_post(&path(ROOM, "standard"), r#"{"test": 2432232314}"#)
        .header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
        .header("webhook-timestamp", "1614265330")
        .header("webhook-signature", STANDARD_SIGNATURE);
    let answer = vector.send(node.public).await;
    answer.expect_problem(401, "unauthorized");
    assert!(answer.json()["detail"].as_str().unwrap_or_default().contains("clock"), "{answer:?}");
}

#[tokio::test]
async fn a_delivery_without_a_good_signature_is_refused_with_401() {
    let files = Files::new();
    let node = start(&files).await;
    let body = workflow_run("Publish", "main", "success").to_string();
    let tampered = body.replace("octo-repo", "evil-repo");
    let good = hex::encode(hmac(GITHUB_SECRET.as_bytes(), &[&body]));
    let with = |body: &str, signature: &str| {
        let request = json_post(&path(ROOM, "github"), body).header("X-GitHub-Event", "workflow_run");
        request.header("X-Hub-Signature-256", signature)
    };
    let message = r#"{"type": "datafile.published"}"#;
    let stale = |seconds: i64| standard(ROOM, "m", now().saturating_add_signed(seconds), message);
    let moved = json_post(&path(ROOM, "standard"), message)
        .header("webhook-id", "other")
        .header("webhook-timestamp", &now().to_string())
        .header("webhook-signature", STANDARD_SIGNATURE);
    let requests = [
        json_post(&path(ROOM, "github"), &body),
        json_post(&path(ROOM, "github"), &body).bearer(KEY),
        with(&body, ""),
        with(&body, &good),
        with(&body, &format!("sha1={good}")),
        with(&body, "sha256=00"),
        with(&tampered, &format!("sha256={good}")),
        with(&format!("{body} "), &format!("sha256={good}")),
        with(&body, &format!("sha256={good}")).header("X-Hub-Signature-256", &format!("sha256={good}")),
        github(ROOM, "It's a secret to Everybody", "workflow_run", "d", &body),
        github(ROOM, GITLAB_TOKEN, "workflow_run", "d", &body),
        gitlab(ROOM, "the secret token at gitlab ", "Push Hook", "d", "{}").header("X-Gitlab-Token", "twice"),
        gitlab(ROOM, "the secret token at gitla", "Push Hook", "d", "{}"),
        gitlab(ROOM, GITHUB_SECRET, "Push Hook", "d", "{}"),
        json_post(&path(ROOM, "gitlab"), "{}").header("X-Gitlab-Event", "Push Hook"),
        json_post(&path(ROOM, "standard"), message),
        stale(-310),
        stale(310),
        moved,
        signed(json_post(&path(ROOM, "standard"), message), GITLAB_SIGNING_TOKEN, "m", now(), message),
    ];
    for request in &requests {
        let answer = request.send(node.public).await;
        assert_eq!(answer.status, 401, "{request:?} {answer:?}");
        answer.expect_problem(401, "unauthorized");
    }
    assert_eq!(node.room(ROOM).await.status, 404, "something was published");
    assert_eq!(count(&node, "unauthorized").await, requests.len() as f64);
}

#[tokio::test]
async fn a_redelivery_publishes_nothing_and_is_answered_as_before() {
    let redis = TestRedis::start().await;
    let files = Files::new();
    let setup = Setup::redis(&redis).set("webhooks.file", files.write("webhooks.toml", &all()));
    let nodes = cluster(&setup, 2).await;
    let mut socket = nodes[0].connect(ROOM).await;
    let body = json!({"ref": "refs/heads/main", "deleted": false}).to_string();
    let message = r#"{"type": "datafile.published"}"#;
    let push = || github(ROOM, GITHUB_SECRET, "push", "72d3162e-cc78", &body);
    let hook = || gitlab(ROOM, GITLAB_TOKEN, "Push Hook", "f5e5f430-f57b", &body);

    for (first, again) in [
        (push(), push()),
        (hook(), hook()),
        // A retry bears the time of the retry.
        (standard(ROOM, "msg_1", now() - 60, message), standard(ROOM, "msg_1", now(), message)),
    ] {
        let first = first.send(nodes[0].public).await;
        assert_eq!(first.status, 200, "{first:?}");
        socket.expect_frame(REFRESH).await;
        let again = again.send(nodes[1].public).await;
        assert_eq!((again.status, again.json()), (first.status, first.json()));
    }
    assert_eq!(count(&nodes[1], "duplicate").await, 3.0);

    // The same id at another webhook, in another room, or as a publisher's key, is another delivery.
    let same_id = gitlab(ROOM, GITLAB_TOKEN, "Push Hook", "72d3162e-cc78", &body);
    let other_room = github("shop-1", GITHUB_SECRET, "push", "72d3162e-cc78", &body);
    let by_key = refresh(ROOM).header("Idempotency-Key", "72d3162e-cc78");
    for (request, connections) in [(same_id, 1), (other_room, 0), (by_key, 1)] {
        let answer = request.send(nodes[1].public).await;
        assert_eq!((answer.status, &answer.json()["connections"]), (200, &json!(connections)), "{answer:?}");
    }
    socket.expect_frame(REFRESH).await;
    socket.expect_frame(REFRESH).await;
    expect_nothing_before_a_fence(&nodes[0], &mut socket).await;
}

#[tokio::test]
async fn a_delivery_that_failed_is_published_when_it_is_sent_again() {
    let mut redis = TestRedis::start().await;
    let files = Files::new();
    let node = Setup::redis(&redis).set("webhooks.file", files.write("webhooks.toml", &all())).start().await;
    let mut socket = node.connect(ROOM).await;
    let body = json!({"ref": "refs/heads/main", "deleted": false}).to_string();
    let push = || github(ROOM, GITHUB_SECRET, "push", "72d3162e-cc78", &body);

    redis.kill9().await;
    let failed = push().send(node.public).await;
    failed.expect_problem(503, "broker_unavailable");
    failed.expect_retry_after();
    redis.restart().await;

    let again = eventually(3 * SOON, "the node publishes again", async || {
        let answer = push().send(node.public).await;
        equal("status", &answer.status, &200).map(|()| answer)
    })
    .await;
    assert_eq!(again.json()["connections"], 1);
    socket.expect_frame(REFRESH).await;
}

#[tokio::test]
async fn a_delivery_that_failed_although_redis_took_it_later_is_not_lost() {
    let redis = TestRedis::start().await;
    let files = Files::new();
    let node = Setup::redis(&redis).set("webhooks.file", files.write("webhooks.toml", &all())).start().await;
    let mut socket = node.connect(ROOM).await;
    let body = json!({"ref": "refs/heads/main", "deleted": false}).to_string();
    let push = || github(ROOM, GITHUB_SECRET, "push", "72d3162e-cc78", &body);

    redis.freeze();
    push().send(node.public).await.expect_problem(503, "broker_unavailable");
    redis.thaw();

    eventually(3 * SOON, "the delivery succeeds", async || {
        let status = push().send(node.public).await.status;
        // Whether the first one was taken after all, and nobody was left to count who heard it, is chance.
        if matches!(status, 200 | 202) { Ok(()) } else { Err(format!("status {status}")) }
    })
    .await;
    socket.expect_frame(REFRESH).await;
}

#[tokio::test]
async fn an_answer_does_not_wait_longer_than_senders_do() {
    let redis = TestRedis::start().await;
    let files = Files::new();
    let setup = Setup::redis(&redis)
        .set("webhooks.file", files.write("webhooks.toml", &all()))
        .set("publish.confirm_timeout_ms", 60_000);
    let nodes = cluster(&setup, 2).await;
    nodes[1].freeze();
    let push = github(ROOM, GITHUB_SECRET, "push", "d", r#"{"ref": "refs/heads/main", "deleted": false}"#);
    // GitHub and GitLab give up after 10 seconds.
    let answer =
        timeout(Duration::from_secs(9), push.send(nodes[0].public)).await.expect("an answer in time");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["nodes"], json!({"expected": 2, "confirmed": 1}));
    nodes[1].thaw();
}

#[tokio::test]
async fn a_ping_is_answered_and_publishes_nothing() {
    let files = Files::new();
    let node = start(&files).await;
    let body =
        json!({"zen": "Keep it logically awesome.", "hook_id": 109_948_940, "hook": {"type": "Repository"}});
    let answer = github(ROOM, GITHUB_SECRET, "ping", "d-1", &body.to_string()).send(node.public).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"pong": true, "webhook": "site", "room": ROOM})));
    assert_eq!(node.room(ROOM).await.status, 404, "something was published");
    // A ping shows at once that something is set up wrongly.
    let wrong = github(ROOM, GITLAB_TOKEN, "ping", "d-2", &body.to_string());
    wrong.send(node.public).await.expect_problem(401, "unauthorized");
    let elsewhere = github("elsewhere", GITHUB_SECRET, "ping", "d-3", &body.to_string());
    elsewhere.send(node.public).await.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn a_room_that_is_not_the_webhooks_is_refused_with_403() {
    let files = Files::new();
    let node = start(&files).await;
    let body = json!({"ref": "refs/heads/main", "deleted": false}).to_string();
    for (room, status) in
        [("shop-1", 200), ("feature%76isor", 200), ("Featurevisor", 403), ("shop", 403), ("other", 403)]
    {
        let answer = github(room, GITHUB_SECRET, "push", room, &body).send(node.public).await;
        assert_eq!(answer.status, status, "{room}: {answer:?}");
        if status == 403 {
            answer.expect_problem(403, "forbidden");
        }
    }
    let answer = github("broken%ff", GITHUB_SECRET, "push", "d", &body).send(node.public).await;
    answer.expect_problem(400, "invalid_room");
    assert_eq!(count(&node, "forbidden").await, 3.0);
    assert_eq!(node.room("other").await.status, 404, "something was published");
}

#[tokio::test]
async fn a_body_is_json_or_githubs_form_and_within_its_limit() {
    let files = Files::new();
    let file = files.write("webhooks.toml", &all());
    let node = with_webhooks(&file).set("webhooks.body_limit_bytes", 100_000).start().await;
    let push = json!({"ref": "refs/heads/main", "deleted": false}).to_string();
    let form = percent_encode(push.as_bytes(), NON_ALPHANUMERIC).to_string();
    let sent_as = |content_type: &str, body: &str| {
        let signature = hex::encode(hmac(GITHUB_SECRET.as_bytes(), &[body]));
        Request::post(&path(ROOM, "github"))
            .header("Content-Type", content_type)
            .header("X-GitHub-Event", "push")
            .header("X-Hub-Signature-256", &format!("sha256={signature}"))
            .body(body)
    };
    for request in [
        sent_as("application/x-www-form-urlencoded", &format!("payload={form}")),
        sent_as("application/json; charset=utf-8", &push),
        sent_as("application/json", &push).header("Transfer-Encoding", "chunked"),
        sent_as("application/json", &format!("{push}{}", " ".repeat(100_000 - push.len()))),
    ] {
        assert_eq!(request.send(node.public).await.status, 200, "{request:?}");
    }
    for (content_type, body) in [
        ("application/json", "{\"ref\": "),
        ("application/json", ""),
        ("application/json", &"[".repeat(90_000)),
        ("application/x-www-form-urlencoded", "ref=refs/heads/main"),
        ("application/x-www-form-urlencoded", "payload=%7B"),
    ] {
        sent_as(content_type, body).send(node.public).await.expect_problem(400, "invalid_body");
    }
    let answer = sent_as("text/xml", &push).send(node.public).await;
    answer.expect_problem(400, "invalid_body");
    assert!(answer.body.contains("set it to application/json"), "{answer:?}");

    for giant in ["x".repeat(100_001), "x".repeat(25 * 1024 * 1024)] {
        let chunked = sent_as("application/json", &giant).header("Transfer-Encoding", "chunked");
        for request in [sent_as("application/json", &giant), chunked] {
            request.send(node.public).await.expect_problem(413, "body_too_large");
        }
    }
    assert_eq!(sent_as("application/json", &push).send(node.public).await.status, 200);
}

#[tokio::test]
async fn other_paths_methods_and_delivery_ids_are_refused() {
    let files = Files::new();
    let node = start(&files).await;
    for method in ["GET", "PUT", "DELETE"] {
        let answer = Request::new(method, &path(ROOM, "github")).send(node.public).await;
        answer.expect_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    for path in [path(ROOM, "bitbucket"), path(ROOM, ""), path(ROOM, "github/more"), path(ROOM, "GitHub")] {
        Request::post(&path).send(node.public).await.expect_problem(404, "not_found");
    }
    let long = "d".repeat(129);
    let answer = github(ROOM, GITHUB_SECRET, "push", &long, "{}").send(node.public).await;
    answer.expect_problem(401, "unauthorized");

    let deaf = Setup::memory().start().await;
    let answer = github(ROOM, GITHUB_SECRET, "push", "d", "{}").send(deaf.public).await;
    answer.expect_problem(404, "not_found");
    assert!(answer.body.contains("webhooks.file"), "{answer:?}");
}

#[tokio::test]
async fn the_log_names_webhook_secret_and_delivery_and_shows_neither_secret_nor_payload() {
    let files = Files::new();
    let secrets = "[\"a secret that is replaced\", \"It's a Secret to Everybody\"]";
    let file = all().replacen(&format!("{GITHUB_SECRET:?}"), secrets, 1);
    let node = with_webhooks(&files.write("webhooks.toml", &file)).set("log.level", "trace").start().await;
    let body = json!({"ref": "refs/heads/main", "deleted": false, "pusher": "payload-hunter2"}).to_string();
    assert_eq!(github(ROOM, GITHUB_SECRET, "push", "72d3162e", &body).send(node.public).await.status, 200);
    let other = body.replace("main", "branch-hunter2");
    assert!(
        ignored(&github(ROOM, GITHUB_SECRET, "push", "72d3162f", &other).send(node.public).await)
            .contains("hunter2")
    );
    gitlab(ROOM, "wrong-hunter2", "Push Hook", "d", &body)
        .send(node.public)
        .await
        .expect_problem(401, "unauthorized");

    let logged = async |message: &str, delivery: &str| {
        eventually(SOON, "the delivery is logged", async || {
            let found = node.log().into_iter().find(|line| line["message"] == message);
            found.filter(|line| line["delivery"] == delivery).ok_or_else(|| node.output())
        })
        .await
    };
    let asks = logged("webhook asks for a refresh", "72d3162e").await;
    assert_eq!(
        (&asks["webhook"], &asks["secret"], &asks["event"]),
        (&json!("site"), &json!("secret 2"), &json!("push"))
    );
    let left = logged("webhook ignored", "72d3162f").await;
    assert_eq!(left["unmet"], "ref");
    let output = node.output();
    for text in ["hunter2", GITHUB_SECRET, GITLAB_TOKEN, "sha256=", "replaced"] {
        assert!(!output.contains(text), "{text} stands in the log:\n{output}");
    }
}

#[tokio::test]
async fn a_secret_is_replaced_while_deliveries_go_on() {
    let files = Files::new();
    let (old, new) = ("the old secret of the site", "the new secret of the site");
    let write = |secrets: &str| {
        let entry = entry("site", "github", old, "").replace(&format!("{old:?}"), secrets);
        files.write("webhooks.toml", &entry)
    };
    let node = with_webhooks(&write(&format!("{old:?}"))).start().await;
    let (secret, mut secrets) = watch::channel(old);
    let to = node.public;
    let deliveries = tokio::spawn(async move {
        let mut sent = 0;
        while secrets.has_changed().is_ok() {
            let secret = *secrets.borrow_and_update();
            let answer = github(ROOM, secret, "push", &format!("d-{sent}"), "{}").send(to).await;
            assert_eq!(answer.status, 200, "delivery {sent}: {answer:?}");
            sent += 1;
        }
        sent
    });
    let until = async |secret: &str, wanted: u16| {
        eventually(SOON, "the changed file is in force", async || {
            let answer = github(ROOM, secret, "ping", "p", "{}").send(node.public).await;
            equal("status", &answer.status, &wanted)
        })
        .await;
    };
    until(new, 401).await;
    write(&format!("[{new:?}, {old:?}]"));
    until(new, 200).await;
    secret.send(new).expect("deliveries go on");
    // The delivery that is under way may still bear the old one.
    let before = count(&node, "ok").await;
    eventually(SOON, "deliveries go on", async || {
        let after = count(&node, "ok").await;
        if after > before + 2.0 { Ok(()) } else { Err(format!("{after} after {before}")) }
    })
    .await;
    write(&format!("{new:?}"));
    until(old, 401).await;
    drop(secret);
    let sent = deliveries.await.expect("no delivery was refused");
    assert!(sent > 3, "{sent}");
}

#[tokio::test]
async fn secrets_in_files_of_their_own_are_read_again_too() {
    let files = Files::new();
    let (old, new) = ("the old secret of the site", "the new secret of the site");
    let secret_file = files.write("secret", &format!("{old}\n"));
    let file =
        entry("site", "github", "", "").replace("secret = \"\"", &format!("secret_file = {secret_file:?}"));
    let node = with_webhooks(&files.write("webhooks.toml", &file)).start().await;
    let status = async |secret: &str| github(ROOM, secret, "ping", "p", "{}").send(node.public).await.status;
    assert_eq!((status(old).await, status(new).await), (200, 401));

    files.write("secret", new);
    node.signal(Signal::SIGHUP);
    eventually(SOON, "the new secret is in force", async || equal("status", &status(new).await, &200)).await;
    assert_eq!(status(old).await, 401);

    files.write("secret", "short");
    node.signal(Signal::SIGHUP);
    node.until_metric("relay_reload_failing", &[("file", "webhooks")], 1.0).await;
    assert_eq!(status(new).await, 200);
    let told = node.status().await.to_string();
    assert!(told.contains("secret_file has fewer than 16 bytes"), "{told}");
}

#[tokio::test]
async fn a_bad_webhooks_file_is_told_at_the_start_with_every_problem() {
    let files = Files::new();
    let file = files.write(
        "webhooks.toml",
        "[[webhook]]\nid = \"site\"\nkind = \"bitbucket\"\nsecret = \"hunter2\"\nroms = [\"a\"]\n[[webhook.on]]\nevnt = \"push\"\n",
    );
    let settings = environment(&[("webhooks.file", &file), ("publish.keys_file", "/nowhere/keys.toml")]);
    let finished = run(&["check-config"], &settings).await.expect_code(78);
    let output = finished.output();
    for part in [
        "webhooks.file: webhook 1 (\"site\"): kind must be github, gitlab or standard",
        "unknown key roms; did you mean rooms?",
        "rooms is empty",
        "unknown key evnt; did you mean event?",
        &file,
        "publish.keys_file",
    ] {
        assert!(output.contains(part), "{part}:\n{output}");
    }
    assert!(!output.contains("hunter2"), "{output}");
    let missing = environment(&[("webhooks.file", "/nowhere/webhooks.toml")]);
    let output = run(&[], &missing).await.expect_code(78).output();
    assert!(output.contains("webhooks.file: cannot read the file /nowhere/webhooks.toml"), "{output}");
}
