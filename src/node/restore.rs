//! Publications that were answered for, and that Redis may have lost since.
//!
//! Replication is asynchronous: a master that fails, or that was cut off and took publications all the while, loses
//! its last ones to the failover, and the nodes on the other side never hear of them. The node that answered for
//! them knows. So it keeps the newest one per room, and publishes again what Redis does not cover: after a new link,
//! after a head was lost, on the slow timer, and before it stops.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::Node;
use crate::backoff::jittered;
use crate::broker::{BrokerError, Draft, Held};
use crate::room::{Publication, RoomId};

/// A split that lasts longer than this is not healed by publishing again; what was published so long ago has been
/// fetched in other ways.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Rooms kept at the most; of more, the oldest publications are given up.
const KEPT_ROOMS: usize = 10_000;

/// By how much a reading of the broker's clock may be off.
const CLOCK_ERROR: Duration = Duration::from_secs(1);

/// Over which nodes begin to restore after they met another server.
const SPREAD: Duration = Duration::from_secs(1);

/// Rooms asked for in one round trip.
const BATCH: usize = 256;

/// Before another attempt.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Default)]
pub struct Acknowledged {
    newest: Mutex<HashMap<RoomId, (Instant, Publication)>>,
    wanted: Notify,
    /// The server may be another one since the last look, so its positions prove nothing.
    other_server: AtomicBool,
}

impl Acknowledged {
    /// A publication of this node was stored and sent.
    pub fn note(&self, publication: &Publication) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match newest.get(&publication.room) {
            // Answers overtake each other; what counts is which publication is newer.
            Some((_, kept)) if publication.published_at < kept.published_at => {}
            _ => {
                newest.insert(publication.room.clone(), (now, publication.clone()));
            }
        }
        if newest.len() > KEPT_ROOMS {
            give_up_oldest(&mut newest);
        }
    }

    /// A publication was made good by this one, whatever the clock of another server says.
    fn replace(&self, publication: &Publication) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(publication.room.clone(), (Instant::now(), publication.clone()));
    }

    /// Asks for what was lost to be published again.
    pub fn restore(&self) {
        self.wanted.notify_one();
    }

    /// The same when the server may be another one.
    pub fn restore_to_other_server(&self) {
        self.other_server.store(true, Ordering::Release);
        self.restore();
    }

    /// What Redis should still have, with a head kept for `head_ttl`.
    fn kept(&self, head_ttl: Duration) -> Vec<(Instant, Publication)> {
        let kept_for = KEPT_FOR.min(head_ttl / 2);
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.values().filter(|(at, _)| at.elapsed() < kept_for).cloned().collect()
    }
}

/// A tenth at a time, as finding the oldest means looking at all.
fn give_up_oldest(newest: &mut HashMap<RoomId, (Instant, Publication)>) {
    let mut ages: Vec<Instant> = newest.values().map(|(at, _)| *at).collect();
    let (_, cutoff, _) = ages.select_nth_unstable(KEPT_ROOMS / 10);
    let cutoff = *cutoff;
    newest.retain(|_, (at, _)| *at > cutoff);
    warn!(
        left = newest.len(),
        "more rooms were published to than can be restored after a failover, the oldest were given up"
    );
}

impl Node {
    pub(super) async fn run_restoring(self: &Arc<Self>) {
        loop {
            let timer = jittered(self.settings.reconcile_interval);
            let _wanted_or_due = timeout(timer, self.acknowledged.wanted.notified()).await;
            while let Err(error) = self.restore().await {
                debug!(%error, "lost publications not restored, trying again");
                sleep(jittered(RETRY)).await;
            }
        }
    }

    /// Publishes again what the broker does not cover.
    pub(super) async fn restore(self: &Arc<Self>) -> Result<(), BrokerError> {
        let kept = self.acknowledged.kept(self.settings.head_ttl);
        let other_server = self.acknowledged.other_server.swap(false, Ordering::AcqRel);
        let restored = self.restore_all(&kept, other_server).await;
        if restored.is_err() && other_server {
            self.acknowledged.other_server.store(true, Ordering::Release);
        }
        restored
    }

    /// Whether who was told of the head need not be told of what was answered for at that moment. Positions cannot
    /// say: two masters, each of which took itself for the only one, gave out the same ones. Nor can the stamps of two
    /// servers. But a head that is younger than the answer was published after it.
    fn makes_up_for(&self, head: &Publication, answered: &Publication, at: Instant) -> bool {
        let age = self.broker.now().since(head.published_at);
        head == answered || age + CLOCK_ERROR < at.elapsed()
    }

    async fn restore_all(
        self: &Arc<Self>,
        kept: &[(Instant, Publication)],
        other_server: bool,
    ) -> Result<(), BrokerError> {
        if other_server {
            // Other nodes answered for the same rooms: what the first of them restores, the others find there.
            sleep(SPREAD.mul_f64(rand::random_range(0.0..=1.0))).await;
        }
        for batch in kept.chunks(BATCH) {
            let rooms: Vec<RoomId> = batch.iter().map(|(_, publication)| publication.room.clone()).collect();
            for ((at, answered), held) in batch.iter().zip(self.broker.heads(&rooms).await?) {
                let made_up_for = match held {
                    Held::Head(head) if other_server => self.makes_up_for(&head, answered, *at),
                    Held::Head(head) => head.position.covers(&answered.position),
                    Held::Nothing => false,
                    // Nobody knows what it is, or whether it can be published over.
                    Held::Unreadable => true,
                };
                if !made_up_for {
                    let Publication { room, position, .. } = answered.clone();
                    warn!(%room, %position, "Redis lost a publication that was answered for, publishing it again");
                    // Without revision and publisher: several nodes may restore the same room, in any order.
                    let answer_within = Duration::ZERO;
                    let draft = Draft {
                        room,
                        revision: None,
                        published_by: None,
                        idempotency_key: None,
                        answer_within,
                    };
                    let restored = self.publish(draft).await?;
                    self.acknowledged.replace(&restored.publication);
                }
            }
        }
        Ok(())
    }
}
