//! The nodes of the cluster: this one's record is renewed in the broker, and the others' are read on the way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, info};

use super::Node;
use crate::backoff::jittered;
use crate::broker::NodeRecord;

/// A fifth of a record's lifetime.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Members {
    list: Mutex<Vec<NodeRecord>>,
    woken: Notify,
    stopped: AtomicBool,
}

impl Members {
    pub(super) fn list(&self) -> Vec<NodeRecord> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Announces at once.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Announces no more.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Takes the newest list; answers whether nodes came or went.
    fn set(&self, mut list: Vec<NodeRecord>) -> bool {
        list.sort_by(|a, b| a.id.cmp(&b.id));
        let mut current = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = !current.iter().map(|node| &node.id).eq(list.iter().map(|node| &node.id));
        *current = list;
        changed
    }
}

impl Node {
    /// Takes note of who is live.
    pub(super) fn on_members(&self, nodes: Vec<NodeRecord>) {
        let count = nodes.len();
        self.metrics.nodes.set(i64::try_from(count).unwrap_or(i64::MAX));
        if self.members.set(nodes) {
            info!(nodes = count, "nodes came or went");
        }
    }

    pub(super) async fn run_announcements(&self, address: String) {
        loop {
            // Before the first link this node hears nothing and is not to be waited for.
            if self.has_linked() && !self.members.stopped.load(Ordering::Acquire) {
                self.announce(&address).await;
            }
            let _woken_or_due = timeout(jittered(ANNOUNCE_INTERVAL), self.members.woken.notified()).await;
        }
    }

    async fn announce(&self, address: &str) {
        let record = NodeRecord {
            id: self.id.clone(),
            address: address.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: self.connections(),
            rooms: u64::try_from(self.rooms.len()).unwrap_or(u64::MAX),
        };
        match self.broker.announce(&record).await {
            Ok(nodes) => self.on_members(nodes),
            Err(error) => debug!(%error, "this node's record was not renewed"),
        }
    }
}
