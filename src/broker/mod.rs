//! The bus between nodes: what [`Broker`] must do, and what it reports upwards through [`Events`].
//!
//! A broker stores each room's head, numbers publications, carries them to every node and carries confirmations back.
//! It knows no socket and no HTTP.

pub mod memory;
pub mod redis;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::config::RedisMode;
use crate::room::{Position, Publication, Publisher, Revision, RoomId, Timestamp};

/// Names a node for its lifetime; a restarted node is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Ten random base-36 digits.
    pub fn random() -> Self {
        let digit = || char::from_digit(rand::random_range(0..36), 36).unwrap_or('0');
        Self((0..10).map(|_| digit()).collect::<String>().into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node tells the others of itself. It lives for [`RECORD_LIFETIME`] after the last announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub id: NodeId,
    /// Host name and public port.
    pub address: String,
    pub version: String,
    pub connections: u64,
    pub rooms: u64,
}

/// How long a node counts as live after it was last heard of. Five announcements may be lost.
pub const RECORD_LIFETIME: Duration = Duration::from_secs(15);

/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(300);

/// A refresh to publish.
#[derive(Debug, Clone)]
pub struct Draft {
    pub room: RoomId,
    pub revision: Option<Revision>,
    pub published_by: Option<Publisher>,
    /// Publish at most once per room and key within [`IDEMPOTENCY_WINDOW`].
    pub idempotency_key: Option<String>,
    /// How long the answer may take: so long a repeated call waits for the first one's.
    pub answer_within: Duration,
}

/// What the broker holds of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    Nothing,
    Head(Publication),
    /// Something that no relay of this version wrote. The next publication puts a head in its place.
    Unreadable,
}

impl Held {
    pub fn head(self) -> Option<Publication> {
        match self {
            Self::Head(head) => Some(head),
            Self::Nothing | Self::Unreadable => None,
        }
    }
}

/// What became of a draft.
#[derive(Debug, Clone)]
pub enum Published {
    /// It was stored and sent to all nodes.
    New(Publication),
    /// Its idempotency key was used before, for this publication. Nothing was sent. The first call has its answer
    /// after `answered_in` at the latest, unless its node died.
    Duplicate { publication: Publication, answered_in: Duration },
}

/// How many nodes handed a publication to how many sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Live nodes that should confirm.
    pub expected: usize,
    /// Nodes that did.
    pub confirmed: usize,
    /// Sockets they handed it to.
    pub connections: u64,
}

/// A node's word on how many of its sockets something concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    pub from: NodeId,
    pub room: RoomId,
    pub about: About,
    pub connections: u64,
}

/// What a confirmation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// All publications up to this position were handed out.
    Position(Position),
    /// The count asked for under this number.
    Count(u64),
}

/// Whether the Redis behind a new link is the one that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// The same server process: comparing heads shows all that was missed.
    SameServer,
    /// Another process, or unknown: anything may have been missed.
    Unknown,
}

/// What a broker reports. Called on its read path: implementations neither block nor await.
pub trait Events: Send + Sync {
    fn on_publication(&self, publication: Publication, publisher: NodeId);
    fn on_confirmation(&self, confirmation: Confirmation);
    /// Another node wants to know how many sockets the room has here.
    fn on_count_request(&self, room: RoomId, number: u64, asker: NodeId);
    fn on_link_up(&self, continuity: Continuity);
    /// A message came that could not be read, and was dropped.
    fn on_unreadable(&self);
}

/// Why the broker could not do it. Whoever gets this may not say that anything was published.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("the link to Redis is down")]
    LinkDown,
    #[error("Redis did not answer in time")]
    Timeout,
    #[error("Redis: {0}")]
    Redis(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no server of the Redis cluster holds slot {0}")]
    Unserved(u16),
    #[error("unreadable data in Redis: {0}")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What `/status` tells of the broker.
#[derive(Debug, Clone, Serialize)]
pub struct BrokerStatus {
    pub kind: &'static str,
    /// How Redis is run.
    pub mode: Option<RedisMode>,
    pub link: LinkState,
    /// Since the link is as it is.
    pub link_seconds: f64,
    /// The cause of the latest loss or failed attempt, also after the link is up again.
    pub last_error: Option<String>,
    /// Round trip of the newest probe that came back.
    pub probe_round_trip_seconds: Option<f64>,
    /// Since then no probe came back.
    pub probe_age_seconds: Option<f64>,
    /// The servers of the latest link.
    pub servers: Vec<ServerStatus>,
}

/// A server behind the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    pub address: String,
    /// Names the server process; None where the server does not tell.
    pub run_id: Option<String>,
    /// Its share of the rooms, in sixteenths.
    pub buckets: usize,
}

/// Whether publications of other nodes reach this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Not linked since the start.
    Starting,
    Up,
    Down,
}

#[async_trait]
pub trait Broker: Send + Sync {
    /// Keeps the link alive and reports events until dropped. Called once.
    async fn run(&self, events: Arc<dyn Events>);

    fn status(&self) -> BrokerStatus;

    fn link(&self) -> LinkState;

    /// The broker's clock, which stamps publications.
    fn now(&self) -> Timestamp;

    /// One atomic step: the next generation, the new head, and the word to every node.
    async fn publish(&self, draft: Draft) -> Result<Published, BrokerError>;

    /// Keeps the answer to the first use of an idempotency key for those that come after it.
    async fn remember(&self, room: &RoomId, idempotency_key: &str, tally: Tally) -> Result<(), BrokerError>;

    /// The answer kept for an idempotency key, once the first use has one.
    async fn recall(&self, room: &RoomId, idempotency_key: &str) -> Result<Option<Tally>, BrokerError>;

    /// What is held of these rooms, in their order.
    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Held>, BrokerError>;

    /// Sends a confirmation to the node it is for.
    async fn confirm(&self, confirmations: Vec<(NodeId, Confirmation)>) -> Result<(), BrokerError>;

    /// Asks every node for its sockets in the room; they answer with [`About::Count`].
    async fn request_counts(&self, room: &RoomId, number: u64) -> Result<(), BrokerError>;

    /// Renews this node's record; answers the live ones.
    async fn announce(&self, record: &NodeRecord) -> Result<Vec<NodeRecord>, BrokerError>;

    /// The records of all live nodes.
    async fn nodes(&self) -> Result<Vec<NodeRecord>, BrokerError>;

    /// Something hints that this broker may not be the other nodes' any more: look whether it still is the one.
    fn suspect(&self) {}

    /// Makes sure that it still is the one; if not, waits a little for a link to the one that is. Answers whether the
    /// link stands.
    async fn settle(&self) -> bool {
        self.link() == LinkState::Up
    }

    /// Takes this node's record away.
    async fn retire(&self) -> Result<(), BrokerError>;
}
