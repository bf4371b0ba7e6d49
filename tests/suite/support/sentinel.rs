//! A master with a replica and three Sentinels that watch them.

use super::node::Setup;
use super::redis::TestRedis;
use super::wait::{SOON, eventually};
use std::collections::HashMap;
use std::fmt::Write;

/// What the Sentinels call the master.
const MASTER: &str = "mymaster";

/// Agreements that it takes to declare the master dead.
const QUORUM: usize = 2;

pub struct Sentinels {
    /// The first one was the master at the start.
    pub servers: Vec<TestRedis>,
    pub sentinels: Vec<TestRedis>,
}

/// How to set up the servers and the Sentinels.
#[derive(Default)]
pub struct Plan<'a> {
    /// The port by which the master is reached, if not its own.
    pub master_port: Option<u16>,
    /// From which address replica and Sentinels connect.
    pub source: Option<&'a str>,
    pub password: Option<&'a str>,
    pub sentinel_password: Option<&'a str>,
    /// The master, if there is one already.
    pub master: Option<TestRedis>,
}

impl Sentinels {
    pub async fn start() -> Self {
        Self::start_as(Plan::default()).await
    }

    pub async fn start_as(plan: Plan<'_>) -> Self {
        let master = match plan.master {
            Some(master) => master,
            None => server(plan.password, &[]).await,
        };
        let port = plan.master_port.unwrap_or(master.port());
        let master_port = port.to_string();
        let mut arguments =
            vec!["--replicaof", "127.0.0.1", &master_port, "--replica-announce-ip", "127.0.0.1"];
        if let Some(source) = plan.source {
            arguments.extend(["--bind-source-addr", source]);
        }
        let replica = server(plan.password, &arguments).await;
        // Sentinels that start now learn of the replica from the master's first answer, and not from the next, 10 s later.
        replica.until_replica_of(port).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let lines = configuration(port, plan.password, plan.sentinel_password, plan.source);
            sentinels.push(TestRedis::start_sentinel(&lines, plan.sentinel_password).await);
        }
        let group = Self { servers: vec![master, replica], sentinels };
        group.until_agreed(1).await;
        group
    }

    /// Settings for a node that asks these Sentinels.
    pub fn setup(&self) -> Setup {
        Setup::memory().set("redis.mode", "sentinel").set("redis.urls", urls(&self.sentinels))
    }

    /// Waits until all Sentinels know each other and that many replicas that can take over.
    pub async fn until_agreed(&self, replicas: usize) {
        for sentinel in &self.sentinels {
            eventually(3 * SOON, "the Sentinels know all", async || {
                let others = listed(sentinel, "SENTINELS").await?;
                let known = listed(sentinel, "REPLICAS").await?;
                let ready = known.iter().filter(|replica| {
                    let is = |field: &str, wanted: &str| replica.get(field).is_some_and(|v| v == wanted);
                    is("flags", "slave") && is("master-link-status", "ok")
                });
                if others.len() + 1 == self.sentinels.len() && ready.count() == replicas {
                    Ok(())
                } else {
                    Err(format!("it knows {others:?} and {known:?}"))
                }
            })
            .await;
        }
    }

    /// The port of the master as that Sentinel sees it.
    pub async fn master_port(&self, sentinel: usize) -> u16 {
        let answer: (String, u16) =
            self.sentinels[sentinel].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).await;
        answer.1
    }

    /// Asks for a failover, as one does before maintenance.
    pub async fn fail_over(&self) {
        eventually(SOON, "the failover is begun", async || {
            self.sentinels[0].try_command(&["SENTINEL", "FAILOVER", MASTER]).await.map(drop)
        })
        .await;
    }

    /// Waits until all Sentinels name that server as the master.
    pub async fn until_master(&self, server: usize) {
        let wanted = self.servers[server].port();
        for sentinel in 0..self.sentinels.len() {
            eventually(3 * SOON, "the Sentinels name the new master", async || {
                let port = self.master_port(sentinel).await;
                if port == wanted { Ok(()) } else { Err(format!("they name {port}, wanted {wanted}")) }
            })
            .await;
        }
    }
}

/// A server that may become master or replica.
pub async fn server(password: Option<&str>, arguments: &[&str]) -> TestRedis {
    let mut redis = TestRedis::away();
    redis.add_arguments(arguments);
    if let Some(password) = password {
        redis.add_arguments(&["--requirepass", password, "--masterauth", password]);
        redis.use_password(password);
    }
    redis.relaunch().await;
    redis
}

/// The lines of a Sentinel that watches the master on that port.
pub fn configuration(
    port: u16,
    password: Option<&str>,
    sentinel_password: Option<&str>,
    source: Option<&str>,
) -> String {
    let mut lines = format!(
        "sentinel announce-ip 127.0.0.1\n\
         sentinel monitor {MASTER} 127.0.0.1 {port} {QUORUM}\n\
         sentinel down-after-milliseconds {MASTER} 1000\n\
         sentinel failover-timeout {MASTER} 5000\n"
    );
    let mut add = |line: std::fmt::Arguments<'_>| writeln!(lines, "{line}").expect("a string takes all");
    if let Some(password) = password {
        add(format_args!("sentinel auth-pass {MASTER} {password}"));
    }
    if let Some(password) = sentinel_password {
        add(format_args!("requirepass {password}\nsentinel sentinel-pass {password}"));
    }
    if let Some(source) = source {
        add(format_args!("bind-source-addr {source}"));
    }
    lines
}

/// The addresses as a list in the environment.
pub fn urls<'a>(servers: impl IntoIterator<Item = &'a TestRedis>) -> String {
    servers.into_iter().map(TestRedis::url).collect::<Vec<_>>().join(",")
}

async fn listed(sentinel: &TestRedis, what: &str) -> Result<Vec<HashMap<String, String>>, String> {
    let answer = sentinel.try_command(&["SENTINEL", what, MASTER]).await?;
    redis::from_redis_value(answer).map_err(|error| error.to_string())
}
