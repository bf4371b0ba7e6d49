//! Probes and status.

use crate::support::http::Request;
use crate::support::node::{Setup, cluster};
use crate::support::redis::TestRedis;
use crate::support::wait::{SOON, eventually};

#[tokio::test]
async fn the_status_of_a_lone_node_tells_its_version_phase_rooms_and_sockets() {
    let node = Setup::memory().start().await;
    let _sockets = node.connect_many("featurevisor", 2).await;
    let _other = node.connect("another-room").await;
    node.until_metric("relay_connections", &[], 3.0).await;
    assert_eq!(node.metric("relay_nodes", &[]).await, 1.0);
    let status = node.status().await;
    let version = status["version"].as_str().unwrap_or_default();
    assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{status}");
    assert!(status["uptime_seconds"].is_number(), "{status}");
    assert_eq!(status["phase"], "serving", "{status}");
    assert_eq!(status["broker"]["kind"], "memory", "{status}");
    assert_eq!((&status["rooms"], &status["connections"]), (&2.into(), &3.into()), "{status}");
}

#[tokio::test]
async fn the_status_of_a_cluster_lists_the_live_nodes_with_their_sockets() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let _sockets = nodes[1].connect_many("featurevisor", 2).await;
    eventually(SOON, "the other node's sockets are listed", async || {
        let status = nodes[0].status().await;
        let listed = status["nodes"].as_array().unwrap_or_else(|| panic!("no list of nodes: {status}"));
        let mut sockets: Vec<_> = listed.iter().filter_map(|node| node["connections"].as_u64()).collect();
        sockets.sort_unstable();
        if sockets == [0, 2] { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let status = nodes[0].status().await;
    assert_eq!(status["broker"]["kind"], "redis", "{status}");
    assert_eq!(status["broker"]["link"], "up", "{status}");
}

#[tokio::test]
async fn liveness_never_depends_on_redis() {
    let redis = TestRedis::away();
    let node = Setup::redis(&redis).start_unready().await;
    assert_eq!(Request::get("/livez").send(node.admin).await.status, 200);
    assert_eq!(node.readiness().await, 503);
}
