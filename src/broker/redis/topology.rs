//! Which Redis servers hold the rooms. Asked anew for every link, and now and then while one stands.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand::seq::SliceRandom;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::time::{Instant, timeout_at};

use super::keys::{Bucket, Keys};
use super::server::{Endpoint, Server};
use crate::broker::BrokerError;
use crate::config::{RedisLogin, RedisServers, RedisSettings, RedisUrl};
use crate::tls;

/// After the first Sentinel answered, how long the others have to answer with something newer.
const SENTINEL_GRACE: Duration = Duration::from_millis(200);

pub struct Topology {
    settings: RedisSettings,
    keys: Keys,
    /// The servers of a cluster found last: they may live when all seeds are gone.
    found: Mutex<Vec<Server>>,
}

impl Topology {
    pub fn new(settings: RedisSettings) -> Self {
        if settings.has_tls() {
            tls::use_ring();
        }
        let keys = Keys::new(&settings.key_prefix);
        Self { settings, keys, found: Mutex::default() }
    }

    /// The servers, and the buckets each one holds.
    pub async fn find(&self) -> Result<Vec<Server>, BrokerError> {
        let login = &self.settings.login;
        let all = || Bucket::all().collect();
        match &self.settings.servers {
            RedisServers::Standalone(url) => {
                let server = Server::new(&Endpoint::Url(url), login, &self.settings)?;
                Ok(vec![server.with_buckets(all())])
            }
            RedisServers::Sentinel { sentinels, master, login: sentinel_login } => {
                let (host, port) = self.ask_sentinels(sentinels, master, sentinel_login).await?;
                let endpoint = Endpoint::Told { host, port, like: &sentinels[0] };
                Ok(vec![Server::new(&endpoint, login, &self.settings)?.with_buckets(all())])
            }
            RedisServers::Cluster { seeds } => self.ask_cluster(seeds).await,
        }
    }

    /// Asks all Sentinels at once. Of several answers the one of the latest failover counts: a Sentinel that was cut
    /// off still names the old master.
    async fn ask_sentinels(
        &self,
        sentinels: &[RedisUrl],
        master: &str,
        login: &RedisLogin,
    ) -> Result<(String, u16), BrokerError> {
        let mut asked: FuturesUnordered<_> = sentinels
            .iter()
            .map(|url| async move {
                let sentinel = Server::new(&Endpoint::Url(url), login, &self.settings)?;
                ask_sentinel(&sentinel, master).await
            })
            .collect();
        let mut deadline = Instant::now() + self.settings.connect_timeout + self.settings.command_timeout;
        let (mut newest, mut error): (Option<Master>, _) = (None, None);
        while let Ok(Some(answer)) = timeout_at(deadline, asked.next()).await {
            match answer {
                Ok(answer) => {
                    if newest.as_ref().is_none_or(|newest| newest.epoch < answer.epoch) {
                        newest = Some(answer);
                    }
                    deadline = deadline.min(Instant::now() + SENTINEL_GRACE);
                }
                Err(failed) => error = Some(failed),
            }
        }
        match (newest, error) {
            (Some(newest), _) => Ok((newest.host, newest.port)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(BrokerError::Timeout),
        }
    }

    /// Asks one node after the other, until one tells who holds which slot.
    async fn ask_cluster(&self, seeds: &[RedisUrl]) -> Result<Vec<Server>, BrokerError> {
        let mut candidates = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for seed in seeds {
            candidates.push(Server::new(&Endpoint::Url(seed), &self.settings.login, &self.settings)?);
        }
        candidates.shuffle(&mut rand::rng());
        let mut error = BrokerError::LinkDown;
        for candidate in candidates {
            match self.ask_cluster_node(&candidate, &seeds[0]).await {
                Ok(servers) => {
                    self.found.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&servers);
                    return Ok(servers);
                }
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    async fn ask_cluster_node(&self, node: &Server, like: &RedisUrl) -> Result<Vec<Server>, BrokerError> {
        let mut connection = connect(node).await?;
        let mut keyslots = redis::pipe();
        for bucket in Bucket::all() {
            keyslots.cmd("CLUSTER").arg("KEYSLOT").arg(self.keys.channel(bucket));
        }
        let slots: Vec<u16> = keyslots.query_async(&mut connection).await?;
        let ranges: Vec<Value> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
        let ranges: Vec<SlotRange> = ranges.iter().filter_map(SlotRange::parse).collect();
        let mut shares: HashMap<(String, u16), Vec<Bucket>> = HashMap::new();
        for (bucket, slot) in Bucket::all().zip(slots) {
            let range = ranges.iter().find(|range| range.slots.contains(&slot));
            let range = range.ok_or_else(|| BrokerError::Unserved(slot))?;
            let host = if range.host.is_empty() { node.host() } else { range.host.clone() };
            shares.entry((host, range.port)).or_default().push(bucket);
        }
        let server = |((host, port), buckets)| {
            let endpoint = Endpoint::Told { host, port, like };
            Ok(Server::new(&endpoint, &self.settings.login, &self.settings)?.with_buckets(buckets))
        };
        let mut servers: Vec<Server> = shares.into_iter().map(server).collect::<RedisResult<_>>()?;
        servers.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(servers)
    }
}

async fn connect(server: &Server) -> RedisResult<MultiplexedConnection> {
    server.client()?.get_multiplexed_async_connection_with_config(&server.config()).await
}

/// What a Sentinel knows of the master.
struct Master {
    host: String,
    port: u16,
    /// Counts failovers.
    epoch: u64,
}

async fn ask_sentinel(sentinel: &Server, master: &str) -> Result<Master, BrokerError> {
    let mut connection = connect(sentinel).await?;
    let mut told: HashMap<String, String> =
        redis::cmd("SENTINEL").arg("MASTER").arg(master).query_async(&mut connection).await?;
    let number = |text: Option<&String>| text.and_then(|text| text.parse().ok());
    let port = number(told.get("port")).and_then(|port: u64| u16::try_from(port).ok());
    let epoch = number(told.get("config-epoch")).unwrap_or(0);
    match (told.remove("ip"), port) {
        (Some(host), Some(port)) => Ok(Master { host, port, epoch }),
        _ => Err(BrokerError::Unreadable("a Sentinel's answer without ip and port".into())),
    }
}

/// An element of CLUSTER SLOTS: first and last slot, then the master, then replicas.
struct SlotRange {
    slots: std::ops::RangeInclusive<u16>,
    /// Empty for the host that was asked.
    host: String,
    port: u16,
}

impl SlotRange {
    fn parse(value: &Value) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let [first, last, Value::Array(master), ..] = parts.as_slice() else { return None };
        let number = |value: &Value| redis::from_redis_value_ref::<u16>(value).ok();
        let host: Option<String> = redis::from_redis_value_ref(master.first()?).ok()?;
        Some(Self {
            slots: number(first)?..=number(last)?,
            host: host.unwrap_or_default(),
            port: number(master.get(1)?)?,
        })
    }
}
