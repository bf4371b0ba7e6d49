//! One publication on its way to the sockets of this node, and the count of those it reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::frame::Refresh;
use crate::metrics::Outcome;

/// Told how many connections the publication was handed to, once every worker is through.
type Done = Box<dyn FnOnce(usize) + Send + Sync>;

/// Shared by all workers. Each adds what it did and lets go; when the last one has, the sum is reported, so a worker
/// that ends holds up nobody.
pub struct Delivery {
    pub(super) refresh: Arc<Refresh>,
    pub(super) outcome: Outcome,
    connections: AtomicUsize,
    done: Option<Done>,
}

impl Delivery {
    /// `outcome` is what a frame written counts as: sent, or replayed.
    pub fn new(
        refresh: Arc<Refresh>,
        outcome: Outcome,
        done: impl FnOnce(usize) + Send + Sync + 'static,
    ) -> Self {
        Self { refresh, outcome, connections: AtomicUsize::new(0), done: Some(Box::new(done)) }
    }

    pub(super) fn add_connections(&self, count: usize) {
        self.connections.fetch_add(count, Ordering::Relaxed);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(*self.connections.get_mut());
        }
    }
}
