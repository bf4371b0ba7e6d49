//! Handshakes that are refused: before the upgrade, with a plain status and a plain sentence, and counted by reason.

use crate::support::http::{Answer, Request, read_answer};
use crate::support::node::{Node, Setup};
use crate::support::raw::RawSocket;
use crate::support::redis::TestRedis;
use crate::support::socket::{Socket, handshake};
use crate::support::wait::{SOON, eventually};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const PATH: &str = "/party/featurevisor";

async fn refused(node: &Node, reason: &str) -> f64 {
    node.metric("relay_handshakes_refused_total", &[("reason", reason)]).await
}

/// Panics unless this refuses for a while: the status, a sentence, and when to come back.
fn expect_come_back_later(answer: &Answer, status: u16) {
    answer.expect_sentence(status);
    answer.expect_retry_after();
}

#[tokio::test]
async fn a_bad_handshake_is_refused_with_400() {
    let node = Setup::memory().start().await;
    let half = || Request::get(PATH).header("Connection", "Upgrade").header("Upgrade", "websocket");
    let without_key = half().header("Sec-WebSocket-Version", "13");
    let old_version =
        half().header("Sec-WebSocket-Version", "8").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    for request in [without_key, old_version] {
        request.send(node.public).await.expect_sentence(400);
    }
    assert_eq!(refused(&node, "bad_request").await, 2.0);
}

#[tokio::test]
async fn a_handshake_with_a_body_or_for_something_else_too_is_refused_with_400() {
    let node = Setup::memory().start().await;
    let handshake = || Request::get(PATH).upgrade();
    let requests = [
        handshake().header("Content-Length", "5"),
        handshake().header("Transfer-Encoding", "chunked"),
        handshake().header("Upgrade", "h2c"),
        Request::get(PATH)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket, h2c")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let count = requests.len();
    for request in requests {
        request.send(node.public).await.expect_sentence(400);
    }
    assert_eq!(refused(&node, "bad_request").await, count as f64);
    assert_eq!(handshake().header("Content-Length", "0").send(node.public).await.status, 101);
}

#[tokio::test]
async fn a_room_name_over_the_limit_is_refused_with_400() {
    let node = Setup::memory().set("rooms.max_name_bytes", 12).start().await;
    handshake(node.public, "/party/featurevisor2", &[]).await.expect_sentence(400);
    handshake(node.public, "/parties/main/featurevisor2", &[]).await.expect_sentence(400);
    assert_eq!(handshake(node.public, PATH, &[]).await.status, 101);
    assert_eq!(refused(&node, "room").await, 2.0);
}

#[tokio::test]
async fn another_path_is_refused_with_404() {
    let node = Setup::memory().start().await;
    for path in
        ["/", "/nope", "/party", "/party/", "/parties/main", "/parties/main/", "//party/x", "/Party/x"]
    {
        let answer = handshake(node.public, path, &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, "Not found"), "{path}");
    }
    let answer = handshake(node.public, "/parties/other/featurevisor", &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (404, "Party other not found"));
}

#[tokio::test]
async fn any_origin_passes_by_default() {
    let node = Setup::memory().start().await;
    for origin in ["https://app.example", "null", "http://localhost:3000"] {
        let answer = handshake(node.public, PATH, &[("Origin", origin)]).await;
        assert_eq!(answer.status, 101, "{origin}: {answer:?}");
    }
}

#[tokio::test]
async fn an_origin_that_is_not_allowed_is_refused_with_403() {
    let allowed = "https://app.example,https://*.example.com";
    let node = Setup::memory().set("server.allowed_origins", allowed).start().await;
    assert_eq!(handshake(node.public, PATH, &[]).await.status, 101, "a request without Origin passes");
    for origin in ["https://app.example", "https://shop.example.com"] {
        let answer = handshake(node.public, PATH, &[("Origin", origin)]).await;
        assert_eq!(answer.status, 101, "{origin}: {answer:?}");
    }
    let strangers = [
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.test",
        "https://example.com",
        "https://evilexample.com",
        "https://shop.example.com.evil.test",
        "http://shop.example.com",
        "null",
    ];
    for origin in strangers {
        handshake(node.public, PATH, &[("Origin", origin)]).await.expect_sentence(403);
    }
    assert_eq!(refused(&node, "origin").await, strangers.len() as f64);
}

#[tokio::test]
async fn a_full_node_refuses_with_503_until_a_socket_leaves() {
    let node = Setup::memory().set("server.max_connections", 2).start().await;
    let mut first = node.connect("featurevisor").await;
    let mut second = node.connect("another-room").await;

    let answer = handshake(node.public, PATH, &[]).await;

    expect_come_back_later(&answer, 503);
    assert_eq!(refused(&node, "full").await, 1.0);
    first.expect_alive().await;
    second.expect_alive().await;
    assert_eq!(node.party("featurevisor").await.body, "Message sent to 1 connected participants");
    drop(first);
    eventually(SOON, "a place becomes free", async || Socket::try_connect(node.public, PATH, &[]).await)
        .await;
}

#[tokio::test]
async fn a_full_room_refuses_with_503_until_a_socket_leaves() {
    let node = Setup::memory().set("rooms.max_connections", 2).start().await;
    let first = node.connect("featurevisor").await;
    let mut second = node.connect("featurevisor").await;

    let answer = handshake(node.public, PATH, &[]).await;

    expect_come_back_later(&answer, 503);
    handshake(node.public, "/parties/main/featurevisor", &[]).await.expect_sentence(503);
    assert_eq!(refused(&node, "room_full").await, 2.0);
    node.connect("another-room").await.expect_alive().await;
    second.expect_alive().await;
    drop(first);
    eventually(SOON, "a place becomes free", async || Socket::try_connect(node.public, PATH, &[]).await)
        .await;
}

#[tokio::test]
async fn a_room_that_is_not_allowed_is_refused_with_403() {
    let node = Setup::memory().set("rooms.allow", "featurevisor,shop-*").start().await;
    for room in ["featurevisor", "shop-1", "shop-"] {
        let mut socket = node.connect(room).await;
        assert_eq!(node.refresh(room).await.status, 200, "{room}");
        socket.frame().await;
        assert_eq!(node.party(room).await.status, 200, "{room}");
        assert_eq!(node.room(room).await.status, 200, "{room}");
    }
    // The name counts as each path has it: taken as it stands, or percent-decoded.
    let strangers = ["featurevisor2", "Featurevisor", "shop", "featurevisor%20", "shop%2D1"];
    for room in strangers {
        handshake(node.public, &format!("/party/{room}"), &[]).await.expect_sentence(403);
        node.party(room).await.expect_sentence(403);
        if room != "shop%2D1" {
            node.refresh(room).await.expect_problem(403, "forbidden");
            node.room(room).await.expect_problem(403, "forbidden");
        }
    }
    assert_eq!(node.refresh("shop%2D1").await.status, 200);
    assert_eq!(refused(&node, "room_not_allowed").await, strangers.len() as f64);
    let forbidden = [("api", "partykit"), ("result", "forbidden")];
    assert_eq!(node.metric("relay_publishes_total", &forbidden).await, strangers.len() as f64);
}

#[tokio::test]
async fn without_a_limit_of_its_own_a_node_takes_what_open_files_allow_and_stays_reachable() {
    let (soft, hard) = (400, 1500);
    let node = Setup::memory().open_files(soft, hard).start().await;
    let mut sockets = Vec::new();
    let refusal = loop {
        assert!(sockets.len() < hard as usize, "more sockets than open files");
        match RawSocket::try_connect(node.public, PATH).await {
            Ok(socket) => sockets.push(socket),
            Err(answer) => break answer,
        }
    };
    expect_come_back_later(&refusal, 503);
    assert!(sockets.len() > soft as usize, "the soft limit was not raised: only {}", sockets.len());
    assert_eq!(Request::get("/livez").send(node.admin).await.status, 200);
    let answer = node.party("featurevisor").await;
    assert_eq!(answer.body, format!("Message sent to {} connected participants", sockets.len()));
}

#[tokio::test]
async fn one_address_gets_only_as_many_sockets_as_allowed() {
    let node = Setup::memory().set("server.max_connections_per_ip", 2).start().await;
    let first = node.connect("featurevisor").await;
    let _second = node.connect("another-room").await;
    // Nobody is trusted here, so what the header says does not count.
    let answer = handshake(node.public, PATH, &[("X-Forwarded-For", "203.0.113.7")]).await;
    expect_come_back_later(&answer, 429);
    assert_eq!(refused(&node, "per_ip").await, 1.0);
    drop(first);
    eventually(SOON, "a place becomes free", async || Socket::try_connect(node.public, PATH, &[]).await)
        .await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_forwarded_address_counts() {
    let setup = Setup::memory().set("server.max_connections_per_ip", 1);
    let node = setup.set("server.trusted_proxies", "127.0.0.0/8,10.0.0.0/8").start().await;
    let from = async |forwarded: &str| {
        let headers = [("X-Forwarded-For", forwarded)];
        Socket::try_connect(node.public, PATH, &headers).await
    };
    let _one = from("203.0.113.7").await.expect("the first of its address");
    let _two = from("203.0.113.8").await.expect("the first of its address");
    let _six = from("2001:db8::1").await.expect("the first of its address");
    // What stands left of the last address that is no trusted proxy was written by the client itself.
    for again in ["203.0.113.7", "198.51.100.1, 203.0.113.7", "203.0.113.8, 10.1.2.3", "2001:db8::1"] {
        let answer = handshake(node.public, PATH, &[("X-Forwarded-For", again)]).await;
        assert_eq!(answer.status, 429, "{again}: {answer:?}");
    }
    assert_eq!(refused(&node, "per_ip").await, 4.0);
}

#[tokio::test]
async fn more_handshakes_a_second_than_allowed_are_refused_with_429() {
    let node = Setup::memory().set("server.handshakes_per_second", 3).start().await;
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(handshake(node.public, PATH, &[]).await);
    }
    let (accepted, refusals): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 101);
    assert!(!accepted.is_empty(), "none was accepted");
    assert!(!refusals.is_empty(), "none was refused");
    for answer in &refusals {
        expect_come_back_later(answer, 429);
    }
    assert_eq!(refused(&node, "rate").await, refusals.len() as f64);
    eventually(SOON, "the next second has room again", async || {
        Socket::try_connect(node.public, PATH, &[]).await
    })
    .await;
}

#[tokio::test]
async fn a_handshake_needs_http_1_1_and_one_key() {
    let node = Setup::memory().start().await;
    let old = "GET /party/featurevisor HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
               Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let twice = old.replace("HTTP/1.0", "HTTP/1.1").replace(
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version",
    );
    for request in [old, &twice] {
        let mut stream = TcpStream::connect(node.public).await.expect("the node accepts");
        stream.write_all(request.as_bytes()).await.expect("the request is taken");
        let answer = read_answer(&mut stream, false).await.expect("an answer");
        assert_eq!(answer.status, 400, "{request:?}: {answer:?}");
    }
    assert_eq!(refused(&node, "bad_request").await, 2.0);
}

#[tokio::test]
async fn connections_that_say_nothing_leave_probes_and_redis_their_files() {
    let redis = TestRedis::start().await;
    let node = Setup::redis(&redis).open_files(600, 600).start().await;
    let mut silent = Vec::new();
    for _ in 0..900 {
        silent.push(TcpStream::connect(node.public).await.expect("the kernel takes it"));
    }
    for _ in 0..20 {
        assert_eq!(Request::get("/livez").send(node.admin).await.status, 200);
        assert_eq!(node.status().await["broker"]["link"], "up");
    }
    drop(silent);
    eventually(SOON, "the node takes sockets again", async || {
        Socket::try_connect(node.public, PATH, &[]).await
    })
    .await;
}
