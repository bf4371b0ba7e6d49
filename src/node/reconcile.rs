//! Comparing heads with the broker: for a room's first socket, after the link was lost, and on a slow timer, so that
//! a silent loss heals too. One way for all three.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use super::Node;
use super::rooms::Comparison;
use crate::backoff::jittered;
use crate::broker::BrokerError;
use crate::metrics::Source;
use crate::room::RoomId;

/// Rooms asked for in one round trip: few enough that Redis is not held up, enough that a storm is soon over.
const BATCH: usize = 256;

/// Before asking again what could not be answered though the link stands.
const RETRY: Duration = Duration::from_millis(500);

/// The rooms whose head is to be compared.
#[derive(Default)]
pub(super) struct Lookups {
    rooms: Mutex<HashSet<RoomId>>,
    added: Notify,
}

impl Lookups {
    pub(super) fn add(&self, rooms: impl IntoIterator<Item = RoomId>) {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).extend(rooms);
        self.added.notify_one();
    }

    fn take(&self) -> Vec<RoomId> {
        std::mem::take(&mut *self.rooms.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}

impl Node {
    pub(super) async fn run_lookups(self: &Arc<Self>) {
        let next = || Instant::now() + jittered(self.settings.reconcile_interval);
        let mut due = next();
        loop {
            if timeout_at(due, self.lookups.added.notified()).await.is_err() {
                self.lookups.add(self.rooms.names());
                due = next();
            }
            let rooms = self.lookups.take();
            // Without the link there is no use in asking; all rooms are compared when it is back.
            if !rooms.is_empty()
                && self.is_linked()
                && let Err((error, left)) = self.look_up(&rooms).await
            {
                debug!(%error, rooms = left.len(), "heads not compared, trying again");
                sleep(jittered(RETRY)).await;
                self.lookups.add(left.iter().cloned());
            }
        }
    }

    /// Compares the heads of these rooms. An error comes with the rooms that are left.
    async fn look_up<'a>(self: &Arc<Self>, rooms: &'a [RoomId]) -> Result<(), (BrokerError, &'a [RoomId])> {
        let mut lost = false;
        for (number, batch) in rooms.chunks(BATCH).enumerate() {
            let before = self.rooms.heads(batch);
            let held = self.broker.heads(batch).await.map_err(|error| (error, &rooms[number * BATCH..]))?;
            for ((room, before), held) in batch.iter().zip(&before).zip(held) {
                match self.rooms.compare(room, before, held, self.ages()) {
                    Comparison::UpToDate => {}
                    Comparison::Missed(arrival) => {
                        self.metrics.received(Source::Reconcile);
                        self.on_arrival(arrival);
                    }
                    Comparison::Replay(arrival) => self.on_arrival(arrival),
                    Comparison::Lost => lost = true,
                }
            }
        }
        if lost {
            self.recover("a head vanished or went backwards");
            self.acknowledged.restore_to_other_server();
            self.lookups.add(self.rooms.names());
        }
        Ok(())
    }
}
