//! What a request may look like.

use super::{GITHUB_SECRET, ROOM, all, github, hmac, path, start, with_webhooks};
use crate::support::http::Request;
use crate::support::node::Setup;
use crate::support::program::Files;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::json;

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
