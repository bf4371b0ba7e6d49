//! A Redis of the test's own, which can be killed, frozen and brought back on the same port.

use super::ports;
use super::wait::{SOON, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

pub struct TestRedis {
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    password: Option<String>,
    server: Option<Child>,
}

impl TestRedis {
    /// A running, empty server.
    pub async fn start() -> Self {
        let mut redis = Self::away();
        redis.launch().await;
        redis
    }

    /// A running server that asks for a password.
    pub async fn start_with_password(password: &str) -> Self {
        let mut redis = Self::away();
        redis.arguments = vec!["--requirepass".into(), password.into()];
        redis.password = Some(password.into());
        redis.launch().await;
        redis
    }

    /// A port on which no server runs yet; [`TestRedis::restart`] brings one up.
    pub fn away() -> Self {
        Self {
            port: ports::free(),
            folder: TempDir::new().expect("a temporary folder"),
            arguments: Vec::new(),
            password: None,
            server: None,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address without the password, if there is one.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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

    async fn try_command(&self, words: &[&str]) -> Result<redis::Value, String> {
        let run = async {
            let address = match &self.password {
                Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
                None => self.url(),
            };
            let client = redis::Client::open(address)?;
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

    async fn launch(&mut self) {
        let server = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.arguments)
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
            self.try_command(&["PING"]).await.map(drop)
        })
        .await;
    }
}
