//! One connection that listens. It hands each message over where it reads it: no queue, no await.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::Notify;

pub(super) struct Subscription {
    connection: MultiplexedConnection,
    ended: Arc<Notify>,
}

impl Subscription {
    /// Connects and subscribes to all channels. `on_message` gets each message's bytes and must be quick.
    pub(super) async fn open(
        client: &Client,
        timeouts: AsyncConnectionConfig,
        channels: Vec<String>,
        on_message: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        let ended = Arc::new(Notify::new());
        let ending = Arc::clone(&ended);
        let receive = move |push: PushInfo| {
            match (push.kind, push.data.as_slice()) {
                (PushKind::Message, [_, Value::BulkString(message)]) => on_message(message),
                (PushKind::Disconnection, _) => ending.notify_one(),
                _ => {}
            }
            Ok::<_, std::convert::Infallible>(())
        };
        let config = timeouts.set_push_sender(receive);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        connection.subscribe(channels).await?;
        Ok(Self { connection, ended })
    }

    /// Resolves once the connection has ended.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// The random id of the server process (INFO, section server); None where the server does not tell.
    pub(super) async fn run_id(&mut self) -> Option<String> {
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut self.connection).await.ok()?;
        info.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned())
    }
}
