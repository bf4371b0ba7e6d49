//! Webhooks: whose deliveries are believed, and which of them tell the apps. Here are the senders.

mod deliveries;
mod events;
mod file;
mod requests;
mod senders;

use crate::support::http::{Answer, Request};
use crate::support::node::{Node, Setup};
use crate::support::program::Files;
use crate::support::socket::{Socket, refresh_with};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

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
async fn expect_nothing_before_a_fence(node: &Node, socket: &mut Socket) {
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
