//! What the broker reports. Nothing here waits: it is called where the broker reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Node;
use super::rooms::Arrival;
use crate::broker::{About, Confirmation, Continuity, Events, NodeId};
use crate::metrics::{Outcome, Source};
use crate::room::{Publication, RoomId};

/// Over which all sockets are told to fetch again after the broker was lost. Short, as a kill switch may be waiting;
/// not zero, as all nodes do it at the same time.
const RECOVERY_SPREAD: Duration = Duration::from_secs(2);

/// The node as the broker sees it.
pub(super) struct Receiver(pub Arc<Node>);

impl Events for Receiver {
    fn on_publication(&self, publication: Publication, publisher: NodeId) {
        let node = &self.0;
        node.metrics.received(Source::Live);
        let (room, position) = (publication.room.clone(), publication.position);
        match node.rooms.arrive(publication, publisher.clone()) {
            Arrival::NoSockets => node.confirm(publisher, room, position, 0),
            arrival => node.on_arrival(arrival),
        }
    }

    fn on_confirmation(&self, confirmation: Confirmation) {
        self.0.waiting.on_confirmation(confirmation);
    }

    fn on_count_request(&self, room: RoomId, number: u64, asker: NodeId) {
        let connections = self.0.rooms.connections(&room);
        self.0.answer(asker, room, About::Count(number), connections);
    }

    fn on_link_up(&self, continuity: Continuity) {
        let node = &self.0;
        // Before the first link no head is known here, and looking them up shows what the sockets of now missed.
        let first = !node.linked_once.swap(true, Ordering::AcqRel);
        node.members.wake();
        if continuity == Continuity::Unknown && !first {
            node.recover("another server process");
            node.acknowledged.restore_to_other_server();
        } else {
            node.acknowledged.restore();
        }
        node.lookups.add(node.rooms.names());
    }

    fn on_unreadable(&self) {
        self.0.metrics.messages_unreadable.inc();
    }
}

impl Node {
    pub(super) fn on_arrival(self: &Arc<Self>, arrival: Arrival) {
        match arrival {
            Arrival::Broadcast(turn) => self.broadcast(turn),
            Arrival::Waits { conflated } => {
                self.metrics.delivered(Outcome::Conflated, u64::try_from(conflated).unwrap_or(u64::MAX));
            }
            Arrival::NoSockets => {}
        }
    }

    /// Anything may have been missed: every socket is told to fetch again, and no head counts as known.
    pub(super) fn recover(&self, cause: &str) {
        let connections = self.connections();
        if connections > 0 {
            tracing::warn!(cause, connections, spread = ?RECOVERY_SPREAD, "refreshing every room");
        }
        self.rooms.forget_heads();
        self.hub.refresh_all(RECOVERY_SPREAD);
    }
}
