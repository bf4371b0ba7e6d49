//! A Redis of the test's own, which can be killed, frozen and brought back on the same port.

use super::ports;
use super::wait::{SOON, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::FromRedisValue;
use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

pub struct TestRedis {
    port: u16,
    folder: TempDir,
    kind: Kind,
    arguments: Vec<String>,
    password: Option<String>,
    server: Option<Child>,
}

enum Kind {
    Server,
    /// Keeps its configuration in a file, which it rewrites itself.
    Sentinel,
}

impl TestRedis {
    /// A running, empty server.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A running, empty server with these arguments besides.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::away();
        redis.add_arguments(arguments);
        redis.launch().await;
        redis
    }

    /// A running server that asks for a password.
    pub async fn start_with_password(password: &str) -> Self {
        let mut redis = Self::away();
        redis.add_arguments(&["--requirepass", password]);
        redis.use_password(password);
        redis.launch().await;
        redis
    }

    /// A running Sentinel with these lines of configuration.
    pub async fn start_sentinel(lines: &str, password: Option<&str>) -> Self {
        let mut redis = Self::away();
        redis.kind = Kind::Sentinel;
        redis.password = password.map(str::to_owned);
        let lines = format!("port {}\nbind 127.0.0.1\ndir {}\n{lines}\n", redis.port, redis.file("."));
        std::fs::write(redis.file("sentinel.conf"), lines).expect("the folder can be written to");
        redis.launch().await;
        redis
    }

    /// A port on which no server runs yet; [`TestRedis::restart`] brings one up.
    pub fn away() -> Self {
        Self {
            port: ports::free(),
            folder: TempDir::new().expect("a temporary folder"),
            kind: Kind::Server,
            arguments: Vec::new(),
            password: None,
            server: None,
        }
    }

    /// Arguments for the next start.
    pub fn add_arguments(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// The password that the test itself uses from now on.
    pub fn use_password(&mut self, password: &str) {
        self.password = Some(password.into());
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address without the password, if there is one.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The address as the relay names it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A path in the server's folder.
    pub fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub async fn kill9(&mut self) {
        let mut server = self.server.take().expect("a server that runs");
        server.kill().await.expect("the server can be killed");
    }

    /// Brings an empty server up on the same port; one that runs is killed first.
    pub async fn restart(&mut self) {
        if self.server.is_some() {
            self.kill9().await;
        }
        let _ = std::fs::remove_file(self.folder.path().join("dump.rdb"));
        self.launch().await;
    }

    /// Another server process on the same port, with the same data.
    pub async fn restart_with_data(&mut self) {
        self.command(&["SAVE"]).await;
        self.kill9().await;
        self.launch().await;
    }

    /// Brings up a server that was killed, with what was last saved to disk.
    pub async fn relaunch(&mut self) {
        assert!(self.server.is_none(), "it runs");
        self.launch().await;
    }

    /// Stops the process where it stands: connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.server.as_ref().and_then(Child::id).expect("a server that runs");
        kill(Pid::from_raw(id.cast_signed()), signal).expect("the server can be signalled");
    }

    /// Runs one command and panics when it fails.
    pub async fn command(&self, words: &[&str]) -> redis::Value {
        match self.try_command(words).await {
            Ok(value) => value,
            Err(error) => panic!("{words:?} on the Redis at port {}: {error}", self.port),
        }
    }

    /// Runs one command and reads the answer; panics when either fails.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        redis::from_redis_value(self.command(words).await).expect("an answer of the wanted kind")
    }

    /// A connection that stays open.
    pub async fn connection(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        let address = match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => self.url(),
        };
        redis::Client::open(address)?.get_multiplexed_async_connection().await
    }

    pub async fn try_command(&self, words: &[&str]) -> Result<redis::Value, String> {
        let run = async {
            let mut connection = self.connection().await?;
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

    /// The fields of a section of INFO; an error while the server does not answer.
    pub async fn info(&self, section: &str) -> Result<HashMap<String, String>, String> {
        let answer = self.try_command(&["INFO", section]).await?;
        let text: String = redis::from_redis_value(answer).map_err(|error| error.to_string())?;
        let fields = text.lines().filter_map(|line| line.trim().split_once(':'));
        Ok(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Waits until this server follows that master and has all its data.
    pub async fn until_replica_of(&self, port: u16) {
        eventually(2 * SOON, "the replica has the master's data", async || {
            let info = self.info("replication").await?;
            let follows = info.get("master_port") == Some(&port.to_string());
            let is_linked = info.get("master_link_status").is_some_and(|status| status == "up");
            if follows && is_linked { Ok(()) } else { Err(format!("{info:?}")) }
        })
        .await;
    }

    async fn launch(&mut self) {
        let mut command = Command::new("redis-server");
        match self.kind {
            Kind::Server => command
                .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
                .args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--protected-mode", "no"])
                // Replicas are asked for their data at once, and not after the pause that gathers several of them.
                .args(["--repl-diskless-sync-delay", "0"])
                .args(["--dir", &self.file(".")])
                .args(&self.arguments),
            Kind::Sentinel => command.args([&self.file("sentinel.conf"), "--sentinel"]),
        };
        let server = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        let id = server.id();
        self.server = Some(server);
        eventually(SOON, "the test's Redis answers", async || {
            let server = self.server.as_mut().expect("just started");
            if let Ok(Some(status)) = server.try_wait() {
                panic!("the test's Redis (process {id:?}, port {}) ended: {status}", self.port);
            }
            let answering = self.info("server").await?.remove("process_id");
            // Another server that took the port meanwhile would be shared, and its tests disturbed.
            assert_eq!(
                answering,
                id.map(|id| id.to_string()),
                "a foreign Redis answers on port {}",
                self.port
            );
            Ok(())
        })
        .await;
    }
}
