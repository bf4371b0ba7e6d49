//! Connections that take their time: none may keep a place for good, and they may not keep others from being served.

use super::{PATH, expect_unharmed};
use crate::support::hose::Hose;
use crate::support::node::{KEY, Setup};
use crate::support::raw::RawSocket;
use crate::support::wait::SOON;
use futures_util::future::join_all;
use std::time::Duration;

/// Within the places that a node with the usual number of open files has.
const CONNECTIONS: usize = 300;

/// How long a connection is dribbled on before that is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

fn quick() -> Setup {
    Setup::memory()
        .set("server.request_head_timeout_seconds", 2)
        .set("server.request_body_timeout_seconds", 2)
}

/// Opens as many connections, sends the start on each and dribbles the rest until the node ends it; meanwhile others are
/// served.
async fn slowloris(setup: Setup, start: String, rest: &'static [u8]) {
    let node = setup.start().await;
    let public = node.public;
    let dribbling = join_all((0..CONNECTIONS).map(|_| {
        let start = start.clone();
        tokio::spawn(async move {
            let mut hose = Hose::connect(public).await;
            hose.send(start.as_bytes()).await;
            hose.dribble(rest, PATIENCE).await
        })
    }));
    let dribbling = tokio::spawn(dribbling);
    let mut rounds = 0;
    while !dribbling.is_finished() {
        expect_unharmed(&node).await;
        rounds += 1;
    }
    assert!(rounds > 0);
    for ended in dribbling.await.expect("no panic") {
        ended.expect("the node ends it");
    }
    expect_unharmed(&node).await;
}

#[tokio::test]
async fn heads_that_are_dribbled_keep_nobody_from_being_served() {
    slowloris(quick(), format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n"), b"X: y\r\n").await;
}

#[tokio::test]
async fn handshakes_that_are_dribbled_keep_nobody_from_being_served() {
    let start = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    slowloris(quick(), start, b"X: y\r\n").await;
}

#[tokio::test]
async fn empty_lines_without_end_keep_nobody_from_being_served() {
    slowloris(quick(), "\r\n".into(), b"\r\n").await;
}

#[tokio::test]
async fn bodies_that_are_dribbled_keep_nobody_from_being_served() {
    let start = "POST /v1/rooms/featurevisor/refresh HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ";
    slowloris(quick(), format!("{start}{KEY}\r\nContent-Length: 60000\r\n\r\n"), b" ").await;
}

#[tokio::test]
async fn bodies_that_nobody_reads_keep_nobody_from_being_served() {
    let start =
        "POST /v1/rooms/featurevisor/refresh HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    slowloris(quick(), start.into(), b"1\r\nx\r\n").await;
}

#[tokio::test]
async fn a_second_head_that_is_dribbled_is_not_waited_for() {
    let first = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n");
    slowloris(quick(), format!("{first}GET {PATH} HTTP/1.1\r\nHost: x\r\n"), b"X: y\r\n").await;
}

/// Clients whose machine or network is gone send no end of their connection: only their silence tells.
#[tokio::test]
async fn clients_that_vanish_without_an_end_are_forgotten() {
    let setup =
        Setup::memory().set("websocket.ping_interval_seconds", 1).set("websocket.pong_timeout_seconds", 1);
    let node = setup.start().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(RawSocket::connect(node.public, PATH).await);
    }
    expect_unharmed(&node).await;
    let timed_out = [("reason", "ping_timeout")];
    node.until_metric_within(2 * SOON, "relay_connections_closed_total", &timed_out, CONNECTIONS as f64)
        .await;
    node.until_metric("relay_connections", &[], 0.0).await;
    expect_unharmed(&node).await;
}
