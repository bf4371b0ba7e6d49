//! Leaving without losing anyone: Serving -> Draining -> Closing -> Stopped.
//!
//! First new clients are refused and readiness drops, while load balancers notice; then sockets are closed in waves,
//! so that their clients, many of which come back after a fixed delay, do not all come back at once. Publications are
//! taken and delivered until the last socket is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::close::CloseReason;
use crate::config::DrainSettings;
use crate::metrics::Metrics;
use crate::node::Node;

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Serving,
    Draining,
    Closing,
    Stopped,
}

/// The phase, for all to see.
pub struct Lifecycle {
    phase: AtomicU8,
    metrics: Arc<Metrics>,
}

/// After the last socket was asked to close, this long for the close handshakes.
const CLOSE_GRACE: Duration = Duration::from_secs(3);

/// How often it is looked whether sockets are left.
const POLL: Duration = Duration::from_millis(20);

impl Lifecycle {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { phase: AtomicU8::new(Phase::Serving as u8), metrics }
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            2 => Phase::Closing,
            _ => Phase::Stopped,
        }
    }

    /// Whether new clients are refused.
    pub fn is_draining(&self) -> bool {
        self.phase() > Phase::Serving
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Drains the node. Returns when no socket is `open`, those in their close handshake included, or the time is
    /// over.
    pub async fn drain(&self, node: &Node, open: impl Fn() -> usize, settings: &DrainSettings) {
        self.enter(Phase::Draining);
        self.metrics.draining.set(1);
        info!(connections = node.connections(), notice = ?settings.notice, spread = ?settings.spread, "draining");
        sleep(settings.notice).await;
        self.enter(Phase::Closing);
        node.close_all(settings.spread, CloseReason::Drain);
        let spread_over = Instant::now() + settings.spread;
        if !all_gone(&open, spread_over).await {
            // Upgrades that were under way when the closing began.
            node.close_all(Duration::ZERO, CloseReason::Drain);
        }
        if all_gone(&open, Instant::now() + CLOSE_GRACE).await {
            info!("every socket is closed");
        } else {
            warn!(connections = open(), "the drain took too long, leaving sockets behind");
        }
        self.enter(Phase::Stopped);
    }
}

/// Waits until no socket is left; false if some are at the deadline.
async fn all_gone(open: impl Fn() -> usize, deadline: Instant) -> bool {
    while open() > 0 {
        if Instant::now() >= deadline {
            return false;
        }
        sleep_until(deadline.min(Instant::now() + POLL)).await;
    }
    true
}
