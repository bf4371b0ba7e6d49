//! Publications that were answered for, and that Redis may have lost since.
//!
//! Replication is asynchronous: a master that fails, or that was cut off and took publications all the while, loses
//! its last ones to the failover, and the nodes on the other side never hear of them. The node that answered for
//! them knows. So it keeps the newest one per room, and when it is linked to another server process, publishes
//! again what that server does not cover.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::Node;
use crate::backoff::jittered;
use crate::broker::{BrokerError, Draft};
use crate::room::{Publication, RoomId};

/// A split that lasts longer than this is not healed by publishing again; what was published so long ago has been
/// fetched in other ways.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Rooms kept at the most; of more, the oldest publications are given up.
const KEPT_ROOMS: usize = 10_000;

/// Before another attempt.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Default)]
pub struct Acknowledged {
    newest: Mutex<HashMap<RoomId, (Instant, Publication)>>,
    wanted: Notify,
}

impl Acknowledged {
    /// A publication of this node was stored and sent.
    pub fn note(&self, publication: &Publication) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(publication.room.clone(), (Instant::now(), publication.clone()));
        if newest.len() > KEPT_ROOMS {
            newest.retain(|_, (at, _)| at.elapsed() < KEPT_FOR);
            let oldest = newest.iter().min_by_key(|(_, (at, _))| *at).map(|(room, _)| room.clone());
            if let Some(oldest) = oldest.filter(|_| newest.len() > KEPT_ROOMS) {
                newest.remove(&oldest);
            }
        }
    }

    /// Asks for what was lost to be published again.
    pub fn restore(&self) {
        self.wanted.notify_one();
    }

    fn kept(&self) -> Vec<Publication> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = newest.values().filter(|(at, _)| at.elapsed() < KEPT_FOR);
        kept.map(|(_, publication)| publication.clone()).collect()
    }
}

impl Node {
    pub(super) async fn run_restoring(self: &Arc<Self>) {
        loop {
            self.published.wanted.notified().await;
            while let Err(error) = self.restore().await {
                debug!(%error, "lost publications not restored, trying again");
                sleep(jittered(RETRY)).await;
            }
        }
    }

    async fn restore(self: &Arc<Self>) -> Result<(), BrokerError> {
        for publication in self.published.kept() {
            let Publication { room, position, revision, .. } = publication;
            let head = self.broker.heads(std::slice::from_ref(&room)).await?.pop().flatten();
            if head.as_ref().is_some_and(|head| head.position.covers(&position)) {
                continue;
            }
            // Beside a head of another life it is not known which of the two is newer, so no revision is claimed.
            let revision = revision.filter(|_| head.is_none());
            warn!(%room, %position, "Redis lost a publication that was answered for, publishing it again");
            let draft = Draft { room, revision, idempotency_key: None };
            self.publish(draft, Some(Duration::ZERO)).await?;
        }
        Ok(())
    }
}
