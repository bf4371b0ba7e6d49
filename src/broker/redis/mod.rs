//! The bus of a cluster of nodes: Redis, as one server, behind Sentinels, or as a Redis Cluster.
//!
//! Commands go through pools; what others publish comes over the link, on connections of its own.

mod commands;
mod keys;
mod link;
pub mod message;
mod server;
mod subscription;
mod topology;

use std::sync::{Arc, Once};
use std::time::Duration;

use async_trait::async_trait;
use redis::{RedisResult, Script};
use tracing::warn;

use self::commands::Commands;
use self::keys::Bucket;
use self::link::Link;
use self::message::Message;
use self::subscription::Channels;
use super::{
    Broker, BrokerError, BrokerStatus, Confirmation, Draft, Events, Held, IDEMPOTENCY_WINDOW, LinkState,
    NodeId, NodeRecord, Published, Tally,
};
use crate::config::{RedisMode, RedisServers, RedisSettings};
use crate::metrics::Metrics;
use crate::room::{Epoch, RoomId, Timestamp};

pub struct RedisBroker {
    id: NodeId,
    head_ttl_ms: u64,
    mode: RedisMode,
    channels: Channels,
    commands: Arc<Commands>,
    link: Link,
    publish: Script,
    metrics: Arc<Metrics>,
    complain_of_head: Once,
}

impl RedisBroker {
    /// One head that cannot be read is no reason not to compare the others.
    fn decode_head(&self, room: &RoomId, head: RedisResult<Option<String>>) -> Held {
        let problem = match head {
            Ok(None) => return Held::Nothing,
            Ok(Some(head)) => match serde_json::from_str(&head) {
                Ok(head) => return Held::Head(head),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        self.metrics.messages_unreadable.inc();
        self.complain_of_head.call_once(|| {
            warn!(%room, problem, "unreadable head in Redis; is the key prefix shared?");
        });
        Held::Unreadable
    }

    /// Connects to nothing yet: a node starts, and serves sockets, while Redis is away.
    pub fn new(id: NodeId, settings: &RedisSettings, head_ttl: Duration, metrics: Arc<Metrics>) -> Self {
        let (mode, channels) = match &settings.servers {
            RedisServers::Standalone(_) => (RedisMode::Standalone, Channels::Classic),
            RedisServers::Sentinel { .. } => (RedisMode::Sentinel, Channels::Classic),
            RedisServers::Cluster { .. } => (RedisMode::Cluster, Channels::Sharded),
        };
        metrics.redis.set_mode(mode);
        let commands = Arc::new(Commands::new(settings));
        Self {
            link: Link::new(
                id.clone(),
                settings.clone(),
                channels,
                Arc::clone(&commands),
                Arc::clone(&metrics),
            ),
            metrics,
            complain_of_head: Once::new(),
            id,
            head_ttl_ms: millis(head_ttl),
            mode,
            channels,
            commands,
            publish: Script::new(include_str!("publish.lua")),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn bucket(room: &RoomId) -> Bucket {
    Bucket::of(room.as_str())
}

/// The draft as the JSON object that `publish.lua` completes: everything but position, time and closing brace.
fn open_object(draft: &Draft) -> serde_json::Result<String> {
    let mut object = format!(r#"{{"room":{}"#, serde_json::to_string(&draft.room)?);
    if let Some(revision) = &draft.revision {
        object += r#","revision":"#;
        object += &serde_json::to_string(revision)?;
    }
    if let Some(publisher) = &draft.published_by {
        object += r#","published_by":"#;
        object += &serde_json::to_string(publisher)?;
    }
    Ok(object)
}

#[async_trait]
impl Broker for RedisBroker {
    async fn run(&self, events: Arc<dyn Events>) {
        self.link.run(events).await;
    }

    fn status(&self) -> BrokerStatus {
        let status = self.link.status().clone();
        BrokerStatus {
            kind: "redis",
            mode: Some(self.mode),
            link: status.state,
            link_seconds: status.since.elapsed().as_secs_f64(),
            last_error: status.last_error,
            probe_round_trip_seconds: status.round_trip.map(|time| time.as_secs_f64()),
            probe_age_seconds: status.probed_at.map(|at| at.elapsed().as_secs_f64()),
            servers: status.servers,
        }
    }

    fn link(&self) -> LinkState {
        self.link.status().state
    }

    fn now(&self) -> Timestamp {
        self.commands.now()
    }

    async fn publish(&self, draft: Draft) -> Result<Published, BrokerError> {
        // Without the link nobody could say who was told; the caller tries again, perhaps at another node.
        let link = self.link.number();
        if !self.link.is_up() {
            return Err(BrokerError::LinkDown);
        }
        let keys = &self.commands.keys;
        let bucket = bucket(&draft.room);
        let mut call = self.publish.key(keys.head(&draft.room));
        if let Some(key) = &draft.idempotency_key {
            call.key(keys.idempotency(&draft.room, key));
        }
        call.arg(Epoch::random().to_string())
            .arg(self.head_ttl_ms)
            .arg(millis(IDEMPOTENCY_WINDOW))
            .arg(keys.channel(bucket))
            .arg(self.channels.publish_command())
            .arg(self.id.as_str())
            .arg(open_object(&draft)?)
            .arg(millis(draft.answer_within));
        let (new, publication, now, answered_in): (bool, String, u64, u64) =
            self.commands.script(bucket, &call).await?;
        // The answer came from the servers of a link that is no more: what they hold may be lost with them.
        if self.link.number() != link {
            return Err(BrokerError::LinkDown);
        }
        self.commands.set_clock(now);
        let publication = serde_json::from_str(&publication)?;
        Ok(if new {
            Published::New(publication)
        } else {
            Published::Duplicate { publication, answered_in: Duration::from_millis(answered_in) }
        })
    }

    async fn remember(&self, room: &RoomId, idempotency_key: &str, tally: Tally) -> Result<(), BrokerError> {
        let key = self.commands.keys.idempotency(room, idempotency_key);
        let mut pipeline = redis::pipe();
        pipeline.hset(&key, "tally", serde_json::to_string(&tally)?).ignore();
        // Renewed, as a key that ran out in between would otherwise be kept for good.
        pipeline.pexpire(&key, i64::try_from(millis(IDEMPOTENCY_WINDOW)).unwrap_or(i64::MAX)).ignore();
        self.commands.pipeline(bucket(room), &pipeline).await
    }

    async fn recall(&self, room: &RoomId, idempotency_key: &str) -> Result<Option<Tally>, BrokerError> {
        let mut pipeline = redis::pipe();
        pipeline.hget(self.commands.keys.idempotency(room, idempotency_key), "tally");
        let (tally,): (Option<String>,) = self.commands.pipeline(bucket(room), &pipeline).await?;
        Ok(tally.map(|tally| serde_json::from_str(&tally)).transpose()?)
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Held>, BrokerError> {
        let keys = &self.commands.keys;
        let heads: Vec<RedisResult<Option<String>>> = self
            .commands
            .each(rooms, bucket, |pipeline, room| {
                pipeline.hget(keys.head(room), "publication");
            })
            .await?;
        Ok(rooms.iter().zip(heads).map(|(room, head)| self.decode_head(room, head)).collect())
    }

    async fn confirm(&self, confirmations: Vec<(NodeId, Confirmation)>) -> Result<(), BrokerError> {
        let mut messages = Vec::with_capacity(confirmations.len());
        for (node, confirmation) in confirmations {
            let bucket = bucket(&confirmation.room);
            let inbox = self.commands.keys.inbox(bucket, &node);
            messages.push((bucket, inbox, Message::Confirmation(confirmation).encode()?));
        }
        let command = self.channels.publish_command();
        let add = |pipeline: &mut redis::Pipeline, (_, inbox, message): &(Bucket, String, Vec<u8>)| {
            pipeline.cmd(command).arg(inbox).arg(message);
        };
        let _receivers: Vec<RedisResult<u64>> =
            self.commands.each(&messages, |(bucket, ..)| *bucket, add).await?;
        Ok(())
    }

    async fn request_counts(&self, room: &RoomId, number: u64) -> Result<(), BrokerError> {
        if !self.link.is_up() {
            return Err(BrokerError::LinkDown);
        }
        let bucket = bucket(room);
        let request = Message::CountRequest { room: room.clone(), number, asker: self.id.clone() };
        let mut pipeline = redis::pipe();
        let channel = self.commands.keys.channel(bucket);
        pipeline.cmd(self.channels.publish_command()).arg(channel).arg(request.encode()?).ignore();
        self.commands.pipeline(bucket, &pipeline).await
    }

    async fn announce(&self, record: &NodeRecord) -> Result<Vec<NodeRecord>, BrokerError> {
        self.commands.nodes(Some(record)).await
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, BrokerError> {
        self.commands.nodes(None).await
    }

    fn suspect(&self) {
        self.link.suspect();
    }

    async fn settle(&self) -> bool {
        self.link.settle().await
    }

    async fn retire(&self) -> Result<(), BrokerError> {
        self.commands.drop_record(&self.id).await
    }
}
