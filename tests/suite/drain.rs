//! SIGTERM: a node leaves without losing anyone.

use crate::support::http::Request;
use crate::support::node::{Node, Setup, cluster};
use crate::support::redis::TestRedis;
use crate::support::socket::{Ending, REFRESH, Socket, handshake, refresh_with};
use crate::support::wait::{SOON, equal, eventually};
use nix::sys::signal::Signal;
use std::time::Duration;
use tokio::time::Instant;

const ROOM: &str = "featurevisor";

/// "At once", with room for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(2);

fn drains_in(notice: u64, spread: u64) -> Setup {
    Setup::memory().set("drain.notice_seconds", notice).set("drain.spread_seconds", spread)
}

async fn until_draining(node: &Node) {
    eventually(AT_ONCE, "a draining node is not ready", async || {
        equal("/readyz", &node.readiness().await, &503)
    })
    .await;
}

/// Waits for the end of all sockets and panics unless each was a close with 1012; gives the times.
async fn expect_restart_closes(sockets: &mut [Socket], within: Duration) -> Vec<Instant> {
    let mut times = Vec::new();
    for socket in sockets {
        let (time, ending) = socket.ended_within(within).await;
        assert_eq!(ending, Ending::Close(Some(1012)));
        times.push(time);
    }
    times
}

#[tokio::test]
async fn during_the_notice_newcomers_are_sent_away_and_nothing_else_changes() {
    let mut node = drains_in(4, 0).start().await;
    let mut sockets = node.connect_many(ROOM, 5).await;
    node.sigterm();
    until_draining(&node).await;

    assert_eq!(Request::get("/livez").send(node.admin).await.status, 200);
    assert_eq!(node.metric("relay_draining", &[]).await, 1.0);
    let refused = handshake(node.public, "/party/featurevisor", &[]).await;
    refused.expect_sentence(503);
    refused.expect_retry_after();
    assert_eq!(node.metric("relay_handshakes_refused_total", &[("reason", "draining")]).await, 1.0);
    let answer = node.refresh_to(ROOM, "42").await;
    assert_eq!((answer.status, &answer.json()["connections"]), (200, &5.into()), "{answer:?}");
    assert_eq!(node.party(ROOM).await.body, "Message sent to 5 connected participants");
    for socket in &mut sockets {
        socket.expect_frame(&refresh_with("42")).await;
        socket.expect_frame(REFRESH).await;
        assert_eq!(socket.ending(), None, "closed before the notice was over");
    }

    expect_restart_closes(&mut sockets, SOON).await;
    assert_eq!(node.exit_within(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn sockets_are_closed_with_1012_over_the_spread_and_told_until_then() {
    let (notice, spread) = (1, 4);
    // With several workers, each closing its sockets all at once could look like a spread.
    let mut node = drains_in(notice, spread).set("server.workers", 1).start().await;
    let mut sockets = node.connect_many(ROOM, 60).await;
    let started = Instant::now();
    node.sigterm();

    let closed = eventually(SOON, "some sockets are closed and some are not", async || {
        let closed = node.metric("relay_connections_closed_total", &[("reason", "drain")]).await;
        if closed > 0.0 && closed < 60.0 { Ok(closed) } else { Err(format!("{closed} of 60")) }
    })
    .await;
    let answer = node.refresh_to(ROOM, "late").await;
    assert_eq!(answer.status, 200, "a publish is taken until the end: {answer:?}");
    let told = answer.json()["connections"].as_u64().expect("a count");
    assert!(told > 0 && told <= 60 - closed as u64, "{answer:?}");

    let times = expect_restart_closes(&mut sockets, SOON).await;
    assert_eq!(node.exit_within(SOON).await.code(), Some(0));
    let limit = Duration::from_secs(notice + spread) + AT_ONCE;
    assert!(started.elapsed() <= limit, "it took {:?}, allowed are {limit:?}", started.elapsed());
    let (first, last) = (times.iter().min().expect("sockets"), times.iter().max().expect("sockets"));
    assert!(
        *first - started >= Duration::from_secs(notice),
        "the first was closed {:?} after the signal",
        *first - started
    );
    let took = *last - *first;
    assert!(
        took >= Duration::from_secs(spread) / 2,
        "all were closed within {took:?} of a spread of {spread} s"
    );
    let heard = sockets.iter().filter(|socket| socket.frames_so_far() == [refresh_with("late")]).count();
    assert_eq!(heard as u64, told, "sockets that were told, and sockets that the answer counts");
}

#[tokio::test]
async fn sigint_drains_as_sigterm_does() {
    let mut node = drains_in(1, 1).start().await;
    let mut sockets = node.connect_many(ROOM, 5).await;
    node.signal(Signal::SIGINT);
    until_draining(&node).await;
    expect_restart_closes(&mut sockets, SOON).await;
    assert_eq!(node.exit_within(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_exits_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut node = drains_in(60, 60).start().await;
        let _socket = node.connect(ROOM).await;
        node.sigterm();
        until_draining(&node).await;
        node.signal(second);
        node.exit_within(AT_ONCE).await;
    }
}

#[tokio::test]
async fn a_socket_that_never_answers_its_close_does_not_hold_the_node_up() {
    let mut node = drains_in(0, 1).start().await;
    let _stuck = crate::support::raw::RawSocket::connect(node.public, "/party/featurevisor").await;
    node.until_metric("relay_connections", &[], 1.0).await;
    node.sigterm();
    assert_eq!(node.exit_within(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn clients_that_move_to_another_node_miss_nothing_published_meanwhile() {
    let redis = TestRedis::start().await;
    let setup = Setup::redis(&redis).set("drain.notice_seconds", 1).set("drain.spread_seconds", 1);
    let mut nodes = cluster(&setup, 3).await;
    let mut leaving = nodes[0].connect_many(ROOM, 6).await;
    let mut staying = nodes[1].connect(ROOM).await;
    nodes[0].sigterm();
    until_draining(&nodes[0]).await;

    let answer = nodes[2].refresh_to(ROOM, "during").await;
    assert_eq!((answer.status, &answer.json()["connections"]), (200, &7.into()), "{answer:?}");
    for socket in &mut leaving {
        socket.expect_frame(&refresh_with("during")).await;
    }
    expect_restart_closes(&mut leaving, SOON).await;
    nodes[2].refresh_to(ROOM, "between").await;
    for index in 0..leaving.len() {
        let mut back = nodes[1 + index % 2].connect(ROOM).await;
        back.expect_frame(&refresh_with("between")).await;
    }
    assert_eq!(nodes[0].exit_within(SOON).await.code(), Some(0));
    staying.expect_frame(&refresh_with("during")).await;
    staying.expect_frame(&refresh_with("between")).await;
}
