//! The nodes: one process per slot, started again in its slot after it was killed or drained.

use super::clock::Clock;
use super::http::{Answer, Request};
use super::servers;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep, timeout};

pub const KEY: &str = "party-secret";

const STARTS_WITHIN: Duration = Duration::from_secs(20);
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
const KEPT_LINES: usize = 400;

/// The binary that `RELAY_BINARY` names, or the one that cargo built for this test.
fn program() -> PathBuf {
    std::env::var_os("RELAY_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_refresh-relay")), PathBuf::from)
}

/// What is known of a slot from outside and from the log of its process.
#[derive(Default)]
pub struct Seen {
    pub public: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    /// Whether a load balancer would send clients there.
    pub serves: bool,
    /// `link up` and `link down` lines: when, and whether it was `up`.
    pub links: Vec<(Duration, bool)>,
    pub panics: Vec<String>,
    pub lines: VecDeque<(Duration, String)>,
    /// Kilobytes at the first and at the last look, and the most ever, of the process that runs.
    pub resident: Option<(u64, u64, u64)>,
    pub growth: Vec<(u64, u64, u64)>,
}

pub struct Slot {
    pub number: usize,
    clock: Clock,
    environment: BTreeMap<String, String>,
    seen: Arc<Mutex<Seen>>,
    process: AsyncMutex<Option<Child>>,
}

impl Slot {
    pub fn new(number: usize, clock: Clock, settings: &[(String, String)]) -> Self {
        let variable = |key: &str| format!("RELAY_{}", key.replace('.', "__").to_uppercase());
        let environment = settings.iter().map(|(key, value)| (variable(key), value.clone())).collect();
        Self { number, clock, environment, seen: Arc::default(), process: AsyncMutex::default() }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("not poisoned")
    }

    /// Where it listens, if a load balancer would send anybody there.
    pub fn address(&self) -> Option<SocketAddr> {
        let seen = self.seen();
        seen.public.filter(|_| seen.serves)
    }

    /// Starts a process in the slot; done when it listens.
    pub async fn start(&self) -> Result<(), String> {
        {
            let mut seen = self.seen();
            (seen.public, seen.admin, seen.serves) = (None, None, false);
            if let Some(ended) = seen.resident.take() {
                seen.growth.push(ended);
            }
        }
        let mut command = Command::new(program());
        command
            .arg("serve")
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program().display()))?;
        self.collect(child.stdout.take().expect("piped"));
        self.collect(child.stderr.take().expect("piped"));
        *self.process.lock().await = Some(child);
        let deadline = Instant::now() + STARTS_WITHIN;
        while self.seen().public.is_none() {
            if Instant::now() > deadline {
                return Err(format!("node {} does not say where it listens", self.number));
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.seen().serves = true;
        Ok(())
    }

    fn collect(&self, stream: impl AsyncRead + Unpin + Send + 'static) {
        let (seen, clock) = (Arc::clone(&self.seen), self.clock);
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                seen.lock().expect("not poisoned").note(clock.now(), line);
            }
        });
    }

    pub async fn kill9(&self) {
        self.seen().serves = false;
        if let Some(mut process) = self.process.lock().await.take() {
            let _ = process.kill().await;
        }
    }

    /// SIGTERM, and waits for the end.
    pub async fn drain(&self, within: Duration) -> Result<(), String> {
        // Taken out: a process that ends now did not end by itself.
        let Some(mut process) = self.process.lock().await.take() else { return Ok(()) };
        self.seen().serves = false;
        if let Some(id) = process.id() {
            let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM);
        }
        match timeout(within, process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(format!("node {} drained and ended with {status:?}", self.number)),
            Err(_) => Err(format!("node {} still runs {within:?} after SIGTERM", self.number)),
        }
    }

    pub async fn freeze(&self) {
        if let Some(id) = self.id().await {
            servers::freeze(id).await;
        }
    }

    pub async fn thaw(&self) {
        if let Some(id) = self.id().await {
            servers::thaw(id);
        }
    }

    async fn id(&self) -> Option<u32> {
        self.process.lock().await.as_ref().and_then(Child::id)
    }

    /// How the process ended, if it did without having been told to.
    pub async fn ended(&self) -> Option<String> {
        let mut process = self.process.lock().await;
        process.as_mut()?.try_wait().ok()?.map(|status| status.to_string())
    }

    pub async fn admin(&self, path: &str) -> Result<Answer, String> {
        let admin = self.seen().admin.ok_or("the node does not run")?;
        send(&Request::get(path), admin).await
    }

    /// The broker's part of `/status`.
    pub async fn broker(&self) -> Result<Value, String> {
        Ok(self.admin("/status").await?.json()["broker"].clone())
    }

    pub async fn look_at_memory(&self) {
        let Some(id) = self.id().await else { return };
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let Some(now) = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()) else {
            return;
        };
        let mut seen = self.seen();
        let (first, _, most) = seen.resident.unwrap_or((now, now, now));
        seen.resident = Some((first, now, most.max(now)));
    }
}

/// Sends a request; an error if no answer comes in good time.
pub async fn send(request: &Request, to: SocketAddr) -> Result<Answer, String> {
    match timeout(ANSWERS_WITHIN, request.try_send(to)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {ANSWERS_WITHIN:?}")),
    }
}

impl Seen {
    fn note(&mut self, now: Duration, line: String) {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        match event["message"].as_str().unwrap_or_default() {
            "listening" => {
                let address = |name: &str| event[name].as_str().and_then(|text| text.parse().ok());
                (self.public, self.admin) = (address("public"), address("admin"));
            }
            "link up" => self.links.push((now, true)),
            "link down" => self.links.push((now, false)),
            _ => {}
        }
        if line.contains("panicked") || event["level"] == "ERROR" {
            self.panics.push(line.clone());
        }
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back((now, line));
    }
}
