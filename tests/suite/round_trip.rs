//! `refresh-relay publish` and `refresh-relay watch`: the two ends of the relay, for images without a shell.

use crate::support::node::{KEY, Node, Setup};
use crate::support::ports;
use crate::support::program::{Finished, run};
use crate::support::redis::TestRedis;
use crate::support::socket::{REFRESH, refresh_with};
use std::collections::BTreeMap;
use std::io::Write;
use tempfile::NamedTempFile;

const ROOM: &str = "a room/with %";

/// The path of the room's WebSocket: rooms there are not decoded, so one is taken that needs no encoding.
const PLAIN_ROOM: &str = "featurevisor";

fn key_file(key: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{key}").unwrap();
    file
}

async fn publish(url: &str, room: &str, key: &str, more: &[&str]) -> Finished {
    let file = key_file(key);
    let file = file.path().to_str().unwrap();
    let arguments = [&["publish", "--url", url, "--room", room, "--key-file", file], more].concat();
    run(&arguments, &BTreeMap::new()).await
}

async fn watch(node: &Node, more: &[&str]) -> Finished {
    let url = format!("ws://{}/party/{PLAIN_ROOM}", node.public);
    run(&[&["watch", "--url", &url], more].concat(), &BTreeMap::new()).await
}

#[tokio::test]
async fn publish_prints_the_answer_and_apps_are_told() {
    let node = Setup::memory().start().await;
    let mut socket = node.connect(PLAIN_ROOM).await;
    let url = format!("http://{}/", node.public);
    let finished = publish(&url, PLAIN_ROOM, KEY, &["--revision", "42", "--wait", "5"]).await.expect_code(0);
    let answer: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((&answer["revision"], &answer["connections"]), (&"42".into(), &1.into()));
    socket.expect_frame(&refresh_with("42")).await;
}

#[tokio::test]
async fn publish_takes_any_room_name() {
    let node = Setup::memory().start().await;
    let finished = publish(&format!("http://{}", node.public), ROOM, KEY, &[]).await.expect_code(0);
    let answer: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(answer["room"], ROOM);
}

#[tokio::test]
async fn publish_fails_with_a_reason_when_nobody_was_told() {
    let node = Setup::memory().start().await;
    let url = format!("http://{}", node.public);
    let wrong = publish(&url, PLAIN_ROOM, "wrong", &[]).await.expect_code(1);
    assert!(wrong.stderr.contains("401"), "{wrong:#?}");
    let nowhere = format!("http://127.0.0.1:{}", ports::free());
    let down = publish(&nowhere, PLAIN_ROOM, KEY, &[]).await.expect_code(1);
    assert!(down.stderr.contains(&nowhere), "{down:#?}");
    assert_eq!(down.stdout, "");
}

#[tokio::test]
async fn publish_fails_when_a_node_did_not_confirm() {
    let redis = TestRedis::start().await;
    let nodes = crate::support::node::cluster(&Setup::redis(&redis), 2).await;
    nodes[1].freeze();
    let finished = publish(&format!("http://{}", nodes[0].public), PLAIN_ROOM, KEY, &[]).await.expect_code(1);
    let answer: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(answer["nodes"]["confirmed"], 1, "{finished:#?}");
    nodes[1].thaw();
}

#[tokio::test]
async fn watch_connects_publishes_and_hears_of_it() {
    let node = Setup::memory().start().await;
    let (url, file) = (format!("http://{}", node.public), key_file(KEY));
    let round_trip =
        ["--publish-url", &url, "--room", PLAIN_ROOM, "--key-file", file.path().to_str().unwrap()];
    let finished =
        watch(&node, &[&round_trip[..], &["--timeout-seconds", "10"]].concat()).await.expect_code(0);
    assert_eq!(finished.stdout, format!("{REFRESH}\n"));
}

#[tokio::test]
async fn watch_fails_when_nothing_comes_in_time_or_the_node_leaves() {
    let node = Setup::memory().set("drain.notice_seconds", 0).set("drain.spread_seconds", 0).start().await;
    let late = watch(&node, &["--count", "1", "--timeout-seconds", "1"]).await.expect_code(1);
    assert!(late.stderr.contains("in time"), "{late:#?}");
    let leave = async {
        node.until_metric("relay_connections_opened_total", &[], 2.0).await;
        node.sigterm();
    };
    let (left, ()) = tokio::join!(watch(&node, &[]), leave);
    assert!(left.expect_code(1).stderr.contains("1012"));
}

#[tokio::test]
async fn watch_says_why_it_was_refused() {
    let node = Setup::memory().set("server.max_connections", 1).start().await;
    let _only = node.connect(PLAIN_ROOM).await;
    let refused = watch(&node, &["--timeout-seconds", "5"]).await.expect_code(1);
    assert!(refused.stderr.contains("503"), "{refused:#?}");
}
