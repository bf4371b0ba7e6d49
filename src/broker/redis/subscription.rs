//! One connection that listens. It hands each message over where it reads it: no queue, no await.

use std::convert::Infallible;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::watch;

use super::server::Server;

pub struct Subscription {
    connection: MultiplexedConnection,
    end: watch::Receiver<Option<&'static str>>,
}

/// The two kinds of channels of Redis. In a cluster only the sharded ones stay with the keys of their slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    Classic,
    Sharded,
}

impl Channels {
    pub fn publish_command(self) -> &'static str {
        match self {
            Self::Classic => "PUBLISH",
            Self::Sharded => "SPUBLISH",
        }
    }

    fn subscribe_command(self) -> &'static str {
        match self {
            Self::Classic => "SUBSCRIBE",
            Self::Sharded => "SSUBSCRIBE",
        }
    }
}

impl Subscription {
    /// Connects and subscribes to all channels. `on_message` gets each message's bytes and must be quick.
    pub async fn open(
        server: &Server,
        kind: Channels,
        channels: &[String],
        on_message: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        let (ending, end) = watch::channel(None);
        let receive = move |push: PushInfo| {
            match (push.kind, push.data.as_slice()) {
                (PushKind::Message | PushKind::SMessage, [_, Value::BulkString(message)]) => {
                    on_message(message);
                }
                (PushKind::Disconnection, _) => {
                    ending.send_replace(Some("Redis closed the connection"));
                }
                // Not asked for by us: the slot of the channel went to another server.
                (PushKind::SUnsubscribe | PushKind::Unsubscribe, _) => {
                    ending.send_replace(Some("Redis ended a subscription, its slot moved"));
                }
                _ => {}
            }
            Ok::<_, Infallible>(())
        };
        let config = server.config().set_push_sender(receive);
        let mut connection = server.client()?.get_multiplexed_async_connection_with_config(&config).await?;
        // One command per channel: sharded channels of several slots are not taken in one.
        let mut subscribe = redis::pipe();
        for channel in channels {
            subscribe.cmd(kind.subscribe_command()).arg(channel).ignore();
        }
        subscribe.exec_async(&mut connection).await?;
        Ok(Self { connection, end })
    }

    /// Resolves once the subscription has ended, with the reason.
    pub async fn ended(&self) -> &'static str {
        let mut end = self.end.clone();
        let reason = end.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
        reason.unwrap_or("the connection to Redis ended")
    }

    /// Runs commands on this very connection.
    pub async fn run(&self, pipeline: &Pipeline) -> RedisResult<()> {
        pipeline.exec_async(&mut self.connection.clone()).await
    }

    /// The random id of the server process (INFO, section server); None where the server does not tell.
    pub async fn run_id(&self) -> Option<String> {
        let mut connection = self.connection.clone();
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await.ok()?;
        info.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned())
    }
}
