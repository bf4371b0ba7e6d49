//! Commands to Redis, through the pool, each within the command timeout.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime, Timeouts};
use redis::{Pipeline, RedisError, RedisResult, Script, ScriptInvocation};

use super::keys::Keys;
use super::topology;
use crate::broker::{BrokerError, NodeId, NodeRecord, RECORD_LIFETIME};
use crate::config::RedisSettings;
use crate::room::Timestamp;

pub(super) struct Commands {
    pool: Pool,
    pub keys: Keys,
    pub timeout: Duration,
    nodes: Script,
    clock: Clock,
}

/// Redis' clock as seen from here. It stamps publications, so ages are read off it and not off the node's own clock.
#[derive(Default)]
struct Clock {
    /// Microseconds that Redis is ahead of this machine.
    offset: AtomicI64,
}

impl Clock {
    fn read(&self) -> Timestamp {
        let here = Timestamp::now().as_micros();
        Timestamp::from_micros(here.saturating_add_signed(self.offset.load(Ordering::Relaxed)))
    }

    fn set(&self, now: Timestamp) {
        let offset = i128::from(now.as_micros()) - i128::from(Timestamp::now().as_micros());
        self.offset.store(i64::try_from(offset).unwrap_or(0), Ordering::Relaxed);
    }
}

impl From<RedisError> for BrokerError {
    fn from(error: RedisError) -> Self {
        Self::Redis(Box::new(error))
    }
}

impl From<serde_json::Error> for BrokerError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(Box::new(error))
    }
}

impl Commands {
    /// Builds the pool; connects to nothing yet.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, BrokerError> {
        let manager =
            Manager::new_with_config(topology::connection_info(settings)?, topology::timeouts(settings))?;
        let pool = Pool::builder(manager)
            .max_size(settings.pool_size)
            .timeouts(Timeouts {
                wait: Some(settings.command_timeout),
                create: Some(settings.connect_timeout),
                recycle: Some(settings.command_timeout),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| BrokerError::Redis(Box::new(error)))?;
        Ok(Self {
            pool,
            keys: Keys::new(&settings.key_prefix),
            timeout: settings.command_timeout,
            nodes: Script::new(include_str!("nodes.lua")),
            clock: Clock::default(),
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.read()
    }

    /// Sets the clock to what a script answered, microseconds.
    pub(super) fn set_clock(&self, micros: u64) {
        self.clock.set(Timestamp::from_micros(micros));
    }

    pub(super) async fn pipeline<T: redis::FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, BrokerError> {
        self.within(async |mut connection| pipeline.query_async(&mut connection).await).await
    }

    pub(super) async fn script<T: redis::FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, BrokerError> {
        self.within(async |mut connection| call.invoke_async(&mut connection).await).await
    }

    pub(super) async fn publish(&self, channel: String, message: Vec<u8>) -> Result<(), BrokerError> {
        let mut pipeline = redis::pipe();
        pipeline.publish(channel, message).ignore();
        self.pipeline(&pipeline).await
    }

    /// The live nodes; with `renew`, that node's record is renewed first.
    pub(super) async fn nodes(&self, renew: Option<&NodeRecord>) -> Result<Vec<NodeRecord>, BrokerError> {
        let mut call = self.nodes.key(self.keys.nodes());
        let lifetime = u64::try_from(RECORD_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        call.arg(lifetime);
        if let Some(record) = renew {
            call.arg(record.id.as_str()).arg(serde_json::to_string(record)?);
        }
        let mut answer: Vec<String> = self.script(&call).await?;
        if answer.is_empty() {
            return Ok(Vec::new());
        }
        if let Ok(micros) = answer.remove(0).parse() {
            self.set_clock(micros);
        }
        // A record this version cannot read is a node all the same, but one that nothing is known of; it will not
        // be waited for.
        Ok(answer.iter().filter_map(|record| serde_json::from_str(record).ok()).collect())
    }

    pub(super) async fn drop_record(&self, node: &NodeId) -> Result<(), BrokerError> {
        let mut pipeline = redis::pipe();
        pipeline.hdel(self.keys.nodes(), node.as_str()).ignore();
        self.pipeline(&pipeline).await
    }

    /// Closes idle connections. After a lost link each of them may be dead, and finding out costs a timeout each.
    pub(super) fn drop_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    async fn within<T>(
        &self,
        command: impl AsyncFnOnce(Connection) -> RedisResult<T>,
    ) -> Result<T, BrokerError> {
        let attempt = async {
            let connection = self.pool.get().await.map_err(|error| match error {
                PoolError::Backend(error) => BrokerError::from(error),
                PoolError::Timeout(_) => BrokerError::Timeout(self.timeout),
                other => BrokerError::Redis(Box::new(other)),
            })?;
            Ok(command(connection).await?)
        };
        tokio::time::timeout(self.timeout, attempt).await.unwrap_or(Err(BrokerError::Timeout(self.timeout)))
    }
}
