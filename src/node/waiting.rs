//! Who waits for confirmations: publishes, and questions for the count of a room.
//!
//! Confirmations are cumulative: a node's word on position 7 answers for 5 as well. So a waiter takes the first one
//! that covers what it waits for, and nothing is queued.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::broker::{About, Confirmation, NodeId, Tally};
use crate::room::RoomId;

#[derive(Default)]
pub struct Waiting {
    rooms: Mutex<HashMap<RoomId, Vec<Arc<Waiter>>>>,
}

#[derive(Default)]
struct Waiter {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// None until the broker answered at which position the publication stands; confirmations may be quicker. Who
    /// waits for a count knows its number before it asks.
    wanted: Option<About>,
    heard: HashMap<NodeId, (About, u64)>,
}

/// A place among those who wait; given up when dropped.
pub struct Ticket<'a> {
    waiting: &'a Waiting,
    room: RoomId,
    waiter: Arc<Waiter>,
}

fn answers(given: About, wanted: About) -> bool {
    match (given, wanted) {
        (About::Position(given), About::Position(wanted)) => given.covers(&wanted),
        (given, wanted) => given == wanted,
    }
}

impl Waiter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Vec<Arc<Waiter>>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be taken before the question is put, as answers may come at once.
    pub fn ticket(&self, room: &RoomId) -> Ticket<'_> {
        let waiter = Arc::new(Waiter::default());
        self.rooms().entry(room.clone()).or_default().push(Arc::clone(&waiter));
        Ticket { waiting: self, room: room.clone(), waiter }
    }

    pub fn on_confirmation(&self, confirmation: Confirmation) {
        let Confirmation { from, room, about, connections } = confirmation;
        for waiter in self.rooms().get(&room).into_iter().flatten() {
            let mut state = waiter.state();
            match state.wanted {
                Some(wanted) if answers(about, wanted) => {
                    state.heard.entry(from.clone()).or_insert((about, connections));
                }
                None if matches!(about, About::Position(_)) => {
                    state.heard.insert(from.clone(), (about, connections));
                }
                _ => continue,
            }
            waiter.changed.notify_one();
        }
    }
}

impl Ticket<'_> {
    /// Says what is waited for.
    pub fn want(&self, about: About) {
        let mut state = self.waiter.state();
        state.wanted = Some(about);
        state.heard.retain(|_, (given, _)| answers(*given, about));
    }

    /// Waits until all of `expected` have answered, or the deadline. Who answers without being expected counts too.
    pub async fn collect(&self, expected: &HashSet<NodeId>, deadline: Instant) -> Tally {
        let all_heard = || {
            let state = self.waiter.state();
            expected.iter().all(|node| state.heard.contains_key(node))
        };
        while !all_heard() {
            if timeout_at(deadline, self.waiter.changed.notified()).await.is_err() {
                break;
            }
        }
        let state = self.waiter.state();
        let unexpected = state.heard.keys().filter(|node| !expected.contains(node)).count();
        Tally {
            expected: expected.len() + unexpected,
            confirmed: state.heard.len(),
            connections: state.heard.values().map(|(_, connections)| connections).sum(),
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut rooms = self.waiting.rooms();
        if let Some(waiters) = rooms.get_mut(&self.room) {
            waiters.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
            if waiters.is_empty() {
                rooms.remove(&self.room);
            }
        }
    }
}
