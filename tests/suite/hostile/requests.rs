//! Bytes that are no request, requests that are two, and requests that are almost right.

use super::{PATH, expect_unharmed};
use crate::support::hose::{HANDSHAKE, Hose, answer_to};
use crate::support::node::{KEY, Node, Setup};
use crate::support::raw::{PING, message};
use std::fmt::Write;

/// A publish with these headers and whatever follows.
fn publish(rest: &str) -> Vec<u8> {
    let head = "POST /v1/rooms/featurevisor/refresh HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ";
    format!("{head}{KEY}\r\n{rest}").into_bytes()
}

/// A plain request with these headers.
fn get(headers: &[u8]) -> Vec<u8> {
    [format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n").as_bytes(), headers, b"\r\n"].concat()
}

/// Sends each and panics unless it is answered with its status.
async fn expect_statuses(node: &Node, cases: Vec<(&str, Vec<u8>, u16)>) {
    let mut failures = String::new();
    for (name, bytes, status) in cases {
        let answer = answer_to(node.public, &bytes).await;
        if answer.as_ref().map(|answer| answer.status) != Some(status) {
            writeln!(failures, "- {name}: {answer:?}, wanted {status}").expect("a string takes it");
        }
    }
    assert!(failures.is_empty(), "answered otherwise:\n{failures}");
    expect_unharmed(node).await;
}

#[tokio::test]
async fn what_is_not_http_1_is_answered_with_400() {
    let node = Setup::memory().start().await;
    let client_hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[0x5a; 194]].concat();
    let cases = vec![
        ("garbage", vec![0xff; 200], 400),
        ("zeros", vec![0; 200], 400),
        ("a TLS ClientHello", client_hello, 400),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), 400),
        ("HTTP/0.9", b"GET /party/featurevisor\r\n\r\n".to_vec(), 400),
        ("HTTP/3.0", b"GET /party/featurevisor HTTP/3.0\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a frame", message(PING, b"hello"), 400),
        ("a method of other bytes", b"G\x80T / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
    ];
    let count = cases.len() as f64;
    expect_statuses(&node, cases).await;
    node.until_metric("relay_requests_refused_total", &[("reason", "malformed")], count).await;
    let log = node.output();
    assert!(!log.contains(r#""level":"ERROR""#), "anyone could fill the log:\n{log}");
}

#[tokio::test]
async fn paths_and_targets_of_every_kind_are_answered() {
    let node = Setup::memory().start().await;
    let long =
        |length: usize| format!("GET /party/{} HTTP/1.1\r\nHost: x\r\n{HANDSHAKE}\r\n", "y".repeat(length));
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let read = |room: &str| {
        format!("GET /v1/rooms/{room} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n")
    };
    let cases = vec![
        ("absolute form", target("http://evil.test/party/featurevisor"), 200),
        ("absolute form, elsewhere", target("http://evil.test/other"), 404),
        ("authority form", b"CONNECT evil.test:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 404),
        ("asterisk form", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 404),
        ("a target of other bytes", b"GET /party/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a target with a zero", b"GET /party/a\0b HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a target with a blank", b"GET /party/a b HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a room that is no UTF-8", read("%ff%fe").into_bytes(), 400),
        ("a room with a zero", read("%00").into_bytes(), 400),
        ("a room of 16,000 bytes", long(16_000).into_bytes(), 400),
        ("a room of 60,000 bytes", long(60_000).into_bytes(), 431),
        ("a target of 100,000 bytes", long(100_000).into_bytes(), 400),
        ("parents", target("/party/../v1/rooms"), 200),
        ("16,000 slashes", target(&"/".repeat(16_000)), 404),
    ];
    expect_statuses(&node, cases).await;
}

#[tokio::test]
async fn headers_of_every_kind_are_answered() {
    let node = Setup::memory().set("server.trusted_proxies", "127.0.0.0/8").start().await;
    let handshake = |header: &[u8]| get(&[HANDSHAKE.as_bytes(), header].concat());
    let unauthorized = b"POST /v1/rooms/x/refresh HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n\r\n";
    let cases = vec![
        ("no Host", format!("GET {PATH} HTTP/1.1\r\n\r\n").into_bytes(), 400),
        ("two Hosts", get(b"Host: y\r\n"), 400),
        ("one header of 100,000 bytes", get(format!("X: {}\r\n", "y".repeat(100_000)).as_bytes()), 431),
        ("100,000 bytes of headers", get("X: y\r\n".repeat(16_700).as_bytes()), 431),
        ("a zero", get(b"X: a\0b\r\n"), 400),
        ("a control character", get(b"X: a\x01b\r\n"), 400),
        ("a bare carriage return", get(b"X: a\rb\r\n"), 400),
        ("a folded line", get(b"X: a\r\n b\r\n"), 400),
        ("a blank before the colon", get(b"X : a\r\n"), 400),
        ("no name", get(b": a\r\n"), 400),
        ("no colon", get(b"Xa\r\n"), 400),
        ("a name of other bytes", get(b"X\xff: a\r\n"), 400),
        ("an origin of other bytes", handshake(b"Origin: \xff\xfe\r\n"), 403),
        ("two origins", handshake(b"Origin: https://a.test\r\nOrigin: https://b.test\r\n"), 403),
        ("a forwarded address of other bytes", handshake(b"X-Forwarded-For: \xff\xfe\r\n"), 101),
        (
            "1,000 forwarded addresses",
            handshake(b"X-Forwarded-For: 127.0.0.1,\r\n".repeat(80).as_slice()),
            101,
        ),
        ("a subprotocol of other bytes", handshake(b"Sec-WebSocket-Protocol: \xff\r\n"), 101),
        ("a key of other bytes", unauthorized.to_vec(), 401),
    ];
    expect_statuses(&node, cases).await;
}

#[tokio::test]
async fn a_body_of_two_lengths_is_answered_with_400_and_nothing_behind_it_is_read() {
    let node = Setup::memory().start().await;
    let hidden = String::from_utf8(publish("Content-Length: 0\r\n\r\n")).expect("ASCII");
    let framings = [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 150\r\n\r\n",
        "Content-Length: 0, 0\r\n\r\n",
        "Content-Length: +0\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 0x0\r\n\r\n",
        "Content-Length: 99999999999999999999999\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n",
    ];
    for framing in framings {
        let mut hose = Hose::connect(node.public).await;
        hose.send(&publish(&format!("{framing}{hidden}"))).await;
        let answer = hose.answer().await.expect("an answer");
        assert_eq!(answer.status, 400, "{framing:?}: {answer:?}");
        assert_eq!(hose.answer().await.map(|second| second.status), None, "{framing:?}: a second answer");
    }
    assert_eq!(node.metric("relay_publications_received_total", &[("source", "live")]).await, 0.0);
    expect_unharmed(&node).await;
}

#[tokio::test]
async fn a_huge_body_is_answered_with_413() {
    let node = Setup::memory().start().await;
    let mebibyte = "x".repeat(1 << 20);
    let endless = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(16);
    let cases = vec![
        ("a body that is", publish(&format!("Content-Length: {}\r\n\r\n{mebibyte}", mebibyte.len())), 413),
        ("a body that says so", publish(&format!("Content-Length: {}\r\n\r\n{mebibyte}", u64::MAX)), 413),
        ("chunks without end", publish(&format!("Transfer-Encoding: chunked\r\n\r\n{endless}")), 413),
    ];
    expect_statuses(&node, cases).await;
}

#[tokio::test]
async fn old_clients_are_served() {
    let node = Setup::memory().start().await;
    let post = format!("POST {PATH} HTTP/1.0\r\nX-PartyKit-Secret: {KEY}\r\nContent-Length: 2\r\n\r\n{{}}");
    let cases = vec![
        ("a question", format!("GET {PATH} HTTP/1.0\r\n\r\n").into_bytes(), 200),
        ("a publish", post.into_bytes(), 200),
        ("line feeds alone", format!("GET {PATH} HTTP/1.1\nHost: x\n\n").into_bytes(), 200),
    ];
    expect_statuses(&node, cases).await;
}

#[tokio::test]
async fn pipelined_requests_end_with_their_connection() {
    let node = Setup::memory().start().await;
    let mut hose = Hose::connect(node.public).await;
    hose.send(&get(b"").repeat(5000)).await;
    assert_eq!(hose.answer().await.expect("an answer").status, 200);
    hose.expect_end().await;

    // Frames may follow their handshake at once.
    let mut eager = Hose::connect(node.public).await;
    eager.send(&[get(HANDSHAKE.as_bytes()), message(PING, b"hello")].concat()).await;
    assert_eq!(eager.answer().await.expect("an answer").status, 101);
    assert_eq!(eager.bytes(7).await, b"\x8a\x05hello");
    expect_unharmed(&node).await;
}
