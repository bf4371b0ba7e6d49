//! Faults of the network between nodes and Redis.

use super::{all, lasting, until_link};
use crate::support::node::{Node, Setup, cluster, until_cluster_of};
use crate::support::proxy::{Hole, Proxy};
use crate::support::redis::TestRedis;
use crate::support::wait::{SOON, equal, eventually};
use crate::support::witness::Witness;
use serde_json::json;
use std::time::Duration;

/// A node with a way of its own to Redis, and one whose way can fail.
struct Pair {
    whole: Node,
    cut_off: Node,
    proxy: Proxy,
    redis: TestRedis,
}

impl Pair {
    async fn start() -> (Self, Witness) {
        Self::start_with(Setup::memory()).await
    }

    async fn start_with(setup: Setup) -> (Self, Witness) {
        let redis = TestRedis::start().await;
        let proxy = Proxy::to(redis.port()).await;
        let whole = setup.clone().set("redis.url", redis.url()).start().await;
        let cut_off = setup.set("redis.url", proxy.url()).start().await;
        until_cluster_of(&[&whole, &cut_off], 2).await;
        let witness = Witness::start(&[&whole, &cut_off]).await;
        (Self { whole, cut_off, proxy, redis }, witness)
    }

    /// The other node goes on publishing while this one's way is a black hole.
    async fn through(hole: Hole) {
        let (pair, mut witness) = Self::start().await;
        pair.proxy.black_hole(hole);
        until_link(&[&pair.cut_off], false).await;
        witness.until_answered(&[&pair.whole]).await;
        pair.proxy.heal();
        witness.judge().await;
    }
}

#[tokio::test]
async fn holds_when_a_node_loses_redis_in_a_black_hole() {
    Pair::through(Hole::BothWays).await;
}

#[tokio::test]
async fn holds_when_nothing_of_a_node_reaches_redis() {
    Pair::through(Hole::ToServer).await;
}

#[tokio::test]
async fn holds_when_nothing_of_redis_reaches_a_node() {
    Pair::through(Hole::ToClient).await;
}

#[tokio::test]
async fn holds_when_a_black_hole_ends_before_it_is_noticed() {
    let (pair, mut witness) = Pair::start().await;
    for hole in [Hole::ToClient, Hole::BothWays, Hole::ToServer, Hole::ToClient] {
        pair.proxy.black_hole(hole);
        witness.until_answered(&[&pair.whole]).await;
        pair.proxy.heal();
        witness.until_answered(&[&pair.whole]).await;
    }
    witness.judge().await;
}

#[tokio::test]
async fn holds_when_connections_are_cut_again_and_again() {
    let (pair, mut witness) = Pair::start().await;
    for _ in 0..5 {
        pair.proxy.cut();
        witness.until_answered(&[&pair.whole]).await;
        pair.proxy.heal();
        witness.until_answered(&[&pair.whole]).await;
    }
    witness.judge().await;
}

/// The node that was away finds no head of what it missed, and knows of none.
#[tokio::test]
async fn holds_when_redis_is_emptied_while_a_node_is_away() {
    let (pair, mut witness) = Pair::start_with(Setup::memory().set("redis.reconcile_seconds", 1)).await;
    pair.proxy.cut();
    until_link(&[&pair.cut_off], false).await;
    witness.until_answered(&[&pair.whole]).await;
    pair.redis.command(&["FLUSHALL"]).await;
    pair.proxy.heal();
    witness.judge().await;
}

/// Nobody is left who knows of what the other node published; only that Redis is another one.
#[tokio::test]
async fn holds_when_redis_and_the_node_that_published_are_lost_while_a_node_is_away() {
    let (mut pair, mut witness) = Pair::start().await;
    pair.proxy.cut();
    until_link(&[&pair.cut_off], false).await;
    witness.until_answered(&[&pair.whole]).await;
    witness.forget(&pair.whole);
    pair.whole.kill9().await;
    pair.redis.restart().await;
    pair.proxy.heal();
    witness.judge().await;
}

/// As behind the name of a managed Redis. Commands under way reach the old server late, and it carries them out.
#[tokio::test]
async fn holds_when_the_address_of_redis_becomes_another_servers() {
    let (old, new) = (TestRedis::start().await, TestRedis::start().await);
    let address = Proxy::to(old.port()).await;
    // Commands wait for longer than it takes to notice the loss, so that answers of the old server are still taken.
    let setup = Setup::memory().set("redis.command_timeout_ms", 8000).set("redis.probe_timeout_ms", 300);
    let nodes = cluster(&setup.set("redis.url", address.url()), 2).await;
    let mut witness = Witness::start(&all(&nodes)).await;
    address.move_to(new.port());
    let run_id = json!(new.info("server").await.expect("INFO")["run_id"]);
    for node in &nodes {
        eventually(SOON, "the node is linked to the new server", async || {
            let broker = node.status().await["broker"].clone();
            equal("run id", &broker["servers"][0]["run_id"], &run_id)?;
            equal("link", &broker["link"], &json!("up"))
        })
        .await;
    }
    // By then all have been told that anything may have been missed.
    lasting(Duration::from_secs(3), &all(&nodes)).await;
    address.heal();
    witness.judge().await;
}
