//! A Redis Cluster: three masters that share the slots, each with a replica.

use super::node::Setup;
use super::ports;
use super::redis::TestRedis;
use super::sentinel::urls;
use super::wait::{SOON, eventually};
use std::collections::HashSet;

const MASTERS: usize = 3;
const SLOTS: u16 = 16_384;

pub struct RedisCluster {
    /// First the masters of the start, then their replicas in the same order.
    pub servers: Vec<TestRedis>,
    bus_ports: Vec<u16>,
}

impl RedisCluster {
    pub async fn start() -> Self {
        let (mut servers, mut bus_ports) = (Vec::new(), Vec::new());
        for _ in 0..2 * MASTERS {
            let bus = ports::free();
            let mut redis = TestRedis::away();
            redis.add_arguments(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
            redis.add_arguments(&[
                "--cluster-port",
                &bus.to_string(),
                "--cluster-replica-validity-factor",
                "0",
            ]);
            redis.add_arguments(&["--cluster-allow-replica-migration", "no"]);
            redis.relaunch().await;
            servers.push(redis);
            bus_ports.push(bus);
        }
        let cluster = Self { servers, bus_ports };
        cluster.assign().await;
        cluster
    }

    async fn assign(&self) {
        for (index, server) in self.servers.iter().enumerate() {
            // Without epochs of their own the masters would have to settle theirs first.
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
        }
        for (index, server) in self.servers[..MASTERS].iter().enumerate() {
            let bound = |part: usize| part * usize::from(SLOTS) / MASTERS;
            let (first, last) = (bound(index).to_string(), (bound(index + 1) - 1).to_string());
            server.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
        }
        for (server, bus) in self.servers.iter().zip(&self.bus_ports).skip(1) {
            let (port, bus) = (server.port().to_string(), bus.to_string());
            self.servers[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
        }
        for server in &self.servers {
            until_info(server, "cluster_known_nodes", &self.servers.len().to_string()).await;
        }
        for (master, replica) in self.servers[..MASTERS].iter().zip(&self.servers[MASTERS..]) {
            let id: String = master.ask(&["CLUSTER", "MYID"]).await;
            replica.command(&["CLUSTER", "REPLICATE", &id]).await;
        }
        for (master, replica) in self.servers[..MASTERS].iter().zip(&self.servers[MASTERS..]) {
            replica.until_replica_of(master.port()).await;
        }
        for server in &self.servers {
            until_info(server, "cluster_state", "ok").await;
        }
    }

    /// Settings for a node that knows the masters of the start.
    pub fn setup(&self) -> Setup {
        Setup::memory().set("redis.mode", "cluster").set("redis.urls", urls(&self.servers[..MASTERS]))
    }

    /// Which server holds that slot, as that server sees it.
    pub async fn owner(&self, slot: u16, seen_by: usize) -> Result<usize, String> {
        let answer = self.servers[seen_by].try_command(&["CLUSTER", "SLOTS"]).await?;
        let ranges: Vec<Vec<redis::Value>> =
            redis::from_redis_value(answer).map_err(|error| error.to_string())?;
        for range in ranges {
            let number = |index: usize| redis::from_redis_value_ref::<u16>(&range[index]).expect("a slot");
            if (number(0)..=number(1)).contains(&slot) {
                let master: Vec<redis::Value> = redis::from_redis_value_ref(&range[2]).expect("a server");
                let port: u16 = redis::from_redis_value_ref(&master[1]).expect("a port");
                let found = self.servers.iter().position(|server| server.port() == port);
                return Ok(found.expect("a server of the cluster"));
            }
        }
        Err(format!("nobody holds slot {slot}"))
    }

    /// Waits until that server says that the slot is with one of these.
    pub async fn until_owner(&self, slot: u16, wanted: &[usize], seen_by: usize) -> usize {
        eventually(3 * SOON, "the slot has the wanted owner", async || {
            let owner = self.owner(slot, seen_by).await?;
            if wanted.contains(&owner) { Ok(owner) } else { Err(format!("it is with server {owner}")) }
        })
        .await
    }

    pub async fn slot_of(&self, key: &str) -> u16 {
        self.servers[0].ask(&["CLUSTER", "KEYSLOT", key]).await
    }

    /// Moves a slot with its keys, as `redis-cli --cluster reshard` does.
    pub async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (&self.servers[from], &self.servers[to]);
        let source_id: String = source.ask(&["CLUSTER", "MYID"]).await;
        let target_id: String = target.ask(&["CLUSTER", "MYID"]).await;
        let slot = slot.to_string();
        target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]).await;
        source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]).await;
        loop {
            let keys: Vec<String> = source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
            if keys.is_empty() {
                break;
            }
            let port = target.port().to_string();
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "1000", "KEYS"];
            words.extend(keys.iter().map(String::as_str));
            source.command(&words).await;
        }
        for server in [target, source] {
            server.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]).await;
        }
    }

    /// Names of rooms such that every bucket has at least one.
    pub fn rooms() -> Vec<String> {
        (0..64).map(|number| format!("room-{number}")).collect()
    }

    /// The addresses in use by a node, as its status tells.
    pub fn addresses(status: &serde_json::Value) -> HashSet<String> {
        let servers = status["broker"]["servers"].as_array().expect("servers in the status");
        servers.iter().map(|server| server["address"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

async fn until_info(server: &TestRedis, field: &str, wanted: &str) {
    eventually(3 * SOON, "the cluster is formed", async || {
        let text: String = redis::from_redis_value(server.try_command(&["CLUSTER", "INFO"]).await?)
            .map_err(|error| error.to_string())?;
        let line = format!("{field}:{wanted}");
        if text.lines().any(|found| found.trim() == line) { Ok(()) } else { Err(text) }
    })
    .await;
}
