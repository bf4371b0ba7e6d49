//! Other servers take over: what the old ones took last may be lost, as replication is asynchronous, but nobody misses it.

use super::all;
use crate::support::node::{cluster, until_cluster_of};
use crate::support::proxy::{Hole, Proxy};
use crate::support::redis_cluster::RedisCluster;
use crate::support::sentinel::{Plan, Sentinels, server};
use crate::support::socket::refresh_with;
use crate::support::wait::{SOON, equal, eventually};
use crate::support::witness::{TOLD_WITHIN, Witness};
use serde_json::json;
use std::time::Duration;

/// A node asks for the servers every 5 s, give or take a fifth.
const NOTICED_WITHIN: Duration = Duration::from_secs(6);

#[tokio::test]
async fn holds_through_a_clean_failover_of_sentinel() {
    let group = Sentinels::start().await;
    let nodes = cluster(&group.setup(), 3).await;
    let mut witness = Witness::start(&all(&nodes)).await;
    group.fail_over().await;
    group.until_master(1).await;
    witness.judge_within(NOTICED_WITHIN + TOLD_WITHIN).await;
}

#[tokio::test]
async fn holds_when_the_master_is_killed_under_sentinel() {
    let mut group = Sentinels::start().await;
    let nodes = cluster(&group.setup(), 3).await;
    let mut witness = Witness::start(&all(&nodes)).await;
    group.servers[0].kill9().await;
    group.until_master(1).await;
    witness.judge_within(NOTICED_WITHIN + TOLD_WITHIN).await;
}

#[tokio::test]
async fn holds_when_the_master_is_frozen_under_sentinel_and_comes_back_as_one() {
    let group = Sentinels::start().await;
    let nodes = cluster(&group.setup(), 3).await;
    let mut witness = Witness::start(&all(&nodes)).await;
    group.servers[0].freeze();
    group.until_master(1).await;
    witness.until_answered(&all(&nodes)).await;
    group.servers[0].thaw();
    witness.judge_within(NOTICED_WITHIN + TOLD_WITHIN).await;
}

/// Replica, Sentinels and two nodes lose sight of the master; a third node stays with it and sees nobody else. Both sides
/// publish to the same rooms, and both are answered.
#[tokio::test]
async fn holds_when_nodes_are_on_two_sides_of_a_partition() {
    const MAJORITY: &str = "127.0.0.2";
    let master = server(None, &[]).await;
    let way_to_master = Proxy::to(master.port()).await;
    let plan = Plan {
        master: Some(master),
        master_port: Some(way_to_master.port()),
        source: Some(MAJORITY),
        ..Plan::default()
    };
    let group = Sentinels::start_as(plan).await;
    let mut ways_to_sentinels = Vec::new();
    for sentinel in &group.sentinels {
        ways_to_sentinels.push(Proxy::to(sentinel.port()).await);
    }
    let urls: Vec<_> = ways_to_sentinels.iter().map(Proxy::url).collect();
    let majority = cluster(&group.setup(), 2).await;
    let minority = group.setup().set("redis.urls", urls.join(",")).start().await;
    let nodes = [&majority[0], &majority[1], &minority];
    until_cluster_of(&nodes, 3).await;
    let mut witness = Witness::start(&nodes).await;

    way_to_master.black_hole_for(MAJORITY.parse().expect("an address"));
    for way in &ways_to_sentinels {
        way.black_hole(Hole::BothWays);
    }
    group.until_master(1).await;
    for node in &majority {
        eventually(3 * SOON, "the majority goes to the new master", async || {
            let status = node.status().await;
            equal("address", &status["broker"]["servers"][0]["address"], &json!(group.servers[1].address()))?;
            equal("link", &status["broker"]["link"], &json!("up"))
        })
        .await;
    }
    for _ in 0..4 {
        witness.until_answered(&nodes).await;
    }
    let status = minority.status().await;
    assert_eq!(status["broker"]["servers"][0]["address"], format!("127.0.0.1:{}", way_to_master.port()));
    assert_eq!(status["broker"]["link"], "up");

    // The majority's counter is ahead of the minority's, and yet the minority's publication is the last one.
    let mut socket = majority[0].connect("ahead").await;
    for revision in ["1", "2", "3"] {
        assert!(matches!(majority[1].refresh_to("ahead", revision).await.status, 200 | 202));
        socket.expect_frame(&refresh_with(revision)).await;
    }
    assert!(matches!(minority.refresh_to("ahead", "last").await.status, 200 | 202));
    assert_eq!(socket.frames_so_far(), Vec::<String>::new());

    for way in ways_to_sentinels.iter().chain([&way_to_master]) {
        way.heal();
    }
    witness.judge_within(NOTICED_WITHIN + TOLD_WITHIN).await;
    assert!(socket.try_frame(SOON).await.is_some(), "the minority's last publication was never told");
}

#[tokio::test]
async fn holds_when_a_cluster_moves_a_slot_and_loses_a_master() {
    let mut redis = RedisCluster::start().await;
    let nodes = cluster(&redis.setup(), 3).await;
    let mut witness = Witness::start(&all(&nodes)).await;
    let channels: Vec<String> = redis.servers[1].ask(&["PUBSUB", "SHARDCHANNELS", "*:publications"]).await;
    let moved = redis.slot_of(channels.first().expect("a bucket on the second master")).await;
    redis.move_slot(moved, 1, 2).await;
    witness.until_answered(&all(&nodes)).await;

    let lost = redis.slot_of(channels.last().expect("a bucket on the second master")).await;
    redis.servers[1].kill9().await;
    redis.until_owner(lost, &[4], 0).await;
    witness.judge_within(NOTICED_WITHIN + TOLD_WITHIN).await;
}
