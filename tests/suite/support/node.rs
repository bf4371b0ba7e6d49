//! A running node: started with settings, asked from outside, signalled, and killed when the test ends.

use super::http::{Answer, Request};
use super::metrics::Metrics;
use super::program;
use super::redis::TestRedis;
use super::socket::Socket;
use super::tls::{Authority, Certificate};
use super::tunnel::Tunnel;
use super::wait::{SOON, equal, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

/// The publish key of every node that is not told another.
pub const KEY: &str = "party-secret";

/// How many lines of a node's log a failed test shows.
const SHOWN_LINES: usize = 60;

/// Settings for a node, as environment variables.
#[derive(Clone)]
pub struct Setup {
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
    /// Soft and hard limit of open files, where not those of the test run.
    open_files: Option<(u32, u32)>,
    /// Who signed its certificate, where its public listener is under TLS.
    authority: Option<Arc<Authority>>,
}

impl Setup {
    /// A node on the memory broker.
    pub fn memory() -> Self {
        let setup = Self {
            environment: BTreeMap::new(),
            arguments: vec!["serve".into()],
            open_files: None,
            authority: None,
        };
        let setup = setup
            .set("server.bind", "127.0.0.1:0")
            .set("admin.bind", "127.0.0.1:0")
            .set("log.format", "json")
            .set("publish.secret", KEY);
        // What holds for one wire holds for the other, and under TLS.
        match std::env::var("REFRESH_RELAY_WIRE").as_deref() {
            Ok("tls") => {
                let authority = Arc::new(Authority::new());
                setup.under_tls(&authority, &authority.sign("node", "IP:127.0.0.1"))
            }
            Ok(wire) => setup.set("websocket.wire", wire),
            Err(_) => setup,
        }
    }

    /// Without TLS, also where the suite runs under it.
    pub fn plain(self) -> Self {
        let setup = self.unset("server.tls.cert_file").unset("server.tls.key_file");
        Self { authority: None, ..setup }
    }

    /// With TLS on its public listener. The node is then spoken to through a tunnel.
    pub fn under_tls(mut self, authority: &Arc<Authority>, certificate: &Certificate) -> Self {
        self.authority = Some(Arc::clone(authority));
        self.set("server.tls.cert_file", &certificate.cert).set("server.tls.key_file", &certificate.key)
    }

    /// A node on that Redis.
    pub fn redis(redis: &TestRedis) -> Self {
        Self::memory().set("redis.url", redis.url())
    }

    pub fn set(mut self, key: &str, value: impl Display) -> Self {
        self.environment.insert(program::variable(key), value.to_string());
        self
    }

    /// A variable that is no setting of ours.
    pub fn variable(mut self, name: &str, value: impl Display) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    pub fn unset(mut self, key: &str) -> Self {
        self.environment.remove(&program::variable(key));
        self
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    pub fn open_files(mut self, soft: u32, hard: u32) -> Self {
        self.open_files = Some((soft, hard));
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Node {
        let node = self.start_unready().await;
        node.until_ready().await;
        node
    }

    /// Starts it and waits until it listens.
    pub async fn start_unready(self) -> Node {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let mut command = match self.open_files {
            Some(limits) => program::command_limited(&arguments, &self.environment, limits),
            None => program::command(&arguments, &self.environment),
        };
        let mut child = command.spawn().expect("the program can be started");
        let output = Output::default();
        collect(child.stdout.take().expect("piped"), output.clone());
        collect(child.stderr.take().expect("piped"), output.clone());
        let listening = eventually(SOON, "the node says where it listens", async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the node ended ({status}) and printed:\n{}", text(&output));
            }
            let found = events(&output).into_iter().find(|event| event["message"] == "listening");
            found.ok_or_else(|| format!("its output:\n{}", text(&output)))
        })
        .await;
        let public = address(&listening["public"]);
        let tunnel = match &self.authority {
            Some(authority) => Some(Tunnel::dig(public, &authority.ca()).await),
            None => None,
        };
        Node {
            public: tunnel.as_ref().map_or(public, |tunnel| tunnel.entrance),
            admin: address(&listening["admin"]),
            child,
            output,
            tunnel,
            _authority: self.authority,
        }
    }
}

type Output = Arc<Mutex<Vec<String>>>;

pub struct Node {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    output: Output,
    tunnel: Option<Tunnel>,
    /// Its files are needed as long as the node runs.
    _authority: Option<Arc<Authority>>,
}

impl Node {
    /// A socket in that room; the name goes into the path as it is.
    pub async fn connect(&self, room: &str) -> Socket {
        Socket::connect(self.public, &format!("/party/{room}")).await
    }

    /// As many sockets in that room.
    pub async fn connect_many(&self, room: &str, count: usize) -> Vec<Socket> {
        let mut sockets = Vec::with_capacity(count);
        for _ in 0..count {
            sockets.push(self.connect(room).await);
        }
        sockets
    }

    /// Publishes on the PartyKit path.
    pub async fn party(&self, room: &str) -> Answer {
        let request = Request::post(&format!("/party/{room}")).header("X-PartyKit-Secret", KEY);
        request.body(r#"{"type": "refresh"}"#).send(self.public).await
    }

    /// Publishes on `/v1`, without a body.
    pub async fn refresh(&self, room: &str) -> Answer {
        refresh(room).send(self.public).await
    }

    /// Publishes that revision on `/v1`.
    pub async fn refresh_to(&self, room: &str, revision: &str) -> Answer {
        refresh(room).body(json!({ "revision": revision }).to_string()).send(self.public).await
    }

    /// What `/v1` knows of the room.
    pub async fn room(&self, room: &str) -> Answer {
        Request::get(&format!("/v1/rooms/{room}")).bearer(KEY).send(self.public).await
    }

    pub async fn metrics(&self) -> Metrics {
        let answer = Request::get("/metrics").send(self.admin).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Metrics::parse(&answer.body)
    }

    /// One sample of a fresh scrape.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().await.value(name, labels)
    }

    /// Waits until that sample has that value.
    pub async fn until_metric(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        self.until_metric_within(SOON, name, labels, wanted).await;
    }

    pub async fn until_metric_within(
        &self,
        within: Duration,
        name: &str,
        labels: &[(&str, &str)],
        wanted: f64,
    ) {
        eventually(within, &format!("{name}{labels:?} becomes {wanted}"), async || {
            equal(name, &self.metric(name, labels).await, &wanted)
        })
        .await;
    }

    pub async fn status(&self) -> Value {
        let answer = Request::get("/status").send(self.admin).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The status of `/readyz`.
    pub async fn readiness(&self) -> u16 {
        Request::get("/readyz").send(self.admin).await.status
    }

    pub async fn until_ready(&self) {
        eventually(SOON, "the node is ready", async || equal("/readyz", &self.readiness().await, &200)).await;
    }

    /// Where `public` leads to its listener under TLS; panics when it is a plain one.
    pub fn tunnel(&self) -> &Tunnel {
        self.tunnel.as_ref().expect("a node under TLS")
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id().expect("a node that runs")
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process().cast_signed()), signal).expect("the node can be signalled");
    }

    pub fn sigterm(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Stops the process where it stands: connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub async fn kill9(&mut self) {
        self.child.kill().await.expect("the node can be killed");
    }

    /// Waits for the process to end by itself.
    pub async fn exit_within(&mut self, within: Duration) -> ExitStatus {
        match timeout(within, self.child.wait()).await {
            Ok(status) => status.expect("the node can be waited for"),
            Err(_) => panic!("the node still runs after {within:?}"),
        }
    }

    /// All that it printed so far.
    pub fn output(&self) -> String {
        text(&self.output)
    }

    /// Its log so far, one object a line.
    pub fn log(&self) -> Vec<Value> {
        events(&self.output)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.output.lock().expect("not poisoned");
            let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            eprintln!("--- the node on {} printed last:\n{shown}\n---", self.public);
        }
    }
}

/// The request that publishes on `/v1`.
pub fn refresh(room: &str) -> Request {
    Request::post(&format!("/v1/rooms/{room}/refresh")).bearer(KEY)
}

/// Starts as many nodes with the same settings and waits until each knows of all.
pub async fn cluster(setup: &Setup, count: usize) -> Vec<Node> {
    let mut nodes = Vec::with_capacity(count);
    for _ in 0..count {
        nodes.push(setup.clone().start().await);
    }
    until_cluster_of(&nodes.iter().collect::<Vec<_>>(), count).await;
    nodes
}

/// Waits until each of these nodes counts that many live ones.
pub async fn until_cluster_of(nodes: &[&Node], count: usize) {
    for node in nodes {
        // A dead node is forgotten only when its record has run out.
        node.until_metric_within(3 * SOON, "relay_nodes", &[], count as f64).await;
    }
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static, output: Output) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            output.lock().expect("not poisoned").push(line);
        }
    });
}

fn text(output: &Output) -> String {
    output.lock().expect("not poisoned").join("\n")
}

fn events(output: &Output) -> Vec<Value> {
    let lines = output.lock().expect("not poisoned");
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn address(value: &Value) -> SocketAddr {
    let address = value.as_str().and_then(|text| text.parse().ok());
    address.unwrap_or_else(|| panic!("the log names {value} where an address should stand"))
}
