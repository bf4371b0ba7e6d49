//! Deliveries that are sent again, that fail, and how long an answer takes.

use super::{
    GITHUB_SECRET, GITLAB_TOKEN, ROOM, all, count, expect_nothing_before_a_fence, github, gitlab, now,
    standard,
};
use crate::support::node::{Setup, cluster, refresh};
use crate::support::program::Files;
use crate::support::redis::TestRedis;
use crate::support::socket::REFRESH;
use crate::support::wait::{SOON, equal, eventually};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

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
