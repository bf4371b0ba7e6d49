//! Nothing is lost when Redis, the network or a node fails.
//!
//! For every publication that was answered 2xx, and every client that was connected before it and still is some time after the
//! fault: the client was told to refresh at or after that publication. One test for each fault; what is watched, and how, is in
//! `support/witness.rs`.

mod failover;
mod network;
mod nodes;
mod server;

use crate::support::node::Node;
use crate::support::wait::{SOON, equal, throughout};
use std::time::Duration;

/// All of them, as the support code wants them.
fn all(nodes: &[Node]) -> Vec<&Node> {
    nodes.iter().collect()
}

async fn until_link(nodes: &[&Node], up: bool) {
    for node in nodes {
        node.until_metric_within(2 * SOON, "relay_redis_link_up", &[], f64::from(u8::from(up))).await;
    }
}

/// Lets the fault last; nodes stay ready all the while, as their sockets are fine.
async fn lasting(period: Duration, nodes: &[&Node]) {
    throughout(period, "the nodes stay ready", async || {
        for node in nodes {
            equal("/readyz", &node.readiness().await, &200)?;
        }
        Ok(())
    })
    .await;
}
