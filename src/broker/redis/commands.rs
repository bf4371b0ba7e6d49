//! Commands to Redis, through a pool per server, each within the command timeout.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime, Timeouts};
use futures_util::future::try_join_all;
use redis::{FromRedisValue, Pipeline, RedisError, RedisResult, Script, ScriptInvocation};

use super::keys::{Bucket, Keys};
use super::server::Server;
use crate::broker::{BrokerError, NodeId, NodeRecord, RECORD_LIFETIME};
use crate::config::RedisSettings;
use crate::room::Timestamp;

pub struct Commands {
    /// Replaced for every new link: of the old pool each connection may be dead, and finding out costs a timeout each.
    routes: RwLock<Arc<Routes>>,
    pool_size: usize,
    connect_timeout: Duration,
    timeout: Duration,
    pub keys: Keys,
    nodes: Script,
    clock: Clock,
}

/// Which pool leads to the server of a bucket. Empty before the first link.
#[derive(Default)]
struct Routes {
    pools: Vec<(Vec<Bucket>, Pool)>,
}

impl Routes {
    fn index(&self, bucket: Bucket) -> Result<usize, BrokerError> {
        self.pools.iter().position(|(buckets, _)| buckets.contains(&bucket)).ok_or(BrokerError::LinkDown)
    }
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
        if error.is_timeout() { Self::Timeout } else { Self::Redis(Box::new(error)) }
    }
}

impl From<serde_json::Error> for BrokerError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(Box::new(error))
    }
}

impl Commands {
    pub fn new(settings: &RedisSettings) -> Self {
        Self {
            routes: RwLock::default(),
            pool_size: settings.pool_size,
            connect_timeout: settings.connect_timeout,
            timeout: settings.command_timeout,
            keys: Keys::new(&settings.key_prefix),
            nodes: Script::new(include_str!("nodes.lua")),
            clock: Clock::default(),
        }
    }

    /// Sends commands to these servers from now on. Connects to none yet.
    pub fn use_servers(&self, servers: &[Server]) -> Result<(), BrokerError> {
        let pools = servers.iter().map(|server| Ok((server.buckets.clone(), self.pool(server)?)));
        let routes = Routes { pools: pools.collect::<Result<_, BrokerError>>()? };
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
        Ok(())
    }

    fn pool(&self, server: &Server) -> Result<Pool, BrokerError> {
        let manager = Manager::new_with_config(server.info(), server.config())?;
        let pool = Pool::builder(manager)
            .max_size(self.pool_size)
            .timeouts(Timeouts {
                wait: Some(self.timeout),
                create: Some(self.connect_timeout),
                recycle: Some(self.timeout),
            })
            .runtime(Runtime::Tokio1)
            .build();
        pool.map_err(|error| BrokerError::Redis(Box::new(error)))
    }

    pub fn now(&self) -> Timestamp {
        self.clock.read()
    }

    /// Sets the clock to what a script answered, microseconds.
    pub fn set_clock(&self, micros: u64) {
        self.clock.set(Timestamp::from_micros(micros));
    }

    /// Runs commands on keys and channels of one bucket.
    pub async fn pipeline<T: FromRedisValue>(
        &self,
        bucket: Bucket,
        pipeline: &Pipeline,
    ) -> Result<T, BrokerError> {
        let routes = self.routes();
        let (_, pool) = &routes.pools[routes.index(bucket)?];
        self.within(pool, async |mut connection| pipeline.query_async(&mut connection).await).await
    }

    pub async fn script<T: FromRedisValue>(
        &self,
        bucket: Bucket,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, BrokerError> {
        let routes = self.routes();
        let (_, pool) = &routes.pools[routes.index(bucket)?];
        self.within(pool, async |mut connection| call.invoke_async(&mut connection).await).await
    }

    /// Runs one command per item, in one round trip per server; answers, or errors, in the order of the items.
    pub async fn each<I, T: FromRedisValue>(
        &self,
        items: &[I],
        bucket: impl Fn(&I) -> Bucket,
        add: impl Fn(&mut Pipeline, &I),
    ) -> Result<Vec<RedisResult<T>>, BrokerError> {
        let routes = self.routes();
        let mut shares: Vec<(Vec<usize>, Pipeline)> =
            routes.pools.iter().map(|_| (Vec::new(), redis::pipe())).collect();
        for (position, item) in items.iter().enumerate() {
            let (positions, pipeline) = &mut shares[routes.index(bucket(item))?];
            positions.push(position);
            add(pipeline, item);
            pipeline.ignore_errors();
        }
        let asked = shares.iter().zip(&routes.pools).filter(|((positions, _), _)| !positions.is_empty());
        let answers = try_join_all(asked.map(async |((positions, pipeline), (_, pool))| {
            let run =
                async |mut connection| pipeline.query_async::<Vec<RedisResult<T>>>(&mut connection).await;
            let answers = self.within(pool, run).await?;
            Ok::<_, BrokerError>(positions.iter().copied().zip(answers).collect::<Vec<_>>())
        }));
        let mut answers: Vec<(usize, RedisResult<T>)> = answers.await?.into_iter().flatten().collect();
        answers.sort_by_key(|(position, _)| *position);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// The live nodes; with `renew`, that node's record is renewed first.
    pub async fn nodes(&self, renew: Option<&NodeRecord>) -> Result<Vec<NodeRecord>, BrokerError> {
        let mut call = self.nodes.key(self.keys.nodes());
        let lifetime = u64::try_from(RECORD_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        call.arg(lifetime);
        if let Some(record) = renew {
            call.arg(record.id.as_str()).arg(serde_json::to_string(record)?);
        }
        let mut answer: Vec<String> = self.script(Keys::NODES, &call).await?;
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

    pub async fn drop_record(&self, node: &NodeId) -> Result<(), BrokerError> {
        let mut pipeline = redis::pipe();
        pipeline.hdel(self.keys.nodes(), node.as_str()).ignore();
        self.pipeline(Keys::NODES, &pipeline).await
    }

    fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn within<T>(
        &self,
        pool: &Pool,
        command: impl AsyncFnOnce(Connection) -> RedisResult<T>,
    ) -> Result<T, BrokerError> {
        let attempt = async {
            let connection = pool.get().await.map_err(|error| match error {
                PoolError::Backend(error) => BrokerError::from(error),
                PoolError::Timeout(_) => BrokerError::Timeout,
                other => BrokerError::Redis(Box::new(other)),
            })?;
            Ok(command(connection).await?)
        };
        tokio::time::timeout(self.timeout, attempt).await.unwrap_or(Err(BrokerError::Timeout))
    }
}
