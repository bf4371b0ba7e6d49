//! Redis as it is run in production: behind Sentinels, as a cluster, with replicas, on a Unix socket. Nodes find the servers
//! that count, notice when others take over, and go on as one cluster.

use crate::support::node::{Node, Setup, cluster, until_cluster_of};
use crate::support::redis::TestRedis;
use crate::support::redis_cluster::RedisCluster;
use crate::support::sentinel::{Plan, Sentinels, configuration, urls};
use crate::support::socket::{Socket, refresh_with};
use crate::support::wait::{SOON, equal, eventually};
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;

const ROOM: &str = "featurevisor";

/// By when a failover is over: Sentinels and clusters take some seconds to agree, and nodes ask every few seconds.
const FAILED_OVER_WITHIN: Duration = Duration::from_secs(30);

/// Panics unless a publish to each node reaches exactly the sockets of all, which are these, and all nodes confirm.
async fn expect_exact_counts(nodes: &[Node], sockets: &mut [Socket], room: &str, round: &str) {
    for (index, node) in nodes.iter().enumerate() {
        let revision = format!("{round}-{index}");
        let wanted = json!({"expected": nodes.len(), "confirmed": nodes.len()});
        eventually(FAILED_OVER_WITHIN, "a publish is confirmed by all", async || {
            let answer = node.refresh_to(room, &revision).await;
            if answer.status != 200 {
                return Err(format!("{answer:?}"));
            }
            equal("nodes", &answer.json()["nodes"], &wanted)?;
            equal("connections", &answer.json()["connections"], &json!(sockets.len()))
        })
        .await;
        let frame = refresh_with(&revision);
        for socket in &mut *sockets {
            // A heal before may have told of what came before.
            eventually(SOON, "the socket is told", async || equal("frame", &socket.frame().await, &frame))
                .await;
        }
    }
}

/// A different number of sockets on each node.
async fn sockets_on(nodes: &[Node], room: &str) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        sockets.extend(node.connect_many(room, index + 1).await);
    }
    sockets
}

/// Waits until all nodes are linked to exactly these servers.
async fn until_linked_to(nodes: &[Node], addresses: &[String]) {
    let wanted: HashSet<String> = addresses.iter().cloned().collect();
    for node in nodes {
        eventually(FAILED_OVER_WITHIN, "the node is linked to the new servers", async || {
            let status = node.status().await;
            equal("link", &status["broker"]["link"], &json!("up"))?;
            equal("servers", &RedisCluster::addresses(&status), &wanted)
        })
        .await;
    }
}

async fn until_link_down(node: &Node) -> String {
    eventually(SOON, "the link is down", async || {
        let broker = node.status().await["broker"].clone();
        equal("link", &broker["link"], &json!("down"))?;
        Ok(broker["last_error"].as_str().unwrap_or_default().to_owned())
    })
    .await
}

#[tokio::test]
async fn three_nodes_follow_the_master_that_sentinels_name_through_a_clean_failover_and_a_kill() {
    let mut group = Sentinels::start().await;
    let nodes = cluster(&group.setup(), 3).await;
    let mut sockets = sockets_on(&nodes, ROOM).await;
    until_linked_to(&nodes, &[group.servers[0].address()]).await;
    assert_eq!(nodes[0].status().await["broker"]["mode"], "sentinel");
    expect_exact_counts(&nodes, &mut sockets, ROOM, "first").await;

    group.fail_over().await;
    group.until_master(1).await;
    until_linked_to(&nodes, &[group.servers[1].address()]).await;
    expect_exact_counts(&nodes, &mut sockets, ROOM, "second").await;

    // Sentinel made a replica of the old master, which can take over in its turn.
    group.servers[0].until_replica_of(group.servers[1].port()).await;
    group.until_agreed(1).await;
    group.servers[1].kill9().await;
    group.until_master(0).await;
    until_linked_to(&nodes, &[group.servers[0].address()]).await;
    expect_exact_counts(&nodes, &mut sockets, ROOM, "third").await;
    for socket in &mut sockets {
        socket.expect_alive().await;
    }
}

#[tokio::test]
async fn sentinels_have_a_password_of_their_own_and_may_be_dead_or_name_the_old_master() {
    let plan =
        Plan { password: Some("for-data"), sentinel_password: Some("for-sentinels"), ..Plan::default() };
    let mut group = Sentinels::start_as(plan).await;
    group.fail_over().await;
    group.until_master(1).await;
    group.sentinels[0].kill9().await;
    // It was cut off before the failover: what it watches was a master then, and lives.
    let old_master = TestRedis::start_with_password("for-data").await;
    let lines = configuration(old_master.port(), Some("for-data"), Some("for-sentinels"), None);
    let stale = TestRedis::start_sentinel(&lines, Some("for-sentinels")).await;

    let all = urls([&stale].into_iter().chain(&group.sentinels));
    let setup = group.setup().set("redis.urls", all).set("redis.password", "for-data");
    let nodes = cluster(&setup.clone().set("redis.sentinel_password", "for-sentinels"), 2).await;

    until_linked_to(&nodes, &[group.servers[1].address()]).await;
    let mut sockets = sockets_on(&nodes, ROOM).await;
    expect_exact_counts(&nodes, &mut sockets, ROOM, "new master").await;
    let keys: Vec<String> = old_master.ask(&["KEYS", "*"]).await;
    assert_eq!(keys, Vec::<String>::new(), "the old master was written to");

    let node = setup.set("redis.sentinel_password", "wrong").start_unready().await;
    eventually(SOON, "the log tells that the password is wrong", async || {
        let line = node.log().into_iter().find(|event| event["message"] == "cannot link to Redis, trying on");
        let cause = line.map(|line| line["cause"].to_string()).unwrap_or_default();
        if cause.contains("WRONGPASS") { Ok(()) } else { Err(format!("the cause is {cause:?}")) }
    })
    .await;
    assert_eq!(node.readiness().await, 503);
}

#[tokio::test]
async fn three_nodes_stay_one_cluster_while_redis_cluster_fails_over_moves_slots_and_loses_a_master() {
    let mut redis = RedisCluster::start().await;
    let nodes = cluster(&redis.setup(), 3).await;
    let addresses = |redis: &RedisCluster, indices: [usize; 3]| indices.map(|i| redis.servers[i].address());
    until_linked_to(&nodes, &addresses(&redis, [0, 1, 2])).await;
    let broker = nodes[0].status().await["broker"].clone();
    assert_eq!(broker["mode"], "cluster");
    let buckets = broker["servers"].as_array().expect("servers").iter().map(|s| s["buckets"].as_u64());
    assert_eq!(buckets.sum::<Option<u64>>(), Some(16), "{broker}");
    let mut rooms = Vec::new();
    for room in RedisCluster::rooms() {
        let sockets = sockets_on(&nodes[..1], &room).await;
        rooms.push((room, sockets));
    }
    // Every bucket, so every server.
    for (room, sockets) in &mut rooms {
        expect_exact_counts(&nodes, sockets, room, "first").await;
    }
    let mut sockets = sockets_on(&nodes, ROOM).await;
    expect_exact_counts(&nodes, &mut sockets, ROOM, "before").await;

    redis.servers[3].command(&["CLUSTER", "FAILOVER"]).await;
    until_linked_to(&nodes, &addresses(&redis, [3, 1, 2])).await;
    expect_exact_counts(&nodes, &mut sockets, ROOM, "failed over").await;

    let channels = channels_on(&redis.servers[1]).await;
    let moved = redis.slot_of(channels.first().expect("a bucket on the second master")).await;
    redis.move_slot(moved, 1, 2).await;
    eventually(FAILED_OVER_WITHIN, "all nodes hear the slot where it is now", async || {
        equal("channels left", &channels_on(&redis.servers[1]).await.len(), &(channels.len() - 1))
    })
    .await;
    for (room, sockets) in &mut rooms {
        expect_exact_counts(&nodes, sockets, room, "moved").await;
    }

    redis.servers[2].kill9().await;
    until_linked_to(&nodes, &addresses(&redis, [3, 1, 5])).await;
    for (room, sockets) in &mut rooms {
        expect_exact_counts(&nodes, sockets, room, "lost").await;
    }
    expect_exact_counts(&nodes, &mut sockets, ROOM, "after").await;
}

/// The channels of buckets that have a subscriber on that server.
async fn channels_on(server: &TestRedis) -> Vec<String> {
    server.ask(&["PUBSUB", "SHARDCHANNELS", "*:publications"]).await
}

#[tokio::test]
async fn a_master_that_becomes_a_replica_is_noticed_although_its_connection_is_fine() {
    let (redis, other) = (TestRedis::start().await, TestRedis::start().await);
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let mut sockets = sockets_on(&nodes, ROOM).await;
    redis.command(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]).await;

    for node in &nodes {
        let error = until_link_down(node).await;
        assert!(error.contains("READONLY") || error.contains("read only"), "the cause is not told: {error}");
        node.refresh(ROOM).await.expect_problem(503, "broker_unavailable");
        assert_eq!(node.readiness().await, 200);
    }
    redis.command(&["REPLICAOF", "NO", "ONE"]).await;

    until_linked_to(&nodes, &[redis.address()]).await;
    until_cluster_of(&nodes.iter().collect::<Vec<_>>(), 2).await;
    expect_exact_counts(&nodes, &mut sockets, ROOM, "master again").await;
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let mut redis = TestRedis::away();
    let path = redis.file("redis.sock");
    redis.add_arguments(&["--unixsocket", &path, "--requirepass", "hunter2"]);
    redis.use_password("hunter2");
    redis.relaunch().await;
    let setup = Setup::memory().set("redis.url", format!("redis+unix://{path}"));
    let nodes = cluster(&setup.set("redis.password", "hunter2"), 3).await;
    let mut sockets = sockets_on(&nodes, ROOM).await;
    expect_exact_counts(&nodes, &mut sockets, ROOM, "unix").await;

    redis.restart().await;

    expect_exact_counts(&nodes, &mut sockets, ROOM, "restarted").await;
    assert_eq!(nodes[0].status().await["broker"]["servers"][0]["address"], path);
}
