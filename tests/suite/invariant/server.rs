//! Faults of one Redis server.

use super::{all, lasting, until_link};
use crate::support::node::{Node, Setup, cluster};
use crate::support::program::Files;
use crate::support::proxy::Proxy;
use crate::support::redis::TestRedis;
use crate::support::wait::{SOON, eventually};
use crate::support::witness::Witness;
use std::time::Duration;

async fn two_nodes(redis: &TestRedis) -> (Vec<Node>, Witness) {
    let nodes = cluster(&Setup::redis(redis), 2).await;
    let witness = Witness::start(&all(&nodes)).await;
    (nodes, witness)
}

#[tokio::test]
async fn holds_when_redis_is_killed_and_comes_back_with_older_data() {
    let mut redis = TestRedis::start().await;
    let (nodes, mut witness) = two_nodes(&redis).await;
    redis.command(&["SAVE"]).await;
    // These are lost, and the positions they had are given out again.
    witness.until_answered(&all(&nodes)).await;
    redis.kill9().await;
    until_link(&all(&nodes), false).await;
    redis.relaunch().await;
    witness.judge().await;
}

#[tokio::test]
async fn holds_when_redis_is_killed_and_comes_back_at_once_and_empty() {
    let mut redis = TestRedis::start().await;
    let (_nodes, mut witness) = two_nodes(&redis).await;
    redis.restart().await;
    witness.judge().await;
}

#[tokio::test]
async fn holds_when_redis_is_frozen_for_5_s() {
    let redis = TestRedis::start().await;
    let (nodes, mut witness) = two_nodes(&redis).await;
    redis.freeze();
    until_link(&all(&nodes), false).await;
    lasting(Duration::from_secs(5), &all(&nodes)).await;
    redis.thaw();
    witness.judge().await;
}

#[tokio::test]
async fn holds_when_redis_is_frozen_for_60_s() {
    let redis = TestRedis::start().await;
    let (nodes, mut witness) = two_nodes(&redis).await;
    redis.freeze();
    until_link(&all(&nodes), false).await;
    lasting(Duration::from_secs(60), &all(&nodes)).await;
    redis.thaw();
    witness.judge().await;
}

#[tokio::test]
async fn holds_when_redis_kills_the_subscriptions_again_and_again() {
    let redis = TestRedis::start().await;
    let (nodes, mut witness) = two_nodes(&redis).await;
    for _ in 0..5 {
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        witness.until_answered(&[&nodes[0]]).await;
    }
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    witness.judge().await;
}

#[tokio::test]
async fn holds_when_redis_pauses_its_clients() {
    let redis = TestRedis::start().await;
    let (nodes, mut witness) = two_nodes(&redis).await;
    for mode in ["ALL", "WRITE"] {
        redis.command(&["CLIENT", "PAUSE", "4000", mode]).await;
        until_link(&all(&nodes), false).await;
        until_link(&all(&nodes), true).await;
    }
    witness.judge().await;
}

#[tokio::test]
async fn holds_when_redis_drops_a_subscriber_that_does_not_keep_up() {
    let redis = TestRedis::start().await;
    let (nodes, mut witness) = two_nodes(&redis).await;
    redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 4mb 0 0"]).await;
    let channels: Vec<String> = redis.ask(&["PUBSUB", "CHANNELS", "*:publications"]).await;
    let junk = "x".repeat(1024 * 1024);
    nodes[1].freeze();
    eventually(2 * SOON, "Redis drops the subscriber", async || {
        redis.command(&["PUBLISH", &channels[0], &junk]).await;
        let clients: String = redis.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
        let left = clients.lines().count();
        if left == 1 { Ok(()) } else { Err(format!("{left} subscribers, such as {clients}")) }
    })
    .await;
    witness.until_answered(&[&nodes[0]]).await;
    nodes[1].thaw();
    witness.judge().await;
}

#[tokio::test]
async fn holds_when_the_password_is_changed() {
    let mut redis = TestRedis::start_with_password("old").await;
    let files = Files::new();
    let mut nodes = Vec::new();
    for name in ["one", "other"] {
        let file = files.write(name, "old\n");
        nodes.push(Setup::redis(&redis).set("redis.password_file", file).start().await);
    }
    let mut witness = Witness::start(&all(&nodes)).await;
    redis.command(&["CONFIG", "SET", "requirepass", "new"]).await;
    redis.use_password("new");
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    until_link(&all(&nodes), false).await;
    eventually(SOON, "the log tells that the password is wrong", async || {
        let told = nodes[0].log().iter().any(|event| event["cause"].to_string().contains("WRONGPASS"));
        if told { Ok(()) } else { Err(nodes[0].output()) }
    })
    .await;
    // One node learns of the new one before the other does.
    files.write("one", "new\n");
    witness.until_answered(&[&nodes[0]]).await;
    assert_eq!(nodes[1].metric("relay_redis_link_up", &[]).await, 0.0);
    files.write("other", "new\n");
    witness.judge().await;
}

#[tokio::test]
async fn holds_when_redis_takes_no_more_clients() {
    let redis = TestRedis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let inside = Setup::redis(&redis).start().await;
    let outside = Setup::redis(&redis).set("redis.url", proxy.url()).start().await;
    let mut witness = Witness::start(&[&inside, &outside]).await;
    // This one stays open, to take the limit back.
    let mut connection = redis.connection().await.expect("a connection");
    redis.command(&["CONFIG", "SET", "maxclients", "1"]).await;
    proxy.cut();
    until_link(&[&outside], false).await;
    proxy.heal();
    eventually(SOON, "the node tries in vain", async || {
        let tried = outside.log().iter().any(|event| event["message"] == "cannot link to Redis, trying on");
        if tried { Ok(()) } else { Err(outside.output()) }
    })
    .await;
    witness.until_answered(&[&inside]).await;
    assert_eq!(outside.metric("relay_redis_link_up", &[]).await, 0.0);
    let mut command = redis::cmd("CONFIG");
    command.arg("SET").arg("maxclients").arg(10_000);
    command.exec_async(&mut connection).await.expect("the limit can be taken back");
    witness.judge().await;
}

#[tokio::test]
async fn holds_when_redis_restarts_under_5000_sockets() {
    let mut redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let mut witness = Witness::start_crowded(&all(&nodes), &all(&nodes), 17).await;
    redis.kill9().await;
    until_link(&all(&nodes), false).await;
    redis.restart().await;
    witness.judge().await;
    for node in &nodes {
        assert_eq!(node.metric("relay_connections", &[]).await, 2550.0);
    }
}
