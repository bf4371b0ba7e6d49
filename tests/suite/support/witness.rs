//! Watches over the promise that faults must not break.
//!
//! For every publication that was answered 2xx, and every client that was connected before it and still is some time after the
//! fault: the client was told to refresh at or after that publication.
//!
//! There are many rooms, each with a client on every node, and each is published to only every few seconds: so a publication
//! that was lost is not soon covered up by the next one. Publishing stops when the fault ends, for the same reason.

use super::http::Request;
use super::node::{KEY, Node};
use super::wait::{SOON, eventually};
use futures_util::StreamExt;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

/// A room is published to every few seconds.
const ROOMS: usize = 150;

/// Between two publications at one node.
const PACE: Duration = Duration::from_millis(40);

/// How many publications show that a node takes them.
const MORE: usize = 10;

/// What a publisher waits for an answer of a node that may be cut off from Redis.
const PATIENCE: Duration = Duration::from_secs(8);

/// After the end of a fault: an attempt to link that is still under way (connect and command timeout), the pause before the
/// next one (1 s), and the time over which all are told (2 s).
pub const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// What a busy machine may take longer.
const SLACK: Duration = Duration::from_secs(3);

pub struct Witness {
    clients: Vec<Client>,
    publishing: Vec<SocketAddr>,
    answered: Arc<Mutex<Vec<Answered>>>,
    refused: Arc<AtomicU64>,
    publishers: Vec<JoinHandle<()>>,
}

/// A publication that was answered 2xx.
#[derive(Clone, Debug)]
struct Answered {
    room: usize,
    /// Rises from one publication of a room to its next.
    number: u64,
    published_at: u64,
    by: SocketAddr,
}

struct Client {
    room: usize,
    node: SocketAddr,
    told: Arc<Mutex<Told>>,
    reader: JoinHandle<()>,
}

/// What a client knows.
#[derive(Default, Debug)]
struct Told {
    /// The highest number that a frame named.
    number: u64,
    /// When the latest frame without a number came, milliseconds since 1970.
    at: u64,
    ending: Option<String>,
}

impl Told {
    fn covers(&self, publication: &Answered) -> bool {
        self.number >= publication.number || self.at >= publication.published_at
    }
}

impl Witness {
    /// Clients on all of these nodes, and a publisher for each of them.
    pub async fn start(nodes: &[&Node]) -> Self {
        Self::start_with(nodes, nodes).await
    }

    /// Clients on some nodes, publishers for some.
    pub async fn start_with(listening: &[&Node], publishing: &[&Node]) -> Self {
        Self::start_crowded(listening, publishing, 1).await
    }

    /// With so many clients in each room on each node.
    pub async fn start_crowded(listening: &[&Node], publishing: &[&Node], clients: usize) -> Self {
        let rooms = || (0..ROOMS).flat_map(|room| std::iter::repeat_n(room, clients));
        let places = listening.iter().flat_map(|node| rooms().map(|room| (node.public, room)));
        let mut witness = Self {
            clients: connect(places.collect()).await,
            publishing: publishing.iter().map(|node| node.public).collect(),
            answered: Arc::default(),
            refused: Arc::default(),
            publishers: Vec::new(),
        };
        let next = Arc::new(AtomicU64::new(1));
        for (index, node) in publishing.iter().enumerate() {
            let publisher = Publisher {
                node: node.public,
                // Far apart, so that no room has two publications on their way at once.
                offset: index * ROOMS / publishing.len(),
                next: next.clone(),
                answered: witness.answered.clone(),
                refused: witness.refused.clone(),
            };
            witness.publishers.push(tokio::spawn(publisher.run()));
        }
        witness.until_answered(publishing).await;
        witness
    }

    /// How many publications that node has answered 2xx.
    fn answered_at(&self, node: SocketAddr) -> usize {
        let answered = self.answered.lock().expect("not poisoned");
        answered.iter().filter(|publication| publication.by == node).count()
    }

    /// Waits until each of these nodes has answered some more of them.
    pub async fn until_answered(&self, nodes: &[&Node]) {
        let nodes: Vec<_> = nodes.iter().map(|node| node.public).collect();
        self.until_answered_at(&nodes, 3 * SOON).await;
    }

    async fn until_answered_at(&self, nodes: &[SocketAddr], within: Duration) {
        let wanted: Vec<_> = nodes.iter().map(|node| self.answered_at(*node) + MORE).collect();
        eventually(within, "every node answers publishes", async || {
            let now: Vec<_> = nodes.iter().map(|node| self.answered_at(*node)).collect();
            let enough = now.iter().zip(&wanted).all(|(now, wanted)| now >= wanted);
            if enough { Ok(()) } else { Err(format!("{now:?} are answered, wanted {wanted:?}")) }
        })
        .await;
    }

    /// This node is gone, and its clients with it.
    pub fn forget(&mut self, node: &Node) {
        self.publishing.retain(|address| *address != node.public);
        let (gone, clients) =
            std::mem::take(&mut self.clients).into_iter().partition(|c| c.node == node.public);
        self.clients = clients;
        for Client { reader, .. } in gone {
            reader.abort();
        }
    }

    /// Publishes no more.
    pub fn stop_publishing(&mut self) {
        for publisher in self.publishers.drain(..) {
            publisher.abort();
        }
    }

    /// The fault has ended now. Panics unless every node soon takes publishes again, every client is still there, and each is
    /// told in time of all that it must be.
    pub async fn judge(&mut self) {
        self.judge_within(TOLD_WITHIN).await;
    }

    pub async fn judge_within(&mut self, within: Duration) {
        let ended = Instant::now();
        self.until_answered_at(&self.publishing, within + SLACK).await;
        let taken = ended.elapsed();
        self.stop_publishing();
        let answered = self.answered.lock().expect("not poisoned").clone();
        eventually(
            (within + SLACK).saturating_sub(taken),
            "every client is told of every publication",
            async || {
                let missed = self.missed(&answered);
                match missed.first() {
                    None => Ok(()),
                    Some(first) => Err(format!("{} are missed, such as: {first}", missed.len())),
                }
            },
        )
        .await;
        for client in &self.clients {
            let told = client.told.lock().expect("not poisoned");
            assert_eq!(told.ending, None, "a client of {} was lost", client.node);
        }
        eprintln!(
            "{} publications answered, {} not; publishes taken again after {taken:?}, all told after {:?}",
            answered.len(),
            self.refused.load(Ordering::Relaxed),
            ended.elapsed()
        );
    }

    fn missed(&self, answered: &[Answered]) -> Vec<String> {
        let mut missed = Vec::new();
        for publication in answered {
            for client in self.clients.iter().filter(|client| client.room == publication.room) {
                let told = client.told.lock().expect("not poisoned");
                if !told.covers(publication) {
                    missed
                        .push(format!("a client of {} knows {told:?}, missed {publication:?}", client.node));
                }
            }
        }
        missed
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop_publishing();
        for client in &self.clients {
            client.reader.abort();
        }
    }
}

/// One client for each place; many connect at once.
async fn connect(places: Vec<(SocketAddr, usize)>) -> Vec<Client> {
    let connecting = places.into_iter().map(|(node, room)| async move {
        let stream = TcpStream::connect(node).await.expect("the node accepts");
        let handshake = client_async(format!("ws://{node}/party/{}", name(room)), stream);
        let (socket, _) = timeout(3 * SOON, handshake).await.expect("in time").expect("not refused");
        let told = Arc::new(Mutex::new(Told::default()));
        let reader = tokio::spawn(read(socket, told.clone()));
        Client { room, node, told, reader }
    });
    futures_util::stream::iter(connecting).buffer_unordered(32).collect().await
}

fn name(room: usize) -> String {
    format!("room-{room}")
}

async fn read(mut socket: tokio_tungstenite::WebSocketStream<TcpStream>, told: Arc<Mutex<Told>>) {
    loop {
        let message = socket.next().await;
        let mut told = told.lock().expect("not poisoned");
        match message {
            Some(Ok(Message::Text(text))) => match number_of(&text) {
                Some(number) => told.number = told.number.max(number),
                None => told.at = now(),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => {
                told.ending = Some(format!("{other:?}"));
                return;
            }
        }
    }
}

/// The number that the frame carries as its revision; None for a refresh that names none.
fn number_of(frame: &str) -> Option<u64> {
    let frame: serde_json::Value = serde_json::from_str(frame).expect("a frame of JSON");
    assert_eq!(frame["type"], "refresh", "{frame}");
    frame["revision"].as_str().map(|revision| revision.parse().expect("a revision of ours"))
}

/// Publishes at one node, to one room after the other.
struct Publisher {
    node: SocketAddr,
    offset: usize,
    next: Arc<AtomicU64>,
    answered: Arc<Mutex<Vec<Answered>>>,
    refused: Arc<AtomicU64>,
}

impl Publisher {
    async fn run(self) {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0.. {
            ticks.tick().await;
            let room = (self.offset + turn) % ROOMS;
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let request = Request::post(&format!("/v1/rooms/{}/refresh?wait=0", name(room))).bearer(KEY);
            let request = request.body(json!({ "revision": number.to_string() }).to_string());
            match timeout(PATIENCE, request.try_send(self.node)).await {
                Ok(Ok(answer)) if matches!(answer.status, 200 | 202) => {
                    let published_at = millis(answer.json()["published_at"].as_str().expect("a time"));
                    let publication = Answered { room, number, published_at, by: self.node };
                    self.answered.lock().expect("not poisoned").push(publication);
                }
                // Only what was answered 2xx is promised.
                _ => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    u64::try_from(since.as_millis()).expect("a clock before the year 500,000,000")
}

/// Milliseconds since 1970 of a time such as `2026-11-22T12:00:00.000Z`.
fn millis(time: &str) -> u64 {
    let parts: Vec<u64> = time
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().expect("digits"))
        .collect();
    let [year, month, day, hour, minute, second, milli] = parts.as_slice() else {
        panic!("not a time: {time}");
    };
    // Years that begin in March, so that the leap day is the last one (Hinnant, days_from_civil).
    let (year, month) = if *month <= 2 { (year - 1, month + 9) } else { (*year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milli
}
