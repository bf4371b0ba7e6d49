//! Many sockets on one node, and one that is stuck.

use crate::support::node::{Node, Setup};
use crate::support::raw::{PING, RawSocket, message};
use crate::support::socket::{REFRESH, refresh_with};
use crate::support::wait::{SOON, equal, eventually};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const ROOM: &str = "featurevisor";
const SOCKETS: usize = 10_000;

/// Wide: an unoptimised node and 10,000 clients may share two cores with other tests.
const ROUND_WITHIN: Duration = Duration::from_secs(60);

/// How many handshakes are under way at a time.
const CONNECTING: usize = 100;

/// Open files of this process allow for one crowd at a time.
static ONE_CROWD: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Sockets that count, for each frame that came, how often it came.
struct Crowd {
    heard: Arc<Mutex<BTreeMap<Vec<u8>, usize>>>,
    ended: Arc<AtomicUsize>,
    _readers: JoinSet<()>,
}

impl Crowd {
    async fn gather(node: &Node) -> Self {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit of open files");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the limit can be raised to its maximum");
        assert!(most > SOCKETS as u64 + 1000, "only {most} open files are allowed");
        let heard = Arc::new(Mutex::new(BTreeMap::new()));
        let ended = Arc::new(AtomicUsize::new(0));
        let mut readers = JoinSet::new();
        let mut left = SOCKETS;
        while left > 0 {
            let batch = left.min(CONNECTING);
            left -= batch;
            let mut opening = JoinSet::new();
            for _ in 0..batch {
                let to = node.public;
                opening.spawn(async move { RawSocket::connect(to, "/party/featurevisor").await });
            }
            for socket in opening.join_all().await {
                readers.spawn(count(socket, heard.clone(), ended.clone()));
            }
        }
        node.until_metric("relay_connections", &[], SOCKETS as f64).await;
        Self { heard, ended, _readers: readers }
    }

    /// Publishes once and waits until each socket has the frame; then nobody may have heard anything else.
    async fn round(&self, node: &Node, round: usize) {
        let revision = format!("round-{round}");
        let answer = node.refresh_to(ROOM, &revision).await;
        assert_eq!(answer.json()["connections"], SOCKETS, "{answer:?}");
        eventually(ROUND_WITHIN, "every socket hears the broadcast", async || {
            let heard =
                self.heard.lock().expect("not poisoned").get(refresh_with(&revision).as_bytes()).copied();
            equal("sockets that heard it", &heard.unwrap_or(0), &SOCKETS)
        })
        .await;
        assert_eq!(self.ended.load(Ordering::Relaxed), 0, "sockets were closed");
    }

    fn expect_each_heard_once(&self, rounds: usize) {
        let heard = self.heard.lock().expect("not poisoned");
        let wanted = (0..rounds)
            .map(|round| (refresh_with(&format!("round-{round}")).into_bytes(), SOCKETS))
            .collect();
        assert_eq!(*heard, wanted);
    }
}

async fn count(mut socket: RawSocket, heard: Arc<Mutex<BTreeMap<Vec<u8>, usize>>>, ended: Arc<AtomicUsize>) {
    while let Some(frame) = socket.frame_within(10 * ROUND_WITHIN).await {
        if frame.opcode() == PING {
            continue;
        }
        *heard.lock().expect("not poisoned").entry(frame.payload).or_insert(0) += 1;
    }
    ended.fetch_add(1, Ordering::Relaxed);
}

/// A node that does not close sockets whose clients answer no ping.
async fn node(workers: usize) -> Node {
    let setup = Setup::memory().set("server.workers", workers).set("publish.confirm_timeout_ms", 10_000);
    setup.set("websocket.ping_interval_seconds", 600).start().await
}

#[tokio::test]
async fn ten_broadcasts_in_a_row_reach_ten_thousand_sockets_on_two_workers() {
    let _alone = ONE_CROWD.lock().await;
    let node = node(2).await;
    let crowd = Crowd::gather(&node).await;
    for round in 0..10 {
        crowd.round(&node, round).await;
    }
    crowd.expect_each_heard_once(10);
    node.until_metric("relay_deliveries_total", &[("outcome", "sent")], 10.0 * SOCKETS as f64).await;
}

#[tokio::test]
async fn a_broadcast_reaches_ten_thousand_sockets_on_one_worker() {
    let _alone = ONE_CROWD.lock().await;
    let node = node(1).await;
    let crowd = Crowd::gather(&node).await;
    for round in 0..2 {
        crowd.round(&node, round).await;
    }
    crowd.expect_each_heard_once(2);
}

#[tokio::test]
async fn a_stuck_client_disturbs_nobody_and_is_closed_for_its_missing_pong() {
    let setup = Setup::memory().set("server.workers", 1);
    let setup = setup.set("websocket.ping_interval_seconds", 2).set("websocket.pong_timeout_seconds", 1);
    let node = setup.start().await;
    let stuck = RawSocket::connect_narrow(node.public, "/party/featurevisor").await;
    let mut others = node.connect_many(ROOM, 20).await;
    node.until_metric("relay_connections", &[], 21.0).await;
    let long = "x".repeat(120);

    let mut published = 0;
    eventually(3 * SOON, "the stuck client is closed", async || {
        let revision = format!("{long}{published}");
        published += 1;
        assert_eq!(node.refresh_to(ROOM, &revision).await.status, 200);
        for socket in &mut others {
            socket.expect_frame(&refresh_with(&revision)).await;
        }
        let closed = node.metric("relay_connections_closed_total", &[("reason", "ping_timeout")]).await;
        equal("closed for a missing pong", &closed, &1.0)
    })
    .await;
    drop(stuck);
    assert_eq!(node.refresh(ROOM).await.json()["connections"], 20);
    for socket in &mut others {
        socket.expect_alive().await;
    }
}

#[tokio::test]
async fn a_client_that_talks_but_never_reads_is_closed_as_slow() {
    let setup = Setup::memory().set("server.workers", 1).set("websocket.max_frames_per_second", 0);
    let setup = setup.set("websocket.ping_interval_seconds", 2).set("websocket.pong_timeout_seconds", 1);
    let node = setup.start().await;
    let mut deaf = RawSocket::connect_narrow(node.public, "/party/featurevisor").await;
    let mut other = node.connect(ROOM).await;
    // Each of its pings is answered, until the answers fill every buffer on the way to it.
    let pings = message(PING, &[b'x'; 125]).repeat(100);
    let talk = async {
        loop {
            deaf.send(&pings).await;
        }
    };
    let close = eventually(6 * SOON, "the deaf client is closed", async || {
        assert_eq!(node.refresh(ROOM).await.status, 200);
        other.expect_frame(REFRESH).await;
        let closed = node.metric("relay_connections_closed_total", &[("reason", "slow")]).await;
        equal("closed as slow", &closed, &1.0)
    });
    tokio::select! {
        () = close => {}
        () = talk => {}
    }
    other.expect_alive().await;
}
