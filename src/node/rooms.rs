//! The rooms that have sockets here: how many, what their head is, and whose turn it is to be broadcast.
//!
//! Invariants: a room stands here exactly as long as it has a socket or a broadcast on its way; at most one broadcast
//! per room is on its way and at most one waits, the newest. So a flood of publications conflates here, at the pace
//! of the slowest worker, and nothing grows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::broker::{Held, NodeId};
use crate::hub::Refresh;
use crate::metrics::Outcome;
use crate::room::{Position, Publication, RoomId};

#[derive(Default)]
pub struct Rooms {
    table: Mutex<HashMap<RoomId, Room>>,
}

struct Room {
    connections: usize,
    /// When the first socket came.
    since: Instant,
    head: Head,
    sending: bool,
    next: Option<Turn>,
}

/// What is known here of a room's head.
#[derive(Clone, Default)]
pub enum Head {
    /// The broker was not asked yet, or may have lost what it had.
    #[default]
    Unknown,
    Known(Option<Arc<Refresh>>),
}

impl Head {
    fn position(&self) -> Option<Position> {
        match self {
            Self::Known(Some(refresh)) => Some(refresh.publication.position),
            Self::Known(None) | Self::Unknown => None,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        matches!(self, Self::Unknown) == matches!(other, Self::Unknown) && self.position() == other.position()
    }
}

/// One broadcast.
#[derive(Clone)]
pub struct Turn {
    pub refresh: Arc<Refresh>,
    pub outcome: Outcome,
    /// The nodes that wait for a confirmation of it.
    pub publishers: Vec<NodeId>,
}

impl Turn {
    /// The newer one takes the older one's place, and answers for it.
    fn replace_by(&mut self, newer: Self) {
        let older = std::mem::replace(self, newer);
        for publisher in older.publishers {
            if !self.publishers.contains(&publisher) {
                self.publishers.push(publisher);
            }
        }
        if older.outcome == Outcome::Sent {
            self.outcome = Outcome::Sent;
        }
    }
}

/// What to do about a publication that arrived.
pub enum Arrival {
    /// Nobody here is in the room.
    NoSockets,
    /// One is being broadcast; this one follows. `conflated` frames will never be sent.
    Waits {
        conflated: usize,
    },
    Broadcast(Turn),
}

/// What comparing a room's head with the broker's showed.
pub enum Comparison {
    UpToDate,
    /// The room missed it.
    Missed(Arrival),
    /// The room was new here, and its first sockets may be younger than what they fetched.
    Replay(Arrival),
    /// The broker lost what it had: anything may have been missed, in any room.
    Lost,
}

/// By which to judge the age of what the broker holds.
#[derive(Clone, Copy)]
pub struct Ages {
    pub replay_window: Duration,
    pub head_ttl: Duration,
    pub now: crate::room::Timestamp,
}

impl Rooms {
    fn table(&self) -> MutexGuard<'_, HashMap<RoomId, Room>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// A socket more. Answers the head, as far as it is known.
    pub fn enter(&self, room: &RoomId) -> Head {
        let mut table = self.table();
        if let Some(state) = table.get_mut(room) {
            state.connections += 1;
            return state.head.clone();
        }
        let state =
            Room { connections: 1, since: Instant::now(), head: Head::Unknown, sending: false, next: None };
        table.insert(room.clone(), state);
        Head::Unknown
    }

    /// A socket less.
    pub fn leave(&self, room: &RoomId) {
        let mut table = self.table();
        if let Some(state) = table.get_mut(room) {
            state.connections -= 1;
            if state.connections == 0 && !state.sending {
                table.remove(room);
            }
        }
    }

    pub fn connections(&self, room: &RoomId) -> usize {
        self.table().get(room).map_or(0, |state| state.connections)
    }

    /// A publication came in from the broker.
    pub fn arrive(&self, publication: Publication, publisher: NodeId) -> Arrival {
        let mut table = self.table();
        let Some(state) = table.get_mut(&publication.room) else {
            return Arrival::NoSockets;
        };
        let refresh = match &state.head {
            // Reconciling was quicker. Broadcasting the head once more tells nobody twice, and confirms in order.
            Head::Known(Some(head)) if !publication.position.is_news_to(&head.publication.position) => {
                Arc::clone(head)
            }
            _ => Arc::new(Refresh::from(publication)),
        };
        state.head = Head::Known(Some(Arc::clone(&refresh)));
        state.take_turn(Turn { refresh, outcome: Outcome::Sent, publishers: vec![publisher] })
    }

    /// A broadcast is through. Answers the one that waited.
    pub fn finish_turn(&self, room: &RoomId) -> Option<Turn> {
        let mut table = self.table();
        let state = table.get_mut(room)?;
        let next = state.next.take();
        state.sending = next.is_some();
        if state.connections == 0 && !state.sending {
            table.remove(room);
        }
        next
    }

    /// Every room here.
    pub fn names(&self) -> Vec<RoomId> {
        self.table().keys().cloned().collect()
    }

    /// The heads of these rooms; Unknown for those that are gone.
    pub fn heads(&self, rooms: &[RoomId]) -> Vec<Head> {
        let table = self.table();
        rooms.iter().map(|room| table.get(room).map(|state| state.head.clone()).unwrap_or_default()).collect()
    }

    /// The broker may be another one: what was known of heads holds no longer.
    pub fn forget_heads(&self) {
        for state in self.table().values_mut() {
            state.head = Head::Unknown;
        }
    }

    /// Compares what the broker answered with what was known when it was asked (`before`).
    pub fn compare(&self, room: &RoomId, before: &Head, answer: Held, ages: Ages) -> Comparison {
        let mut table = self.table();
        let Some(state) = table.get_mut(room) else {
            return Comparison::UpToDate;
        };
        if !state.head.is_same(before) {
            // A publication came in while the broker was asked: what it answered is older.
            return Comparison::UpToDate;
        }
        let held = match answer {
            Held::Head(held) => Some(held),
            Held::Nothing => None,
            // The next publication puts a head there; until then what is known stays known.
            Held::Unreadable => return Comparison::UpToDate,
        };
        let known = std::mem::replace(&mut state.head, Head::Known(None));
        let Some(held) = held else {
            let expired = |head: &Refresh| ages.now.since(head.publication.published_at) >= ages.head_ttl;
            return match known {
                Head::Known(Some(known)) if !expired(&known) => Comparison::Lost,
                _ => Comparison::UpToDate,
            };
        };
        let age = ages.now.since(held.published_at);
        let held = Arc::new(Refresh::from(held));
        state.head = Head::Known(Some(Arc::clone(&held)));
        let outcome = match known {
            // Who is here may have fetched before it: told, if it is younger than the room's first socket.
            Head::Unknown if age <= state.since.elapsed() + ages.replay_window => Outcome::Replayed,
            Head::Unknown => return Comparison::UpToDate,
            Head::Known(None) => Outcome::Sent,
            Head::Known(Some(known)) => {
                let (known, held) = (&known.publication, &held.publication);
                if known == held {
                    return Comparison::UpToDate;
                }
                // Another publication at the same position is one given out again, after a loss.
                if held.position == known.position || !held.position.covers(&known.position) {
                    return Comparison::Lost;
                }
                Outcome::Sent
            }
        };
        let arrival = state.take_turn(Turn { refresh: held, outcome, publishers: Vec::new() });
        if outcome == Outcome::Replayed { Comparison::Replay(arrival) } else { Comparison::Missed(arrival) }
    }
}

impl Room {
    fn take_turn(&mut self, turn: Turn) -> Arrival {
        if !self.sending {
            self.sending = true;
            return Arrival::Broadcast(turn);
        }
        match &mut self.next {
            Some(next) => {
                next.replace_by(turn);
                Arrival::Waits { conflated: self.connections }
            }
            empty => {
                *empty = Some(turn);
                Arrival::Waits { conflated: 0 }
            }
        }
    }
}
