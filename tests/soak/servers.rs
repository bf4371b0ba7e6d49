//! The Redis servers of a run: one alone, or behind Sentinels, or a cluster.

use super::plan::Topology;
use super::ports;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::{FromRedisValue, Value};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
const STARTS_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// What a restarted server finds on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// All that it ever answered for.
    Kept,
    /// What it had some time before it died.
    Stale,
    Empty,
}

pub struct Server {
    pub port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    process: Mutex<Option<Child>>,
}

impl Server {
    fn new(arguments: &[&str]) -> Self {
        Self {
            port: ports::free(),
            folder: TempDir::new().expect("a temporary folder"),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            process: Mutex::default(),
        }
    }

    /// Starts it, and waits until it answers.
    pub async fn launch(&self) -> Result<(), String> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log"));
        let log = log.map_err(|error| error.to_string())?;
        let mut command = Command::new("redis-server");
        command
            .args(&self.arguments)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--daemonize", "no"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .kill_on_drop(true);
        *self.process.lock().await = Some(command.spawn().expect("redis-server is installed"));
        self.until(STARTS_WITHIN, &["PING"], |_| true).await
    }

    pub async fn kill9(&self) {
        if let Some(mut process) = self.process.lock().await.take() {
            let _ = process.kill().await;
        }
    }

    /// Stops the process where it stands, and waits until it does.
    pub async fn freeze(&self) {
        let Some(id) = self.process.lock().await.as_ref().and_then(Child::id) else { return };
        freeze(id).await;
    }

    pub async fn thaw(&self) {
        if let Some(id) = self.process.lock().await.as_ref().and_then(Child::id) {
            thaw(id);
        }
    }

    /// Remembers what is on the disk, for [`Server::put_back`].
    pub fn keep_data(&self) {
        let _ = std::fs::remove_dir_all(self.path("kept"));
        copy(&self.path("appendonlydir"), &self.path("kept"));
    }

    /// Before a start: puts on the disk what the server is to find.
    pub fn put_back(&self, data: Restart) {
        if data != Restart::Kept {
            let _ = std::fs::remove_dir_all(self.path("appendonlydir"));
        }
        if data == Restart::Stale {
            copy(&self.path("kept"), &self.path("appendonlydir"));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn command(&self, words: &[&str]) -> Result<Value, String> {
        let run = async {
            let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            let mut command = redis::Cmd::new();
            for word in words {
                command.arg(*word);
            }
            command.query_async(&mut connection).await
        };
        match timeout(ANSWERS_WITHIN, run).await {
            Ok(result) => result.map_err(|error: redis::RedisError| error.to_string()),
            Err(_) => Err(format!("no answer within {ANSWERS_WITHIN:?}")),
        }
    }

    pub async fn text(&self, words: &[&str]) -> Result<String, String> {
        let value = self.command(words).await?;
        String::from_redis_value(value).map_err(|error| error.to_string())
    }

    /// Asks until the answer is as wanted.
    pub async fn until(
        &self,
        within: Duration,
        words: &[&str],
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + within;
        loop {
            let answer = self.command(words).await;
            if answer.as_ref().is_ok_and(&wanted) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{words:?} on port {}: not within {within:?}: {answer:?}", self.port));
            }
            sleep(PAUSE).await;
        }
    }

    pub async fn is_master(&self) -> bool {
        let role = timeout(Duration::from_millis(500), self.command(&["ROLE"])).await;
        matches!(role, Ok(Ok(Value::Array(parts))) if parts.first() == Some(&Value::BulkString(b"master".to_vec())))
    }
}

pub async fn freeze(id: u32) {
    let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGSTOP);
    let stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
    };
    while !stopped() {
        sleep(Duration::from_millis(2)).await;
    }
}

pub fn thaw(id: u32) {
    let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGCONT);
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::create_dir_all(to);
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
    }
}

pub struct Servers {
    pub topology: Topology,
    pub data: Vec<Server>,
    pub sentinels: Vec<Server>,
}

const DATA: [&str; 8] =
    ["--save", "", "--appendonly", "yes", "--appendfsync", "no", "--repl-diskless-sync-delay", "0"];

impl Servers {
    pub async fn start(topology: Topology) -> Result<Self, String> {
        match topology {
            Topology::Standalone => Self::standalone().await,
            Topology::Sentinel => Self::sentinel().await,
            Topology::Cluster => Self::cluster().await,
        }
    }

    async fn standalone() -> Result<Self, String> {
        let server = Server::new(&DATA);
        server.launch().await?;
        Ok(Self { topology: Topology::Standalone, data: vec![server], sentinels: Vec::new() })
    }

    async fn sentinel() -> Result<Self, String> {
        let data: Vec<Server> = (0..3).map(|_| Server::new(&DATA)).collect();
        let master = data[0].port.to_string();
        for server in &data {
            server.launch().await?;
        }
        for replica in &data[1..] {
            replica.command(&["REPLICAOF", "127.0.0.1", &master]).await?;
        }
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let sentinel = Server::new(&["sentinel.conf", "--sentinel"]);
            let settings = format!(
                "sentinel monitor mymaster 127.0.0.1 {master} 2\nsentinel down-after-milliseconds mymaster 1500\n\
                 sentinel failover-timeout mymaster 6000\nsentinel parallel-syncs mymaster 2\n"
            );
            std::fs::write(sentinel.path("sentinel.conf"), settings).map_err(|error| error.to_string())?;
            sentinel.launch().await?;
            sentinels.push(sentinel);
        }
        // Until each knows the two replicas and the two other Sentinels, there is no failover.
        for sentinel in &sentinels {
            for (list, count) in [("REPLICAS", 2), ("SENTINELS", 2)] {
                let known = |value: &Value| matches!(value, Value::Array(all) if all.len() >= count);
                sentinel.until(STARTS_WITHIN, &["SENTINEL", list, "mymaster"], known).await?;
            }
        }
        Ok(Self { topology: Topology::Sentinel, data, sentinels })
    }

    async fn cluster() -> Result<Self, String> {
        let mut arguments = DATA.to_vec();
        arguments.extend(["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
        arguments.extend([
            "--cluster-allow-replica-migration",
            "no",
            "--cluster-replica-validity-factor",
            "0",
        ]);
        // By default the bus listens 10,000 above the port, where the system picks ports of outgoing connections.
        let bus_ports: Vec<String> = (0..6).map(|_| ports::free().to_string()).collect();
        let with_bus = |bus: &String| Server::new(&[&arguments[..], &["--cluster-port", bus]].concat());
        let data: Vec<Server> = bus_ports.iter().map(with_bus).collect();
        for server in &data {
            server.launch().await?;
        }
        for (number, slots) in [["0", "5461"], ["5462", "10922"], ["10923", "16383"]].iter().enumerate() {
            data[number].command(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]).await?;
            data[number].command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await?;
        }
        for (server, bus) in data.iter().zip(&bus_ports).skip(1) {
            data[0].command(&["CLUSTER", "MEET", "127.0.0.1", &server.port.to_string(), bus]).await?;
        }
        let all_known =
            |value: &Value| text(value).lines().filter(|line| line.contains("connected")).count() == 6;
        for server in &data {
            server.until(STARTS_WITHIN, &["CLUSTER", "NODES"], all_known).await?;
        }
        for number in 0..3 {
            let master = data[number].text(&["CLUSTER", "MYID"]).await?;
            data[number + 3].command(&["CLUSTER", "REPLICATE", &master]).await?;
        }
        let servers = Self { topology: Topology::Cluster, data, sentinels: Vec::new() };
        servers.until_whole(STARTS_WITHIN).await?;
        Ok(servers)
    }

    /// The masters as they see themselves.
    pub async fn masters(&self) -> Vec<usize> {
        if self.topology == Topology::Standalone {
            return vec![0];
        }
        let mut masters = Vec::new();
        for (number, server) in self.data.iter().enumerate() {
            if server.is_master().await {
                masters.push(number);
            }
        }
        masters
    }

    /// Waits until every server has its place again: a fault ends then, and not before.
    pub async fn until_whole(&self, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        loop {
            match self.is_whole().await {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() > deadline => return Err(why),
                Err(_) => sleep(5 * PAUSE).await,
            }
        }
    }

    async fn is_whole(&self) -> Result<(), String> {
        let masters = self.masters().await;
        let wanted = if self.topology == Topology::Cluster { 3 } else { 1 };
        if masters.len() != wanted {
            return Err(format!("there are {masters:?} as masters, wanted {wanted}"));
        }
        for (number, server) in self.data.iter().enumerate() {
            if self.topology == Topology::Cluster {
                let info = server.text(&["CLUSTER", "INFO"]).await?;
                if !info.contains("cluster_state:ok") || !info.contains("cluster_slots_ok:16384") {
                    return Err(format!("server {number}: {info}"));
                }
            }
            if !masters.contains(&number) {
                let info = server.text(&["INFO", "replication"]).await?;
                if !info.contains("master_link_status:up") {
                    return Err(format!("replica {number} is not linked: {info}"));
                }
            }
        }
        Ok(())
    }
}

pub fn text(value: &Value) -> String {
    String::from_redis_value_ref(value).unwrap_or_default()
}
