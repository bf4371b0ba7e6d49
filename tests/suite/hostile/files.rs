//! Open files run out: the node refuses what it has no place for, keeps what it cannot do without, and recovers.

use super::{PATH, expect_unharmed};
use crate::support::hose::Hose;
use crate::support::http::Request;
use crate::support::node::{Node, Setup};
use crate::support::raw::RawSocket;
use crate::support::redis::TestRedis;
use crate::support::wait::{SOON, eventually, throughout};
use std::time::Duration;

/// Sockets until one is refused.
async fn fill(node: &Node, at_most: usize) -> Vec<RawSocket> {
    let mut sockets = Vec::new();
    loop {
        assert!(sockets.len() < at_most, "more sockets than open files");
        match RawSocket::try_connect(node.public, PATH).await {
            Ok(socket) => sockets.push(socket),
            Err(answer) => {
                answer.expect_sentence(503);
                answer.expect_retry_after();
                return sockets;
            }
        }
    }
}

#[tokio::test]
async fn more_connections_than_files_are_refused_while_redis_and_probes_go_on() {
    let redis = TestRedis::start().await;
    let files = 600;
    // Workers need files of their own.
    let setup = Setup::redis(&redis).set("server.workers", 40);
    let node = setup.open_files(files, files).start().await;
    let sockets = fill(&node, files as usize).await;
    let mut idle = Vec::new();
    for _ in 0..files {
        idle.push(Hose::connect(node.public).await);
    }
    throughout(Duration::from_secs(2), "probes are answered and Redis is linked", async || {
        let livez = Request::get("/livez").send(node.admin).await.status;
        let link = node.status().await["broker"]["link"].clone();
        if livez == 200 && link == "up" { Ok(()) } else { Err(format!("/livez {livez}, link {link}")) }
    })
    .await;
    assert!(node.metric("process_open_fds", &[]).await < f64::from(files));
    assert_eq!(node.metric("relay_redis_reconnects_total", &[("cause", "error")]).await, 0.0);
    assert!(!node.output().contains("Too many open files"), "{}", node.output());
    drop((sockets, idle));
    node.until_metric("relay_connections", &[], 0.0).await;
    expect_unharmed(&node).await;
}

/// With so few that not even what the node reserves is there, `accept` itself fails.
#[tokio::test]
async fn a_node_that_has_no_file_left_lives_and_recovers() {
    let files = 90;
    let node = Setup::memory().set("server.workers", 2).open_files(files, files).start().await;
    let mut idle = Vec::new();
    for _ in 0..3 * files {
        idle.push(Hose::connect(node.public).await);
    }
    eventually(SOON, "the node says that it has no file left", async || {
        let output = node.output();
        if output.contains("Too many open files") { Ok(()) } else { Err(output) }
    })
    .await;
    drop(idle);
    eventually(SOON, "the node answers again", async || {
        Request::get("/livez").try_send(node.admin).await.map(drop)
    })
    .await;
    expect_unharmed(&node).await;
}
