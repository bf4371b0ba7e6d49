//! Which deliveries tell the apps, and what the others are answered.

use super::{
    GITHUB_SECRET, GITLAB_TOKEN, ROOM, count, expect_nothing_before_a_fence, github, gitlab, ignored, now,
    pipeline, standard, start, workflow_run,
};
use crate::support::program::Files;
use crate::support::socket::{REFRESH, refresh_with};
use serde_json::{Value, json};

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
