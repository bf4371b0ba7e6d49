//! Several nodes on one Redis: a publication to any of them reaches the sockets of all, once, and the answer counts them.

use crate::support::http::Request;
use crate::support::node::{KEY, Node, Setup, cluster, until_cluster_of};
use crate::support::redis::TestRedis;
use crate::support::socket::{REFRESH, Socket, refresh_with};
use crate::support::wait::{SOON, eventually};
use serde_json::json;

const ROOM: &str = "featurevisor";

/// Panics unless the next frame of each socket is this one.
async fn expect_frames(sockets: &mut [Socket], wanted: &str) {
    for socket in sockets {
        socket.expect_frame(wanted).await;
    }
}

async fn spread(nodes: &[Node], room: &str, counts: &[usize]) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for (node, count) in nodes.iter().zip(counts) {
        sockets.extend(node.connect_many(room, *count).await);
    }
    sockets
}

#[tokio::test]
async fn a_post_to_any_of_three_nodes_reaches_all_sockets_once_and_counts_them() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 3).await;
    let mut sockets = spread(&nodes, ROOM, &[3, 2, 4]).await;
    for (index, node) in nodes.iter().enumerate() {
        let revision = index.to_string();
        let answer = node.refresh_to(ROOM, &revision).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["nodes"], json!({"expected": 3, "confirmed": 3}));
        assert_eq!(body["connections"], 9);
        // The next frame of the next round shows that this one came once.
        expect_frames(&mut sockets, &refresh_with(&revision)).await;

        let answer = node.party(ROOM).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "Message sent to 9 connected participants"));
        expect_frames(&mut sockets, REFRESH).await;
    }
    nodes[0].refresh_to(ROOM, "fence").await;
    expect_frames(&mut sockets, &refresh_with("fence")).await;
}

#[tokio::test]
async fn the_count_follows_sockets_that_come_and_go() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let mut here = spread(&nodes, ROOM, &[2, 0]).await;
    let there = spread(&nodes, ROOM, &[0, 3]).await;
    assert_eq!(nodes[0].refresh(ROOM).await.json()["connections"], 5);
    drop(there);
    nodes[1].until_metric("relay_connections", &[], 0.0).await;
    assert_eq!(nodes[1].refresh(ROOM).await.json()["connections"], 2);
    expect_frames(&mut here, REFRESH).await;
    expect_frames(&mut here, REFRESH).await;
}

#[tokio::test]
async fn each_room_hears_only_its_own() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 3).await;
    let rooms = ["one", "two", "three", "four"];
    let mut sockets = Vec::new();
    for (index, room) in rooms.iter().enumerate() {
        let counts = [index, 1, 2];
        sockets.push(spread(&nodes, room, &counts).await);
    }
    for (index, room) in rooms.iter().enumerate() {
        let answer = nodes[index % 3].refresh_to(room, room).await.json();
        assert_eq!(answer["connections"], index + 3, "{room}");
    }
    for (room, sockets) in rooms.iter().zip(&mut sockets) {
        expect_frames(sockets, &refresh_with(room)).await;
    }
    for (room, sockets) in rooms.iter().zip(&mut sockets) {
        assert_eq!(nodes[2].refresh_to(room, "fence").await.status, 200);
        expect_frames(sockets, &refresh_with("fence")).await;
    }
}

#[tokio::test]
async fn a_room_can_be_looked_at_from_every_node() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let _sockets = spread(&nodes, ROOM, &[1, 2]).await;
    let published = nodes[0].refresh_to(ROOM, "42").await.json();
    for node in &nodes {
        eventually(SOON, "the room's sockets on all nodes are counted", async || {
            let answer = node.room(ROOM).await;
            let body = answer.json();
            let same = ["position", "revision", "published_at"]
                .iter()
                .all(|member| body[*member] == published[*member]);
            if same && body["connections"] == 3 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn who_reconnects_to_another_node_is_told_what_was_published_meanwhile() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let gone = nodes[0].connect(ROOM).await;
    drop(gone);
    nodes[0].refresh_to(ROOM, "7").await;
    nodes[1].connect(ROOM).await.expect_frame(&refresh_with("7")).await;
}

#[tokio::test]
async fn a_killed_node_gives_202_and_is_then_forgotten() {
    let redis = TestRedis::start().await;
    let mut nodes = cluster(&Setup::redis(&redis), 3).await;
    let mut sockets = spread(&nodes, ROOM, &[1, 1, 0]).await;
    let _lost = spread(&nodes, ROOM, &[0, 0, 1]).await;
    nodes[2].kill9().await;

    let answer = nodes[0].refresh_to(ROOM, "first").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["nodes"], json!({"expected": 3, "confirmed": 2}));
    assert_eq!(answer.json()["connections"], 2);
    expect_frames(&mut sockets, &refresh_with("first")).await;

    until_cluster_of(&[&nodes[0], &nodes[1]], 2).await;
    let answer = nodes[1].refresh_to(ROOM, "second").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["nodes"], json!({"expected": 2, "confirmed": 2}));
    assert_eq!(answer.json()["connections"], 2);
    expect_frames(&mut sockets, &refresh_with("second")).await;
}

#[tokio::test]
async fn a_node_that_leaves_in_order_is_forgotten_and_answers_stay_200() {
    let redis = TestRedis::start().await;
    let setup = Setup::redis(&redis).set("drain.notice_seconds", 0).set("drain.spread_seconds", 0);
    let mut nodes = cluster(&setup, 2).await;
    let mut sockets = spread(&nodes, ROOM, &[2, 0]).await;
    nodes[1].sigterm();
    nodes[1].exit_within(SOON).await;

    let answer = nodes[0].refresh(ROOM).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["nodes"], json!({"expected": 1, "confirmed": 1}));
    expect_frames(&mut sockets, REFRESH).await;
    until_cluster_of(&[&nodes[0]], 1).await;
}

#[tokio::test]
async fn a_node_that_joins_counts() {
    let redis = TestRedis::start().await;
    let setup = Setup::redis(&redis);
    let mut nodes = cluster(&setup, 2).await;
    let mut sockets = spread(&nodes, ROOM, &[1, 1]).await;
    nodes.push(setup.start().await);
    sockets.push(nodes[2].connect(ROOM).await);
    until_cluster_of(&nodes.iter().collect::<Vec<_>>(), 3).await;
    for (index, node) in nodes.iter().enumerate() {
        let revision = index.to_string();
        let answer = node.refresh_to(ROOM, &revision).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["nodes"], json!({"expected": 3, "confirmed": 3}));
        assert_eq!(answer.json()["connections"], 3);
        expect_frames(&mut sockets, &refresh_with(&revision)).await;
    }
}

#[tokio::test]
async fn clusters_with_different_prefixes_share_a_redis_without_hearing_each_other() {
    let redis = TestRedis::start().await;
    let blue = cluster(&Setup::redis(&redis).set("redis.key_prefix", "blue"), 2).await;
    let green = cluster(&Setup::redis(&redis).set("redis.key_prefix", "green"), 1).await;
    let mut blue_sockets = spread(&blue, ROOM, &[1, 1]).await;
    let mut green_sockets = spread(&green, ROOM, &[1]).await;
    let with_key = |node: &Node, revision: &str| {
        let request =
            Request::post("/v1/rooms/featurevisor/refresh").bearer(KEY).header("Idempotency-Key", "deploy-1");
        let (request, to) = (request.body(json!({"revision": revision}).to_string()), node.public);
        async move { request.send(to).await.json() }
    };

    let answer = with_key(&blue[0], "blue").await;
    assert_eq!((&answer["nodes"]["expected"], &answer["connections"]), (&json!(2), &json!(2)));
    assert!(green[0].room(ROOM).await.json()["position"].is_null(), "it sees the other cluster's head");
    let answer = with_key(&green[0], "green").await;
    assert_eq!((&answer["nodes"]["expected"], &answer["connections"]), (&json!(1), &json!(1)));

    expect_frames(&mut blue_sockets, &refresh_with("blue")).await;
    expect_frames(&mut green_sockets, &refresh_with("green")).await;
    let keys = redis.command(&["KEYS", "*"]).await;
    let keys: Vec<String> = redis::FromRedisValue::from_redis_value(keys).expect("a list of keys");
    let strange: Vec<_> = keys.iter().filter(|key| !key.contains("blue") && !key.contains("green")).collect();
    assert!(strange.is_empty(), "keys without a prefix: {strange:?}");
}
