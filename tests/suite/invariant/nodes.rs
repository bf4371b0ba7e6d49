//! Faults of nodes.

use super::all;
use crate::support::node::{Setup, cluster};
use crate::support::redis::TestRedis;
use crate::support::wait::SOON;
use crate::support::witness::Witness;

#[tokio::test]
async fn holds_when_nodes_are_frozen_for_longer_than_their_records_live() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 4).await;
    let (running, frozen) = nodes.split_at(2);
    let mut witness = Witness::start_with(&all(&nodes), &all(running)).await;
    for node in frozen {
        node.freeze();
    }
    for node in running {
        node.until_metric_within(3 * SOON, "relay_nodes", &[], 2.0).await;
    }
    // What waited for the frozen nodes in Redis' buffers is lost now, and they are not told.
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    witness.until_answered(&all(running)).await;
    for node in frozen {
        node.thaw();
    }
    witness.judge().await;
    for node in &nodes {
        node.until_metric("relay_nodes", &[], 4.0).await;
    }
}
