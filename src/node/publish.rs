//! Publishing, and asking where a room stands: both put a question to all nodes and add up their answers.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use super::Node;
use crate::broker::{About, BrokerError, Draft, Held, NodeId, Published, Tally};
use crate::room::{Publication, RoomId};

/// How often a repeated publish looks whether the first one has its answer by now.
const RECALL_INTERVAL: Duration = Duration::from_millis(50);

/// The first publish writes its answer down a moment after it was due.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// What became of a publish.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub publication: Publication,
    pub tally: Tally,
    /// The idempotency key was used before; this is what was answered then.
    pub duplicate: bool,
}

impl Receipt {
    /// Whether every live node has handed the publication to its sockets.
    pub fn is_confirmed(&self) -> bool {
        self.tally.confirmed >= self.tally.expected
    }
}

/// Where a room stands.
#[derive(Debug, Clone)]
pub struct RoomReport {
    pub head: Option<Publication>,
    pub tally: Tally,
}

impl Node {
    /// Publishes to all nodes and waits for their confirmations, as long as the draft says.
    ///
    /// An error means that it may not have been published; a success, that it was stored and sent.
    pub async fn publish(self: &Arc<Self>, draft: Draft) -> Result<Receipt, BrokerError> {
        let deadline = Instant::now() + draft.answer_within;
        let ticket = self.waiting.ticket(&draft.room);
        match self.broker.publish(draft.clone()).await? {
            Published::New(publication) => {
                self.acknowledged.note(&publication);
                ticket.want(About::Position(publication.position));
                let tally = ticket.collect(&self.live_nodes().await, deadline).await;
                if !draft.answer_within.is_zero() {
                    self.report_missing(&publication, tally);
                }
                if let Some(key) = &draft.idempotency_key
                    && let Err(error) = self.broker.remember(&draft.room, key, tally).await
                {
                    warn!(%error, room = %draft.room, "the answer for an idempotency key was not kept");
                }
                Ok(Receipt { publication, tally, duplicate: false })
            }
            Published::Duplicate { publication, answered_in } => {
                let tally = self.recall(&draft, Instant::now() + answered_in + ANSWER_MARGIN).await?;
                Ok(Receipt { publication, tally, duplicate: true })
            }
        }
    }

    /// Where the room stands; None if it has neither a head nor a socket anywhere.
    pub async fn room(&self, room: &RoomId) -> Result<Option<RoomReport>, BrokerError> {
        let deadline = Instant::now() + self.settings.confirm_timeout;
        let number = self.next_count.fetch_add(1, Ordering::Relaxed);
        let ticket = self.waiting.ticket(room);
        ticket.want(About::Count(number));
        self.broker.request_counts(room, number).await?;
        let head = self.broker.heads(std::slice::from_ref(room)).await?.pop().and_then(Held::head);
        let tally = ticket.collect(&self.live_nodes().await, deadline).await;
        Ok((head.is_some() || tally.connections > 0).then_some(RoomReport { head, tally }))
    }

    /// Who should confirm: as asked for now or later, as a node that joined a moment ago counts, and one that left
    /// does not. In a burst of publishes one of them asks for all that wait.
    async fn live_nodes(&self) -> HashSet<NodeId> {
        let now = std::time::Instant::now();
        let _asking = self.members.reading().await;
        if !self.members.is_newer_than(now) {
            let asked_at = std::time::Instant::now();
            match self.broker.nodes().await {
                Ok(nodes) => self.on_members(asked_at, nodes),
                Err(error) => warn!(%error, "live nodes not read, waiting for those known before"),
            }
        }
        self.members().into_iter().map(|node| node.id).chain([self.id.clone()]).collect()
    }

    /// The answer to the first use of an idempotency key, which may still be waiting for its confirmations.
    async fn recall(&self, draft: &Draft, deadline: Instant) -> Result<Tally, BrokerError> {
        let Some(key) = &draft.idempotency_key else {
            return Ok(Tally::default());
        };
        loop {
            if let Some(tally) = self.broker.recall(&draft.room, key).await? {
                return Ok(tally);
            }
            if Instant::now() >= deadline {
                // Published, but by a node that did not live to tell how many were told.
                return Ok(Tally { expected: self.live_nodes().await.len(), ..Tally::default() });
            }
            sleep(RECALL_INTERVAL).await;
        }
    }

    fn report_missing(&self, publication: &Publication, tally: Tally) {
        let missing = tally.expected - tally.confirmed;
        if missing > 0 {
            // Perhaps this node's broker is not the others' any more.
            self.broker.suspect();
            self.metrics.confirmations_missing.inc_by(u64::try_from(missing).unwrap_or(u64::MAX));
            warn!(
                room = %publication.room, position = %publication.position, missing, expected = tally.expected,
                "not every node confirmed in time"
            );
        }
    }
}
