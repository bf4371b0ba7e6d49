//! The nodes of the cluster: this one's record is renewed in the broker, and the others' are read on the way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, info};

use super::Node;
use crate::backoff::jittered;
use crate::broker::NodeRecord;

/// A fifth of a record's lifetime.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(3);

#[derive(Default)]
pub struct Members {
    /// With the moment it was asked for.
    list: Mutex<(Option<Instant>, Vec<NodeRecord>)>,
    woken: Notify,
    stopped: AtomicBool,
    /// Held by who talks to the broker of records, so that nobody asks twice, or renews what was taken away.
    busy: tokio::sync::Mutex<()>,
}

impl Members {
    pub fn list(&self) -> Vec<NodeRecord> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Announces at once.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Waits until nobody else asks the broker.
    pub async fn reading(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.busy.lock().await
    }

    /// Whether the list was asked for at `moment` or later.
    pub fn is_newer_than(&self, moment: Instant) -> bool {
        let asked_at = self.list.lock().unwrap_or_else(PoisonError::into_inner).0;
        asked_at.is_some_and(|at| at >= moment)
    }

    /// Announces no more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Takes the list asked for at that moment; answers whether nodes came or went.
    fn set(&self, asked_at: Instant, mut list: Vec<NodeRecord>) -> bool {
        list.sort_by(|a, b| a.id.cmp(&b.id));
        let mut current = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = !current.1.iter().map(|node| &node.id).eq(list.iter().map(|node| &node.id));
        *current = (Some(asked_at), list);
        changed
    }
}

impl Node {
    /// Takes note of who is live.
    pub(super) fn on_members(&self, asked_at: Instant, nodes: Vec<NodeRecord>) {
        let count = nodes.len();
        self.metrics.nodes.set(i64::try_from(count).unwrap_or(i64::MAX));
        if self.members.set(asked_at, nodes) {
            info!(nodes = count, "nodes came or went");
        }
    }

    pub(super) async fn run_announcements(&self, address: String) {
        loop {
            // Before the first link this node hears nothing and is not to be waited for.
            if self.has_linked() {
                let _busy = self.members.reading().await;
                if !self.members.stopped.load(Ordering::Acquire) {
                    self.announce(&address).await;
                }
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
        let asked_at = Instant::now();
        match self.broker.announce(&record).await {
            Ok(nodes) => self.on_members(asked_at, nodes),
            Err(error) => debug!(%error, "this node's record was not renewed"),
        }
    }
}
