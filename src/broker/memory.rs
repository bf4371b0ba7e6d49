//! The bus of one process: the embedded default, for trials and single-node installations.
//!
//! Heads live as long as the process, or [`MemoryBroker::new`]'s `head_ttl`. There is no link to lose.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{
    Broker, BrokerError, BrokerStatus, Confirmation, Continuity, Draft, Events, Held, IDEMPOTENCY_WINDOW,
    LinkState, NodeId, NodeRecord, Published, Tally,
};
use crate::room::{Epoch, Position, Publication, RoomId, Timestamp};

/// Looking through all entries on every call would make a publish as slow as there are rooms.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

pub struct MemoryBroker {
    id: NodeId,
    head_ttl: Duration,
    started: Instant,
    events: OnceLock<Arc<dyn Events>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    heads: HashMap<RoomId, Publication>,
    answers: HashMap<(RoomId, String), Remembered>,
    record: Option<NodeRecord>,
    expired_at: Option<Instant>,
}

struct Remembered {
    since: Instant,
    answer_within: Duration,
    publication: Publication,
    tally: Option<Tally>,
}

impl MemoryBroker {
    pub fn new(id: NodeId, head_ttl: Duration) -> Self {
        Self { id, head_ttl, started: Instant::now(), events: OnceLock::new(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets what is older than the contract keeps, so memory is bounded by what is published in that time.
    fn expire(&mut self, head_ttl: Duration) {
        if self.expired_at.is_some_and(|last| last.elapsed() < EXPIRE_INTERVAL) {
            return;
        }
        self.expired_at = Some(Instant::now());
        let now = Timestamp::now();
        self.heads.retain(|_, head| now.since(head.published_at) < head_ttl);
        self.answers.retain(|_, answer| answer.since.elapsed() < IDEMPOTENCY_WINDOW);
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn run(&self, events: Arc<dyn Events>) {
        if self.events.set(Arc::clone(&events)).is_ok() {
            events.on_link_up(Continuity::SameServer);
        }
        std::future::pending::<()>().await;
    }

    fn status(&self) -> BrokerStatus {
        BrokerStatus {
            kind: "memory",
            mode: None,
            link: self.link(),
            link_seconds: self.started.elapsed().as_secs_f64(),
            last_error: None,
            probe_round_trip_seconds: None,
            probe_age_seconds: None,
            servers: Vec::new(),
        }
    }

    fn link(&self) -> LinkState {
        if self.events.get().is_some() { LinkState::Up } else { LinkState::Starting }
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn publish(&self, draft: Draft) -> Result<Published, BrokerError> {
        let events = self.events.get().ok_or(BrokerError::LinkDown)?;
        let mut state = self.state();
        state.expire(self.head_ttl);
        let once = draft.idempotency_key.map(|key| (draft.room.clone(), key));
        if let Some(first) = once.as_ref().and_then(|once| state.answers.get(once)) {
            return Ok(Published::Duplicate {
                publication: first.publication.clone(),
                answered_in: first.answer_within.saturating_sub(first.since.elapsed()),
            });
        }
        let position = match state.heads.get(&draft.room).map(|head| head.position) {
            Some(last) => Position { generation: last.generation + 1, ..last },
            None => Position { epoch: Epoch::random(), generation: 1 },
        };
        let publication = Publication {
            room: draft.room.clone(),
            position,
            revision: draft.revision,
            published_by: draft.published_by,
            published_at: Timestamp::now(),
        };
        state.heads.insert(draft.room, publication.clone());
        if let Some(once) = once {
            let first = Remembered {
                since: Instant::now(),
                answer_within: draft.answer_within,
                publication: publication.clone(),
                tally: None,
            };
            state.answers.insert(once, first);
        }
        // Reported under the lock: publications arrive in the order of their generations.
        events.on_publication(publication.clone(), self.id.clone());
        Ok(Published::New(publication))
    }

    async fn remember(&self, room: &RoomId, idempotency_key: &str, tally: Tally) -> Result<(), BrokerError> {
        if let Some(first) = self.state().answers.get_mut(&(room.clone(), idempotency_key.to_owned())) {
            first.tally = Some(tally);
        }
        Ok(())
    }

    async fn recall(&self, room: &RoomId, idempotency_key: &str) -> Result<Option<Tally>, BrokerError> {
        let state = self.state();
        Ok(state.answers.get(&(room.clone(), idempotency_key.to_owned())).and_then(|first| first.tally))
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Held>, BrokerError> {
        let mut state = self.state();
        state.expire(self.head_ttl);
        Ok(rooms
            .iter()
            .map(|room| state.heads.get(room).cloned().map_or(Held::Nothing, Held::Head))
            .collect())
    }

    async fn confirm(&self, confirmations: Vec<(NodeId, Confirmation)>) -> Result<(), BrokerError> {
        let events = self.events.get().ok_or(BrokerError::LinkDown)?;
        for (_, confirmation) in confirmations {
            events.on_confirmation(confirmation);
        }
        Ok(())
    }

    async fn request_counts(&self, room: &RoomId, number: u64) -> Result<(), BrokerError> {
        let events = self.events.get().ok_or(BrokerError::LinkDown)?;
        events.on_count_request(room.clone(), number, self.id.clone());
        Ok(())
    }

    async fn announce(&self, record: &NodeRecord) -> Result<Vec<NodeRecord>, BrokerError> {
        self.state().record = Some(record.clone());
        self.nodes().await
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, BrokerError> {
        Ok(self.state().record.iter().cloned().collect())
    }

    async fn retire(&self) -> Result<(), BrokerError> {
        self.state().record = None;
        Ok(())
    }
}
