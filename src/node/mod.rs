//! Joins hub and broker, which do not know each other: publish, receive, confirm, reconcile, count.
//!
//! A node holds nothing that cannot be rebuilt from the broker.

mod members;
mod outgoing;
mod publish;
mod receive;
mod reconcile;
mod restore;
mod rooms;
mod waiting;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::members::Members;
use self::outgoing::Outgoing;
pub use self::publish::{Receipt, RoomReport};
use self::receive::Receiver;
use self::reconcile::Lookups;
use self::restore::Acknowledged;
use self::rooms::{Ages, Head, Rooms, Turn};
use self::waiting::Waiting;
use crate::broker::{About, Broker, BrokerStatus, Confirmation, LinkState, NodeId, NodeRecord};
use crate::close::CloseReason;
use crate::hub::{Delivery, HeartbeatSettings, Hub, Outbox, Pushed, Seat, Shard, Wire};
use crate::metrics::{Metrics, Outcome};
use crate::room::{Position, RoomId};

/// What of the settings concerns the node.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Zero = off.
    pub replay_window: Duration,
    pub head_ttl: Duration,
    pub confirm_timeout: Duration,
    pub reconcile_interval: Duration,
}

pub struct Node {
    id: NodeId,
    settings: NodeSettings,
    broker: Arc<dyn Broker>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    rooms: Rooms,
    waiting: Waiting,
    outgoing: Outgoing,
    lookups: Lookups,
    acknowledged: Acknowledged,
    members: Members,
    linked_once: AtomicBool,
    next_count: AtomicU64,
}

/// A connection's membership of its room, on its worker and on the node. Ends when dropped.
pub struct Membership {
    node: Arc<Node>,
    shard: Rc<Shard>,
    room: RoomId,
    seat: Seat,
}

impl Node {
    pub fn new(
        id: NodeId,
        settings: NodeSettings,
        heartbeat: HeartbeatSettings,
        broker: Arc<dyn Broker>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            settings,
            broker,
            hub: Hub::new(heartbeat, Arc::clone(&metrics)),
            metrics,
            rooms: Rooms::default(),
            waiting: Waiting::default(),
            outgoing: Outgoing::default(),
            lookups: Lookups::default(),
            acknowledged: Acknowledged::default(),
            members: Members::default(),
            linked_once: AtomicBool::new(false),
            next_count: AtomicU64::new(1),
        })
    }

    /// Keeps the node going: the link, reconciling, confirmations, the record. `address` is what others see of it.
    pub async fn run(self: Arc<Self>, address: String) {
        let events = Arc::new(Receiver(Arc::clone(&self)));
        tokio::join!(
            self.broker.run(events),
            self.outgoing.run(&*self.broker),
            self.run_lookups(),
            self.run_restoring(),
            self.run_announcements(address),
        );
    }

    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// The shard of the calling worker thread.
    pub fn shard(&self) -> Rc<Shard> {
        self.hub.shard()
    }

    /// Seats a connection in a room, and sends it at once what it would have missed by reconnecting. `expires_at` is when
    /// the client's leave to listen ends; None = never.
    pub fn join<W: Wire + 'static>(
        self: &Arc<Self>,
        shard: &Rc<Shard>,
        room: RoomId,
        outbox: &Rc<Outbox<W>>,
        expires_at: Option<Instant>,
    ) -> Membership {
        // Seated first, looked up second: what is published in between comes twice or once, never not at all.
        let seat = shard.join(&room, Rc::clone(outbox) as Rc<Outbox<dyn Wire>>, expires_at);
        match self.rooms.enter(&room) {
            Head::Unknown => self.lookups.add([room.clone()]),
            Head::Known(None) => {}
            Head::Known(Some(head)) => {
                let age = self.broker.now().since(head.publication.published_at);
                if !self.settings.replay_window.is_zero() && age <= self.settings.replay_window {
                    let pushed = outbox.push(Some(head.publication.position), &head.frame);
                    self.metrics.delivered(Outcome::Replayed, u64::from(pushed == Pushed::Sent));
                }
            }
        }
        self.metrics.connections_opened.inc();
        self.metrics.connections.inc();
        Membership { node: Arc::clone(self), shard: Rc::clone(shard), room, seat }
    }

    /// Whether publications have reached this node at least once since it started.
    pub fn has_linked(&self) -> bool {
        self.linked_once.load(Ordering::Acquire)
    }

    pub fn broker_status(&self) -> BrokerStatus {
        self.broker.status()
    }

    pub fn is_linked(&self) -> bool {
        self.broker.link() == LinkState::Up
    }

    pub fn connections(&self) -> u64 {
        u64::try_from(self.metrics.connections.get()).unwrap_or(0)
    }

    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// The live nodes, as of the last announcement.
    pub fn members(&self) -> Vec<NodeRecord> {
        self.members.list()
    }

    /// Closes every connection, evenly over `spread`.
    pub fn close_all(&self, spread: Duration, reason: CloseReason) {
        self.hub.close_all(spread, reason);
    }

    /// Leaves the cluster: makes good what this node answered for, as it is the only one that knows, and tells the
    /// others that it need not be waited for any more.
    pub async fn retire(self: &Arc<Self>) {
        self.members.stop();
        if !self.has_linked() {
            return;
        }
        let left = async {
            if self.broker.settle().await {
                self.restore().await?;
            }
            let _no_announcement_under_way = self.members.reading().await;
            self.broker.retire().await
        };
        if let Err(error) = left.await {
            tracing::warn!(%error, "left without a word, the node's record stays until it runs out");
        }
    }

    fn ages(&self) -> Ages {
        Ages {
            replay_window: self.settings.replay_window,
            head_ttl: self.settings.head_ttl,
            now: self.broker.now(),
        }
    }

    /// Hands a publication to the workers; confirms and goes on with the next when they are through.
    fn broadcast(self: &Arc<Self>, turn: Turn) {
        let Turn { refresh, outcome, publishers } = turn;
        let node = Arc::clone(self);
        let publication = Arc::clone(&refresh);
        let done = move |connections: usize| {
            let publication = &publication.publication;
            if outcome == Outcome::Sent {
                let lag = node.broker.now().since(publication.published_at);
                node.metrics.delivery_lag.observe(lag.as_secs_f64());
            }
            for publisher in publishers {
                node.confirm(publisher, publication.room.clone(), publication.position, connections);
            }
            if let Some(next) = node.rooms.finish_turn(&publication.room) {
                node.broadcast(next);
            }
        };
        self.hub.broadcast(Delivery::new(refresh, outcome, done));
    }

    fn confirm(&self, publisher: NodeId, room: RoomId, position: Position, connections: usize) {
        self.answer(publisher, room, About::Position(position), connections);
    }

    fn answer(&self, to: NodeId, room: RoomId, about: About, connections: usize) {
        let connections = u64::try_from(connections).unwrap_or(u64::MAX);
        let confirmation = Confirmation { from: self.id.clone(), room, about, connections };
        if to == self.id {
            self.waiting.on_confirmation(confirmation);
        } else {
            self.outgoing.put(to, confirmation);
        }
    }
}

impl Membership {
    /// The second of the worker's heartbeat that it is.
    pub fn now(&self) -> u32 {
        self.shard.now()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shard.leave(&self.seat);
        self.node.rooms.leave(&self.room);
        self.node.metrics.connections.dec();
    }
}
