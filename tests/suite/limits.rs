//! How much, how often and how slowly a publisher or a client may send: each limit with its answer and its metric.

use crate::support::hose::{HANDSHAKE, Hose, answer_to};
use crate::support::http::Request;
use crate::support::node::{KEY, Node, Setup, refresh};
use crate::support::raw::{PING, RawSocket, TEXT, masked, message};
use crate::support::wait::{SOON, eventually};
use std::time::Duration;

const PATH: &str = "/party/featurevisor";

async fn published(node: &Node, api: &str, result: &str) -> f64 {
    node.metric("relay_publishes_total", &[("api", api), ("result", result)]).await
}

fn party() -> Request {
    Request::post(PATH).header("X-PartyKit-Secret", KEY).body("{}")
}

/// The head of a publish whose body, of that framing, is still to come.
fn publish_head(framing: &str) -> String {
    format!(
        "POST /v1/rooms/featurevisor/refresh HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{framing}\r\n\r\n"
    )
}

#[tokio::test]
async fn more_publishes_a_second_with_one_key_than_allowed_are_refused_with_429() {
    let node = Setup::memory().set("publish.rate_per_second", 2).start().await;
    let mut socket = node.connect("featurevisor").await;
    for (api, request) in [("v1", refresh("featurevisor")), ("partykit", party())] {
        let mut refusals = 0;
        for _ in 0..20 {
            let answer = request.send(node.public).await;
            if answer.status == 200 {
                continue;
            }
            if api == "v1" {
                answer.expect_problem(429, "rate_limited");
            } else {
                answer.expect_sentence(429);
            }
            answer.expect_retry_after();
            refusals += 1;
        }
        assert!(refusals > 0, "{api}: none of 20 was refused");
        assert_eq!(published(&node, api, "rate_limited").await, f64::from(refusals));
        assert_eq!(published(&node, api, "ok").await, f64::from(20 - refusals));
    }
    eventually(SOON, "the next second has room again", async || match node.refresh("featurevisor").await {
        answer if answer.status == 200 => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    socket.frame().await;
}

#[tokio::test]
async fn who_has_no_key_uses_up_no_keys_rate() {
    let node = Setup::memory().set("publish.rate_per_second", 1).start().await;
    for _ in 0..20 {
        let stranger = Request::post("/v1/rooms/featurevisor/refresh").bearer("wrong");
        stranger.send(node.public).await.expect_problem(401, "unauthorized");
    }
    assert_eq!(node.refresh("featurevisor").await.status, 200);
}

#[tokio::test]
async fn a_client_that_sends_more_frames_a_second_than_allowed_is_closed_with_1008() {
    let node = Setup::memory().set("websocket.max_frames_per_second", 10).start().await;
    let mut neighbour = node.connect("featurevisor").await;
    let pieces = [masked(TEXT, b"x"), masked(0x0, b"x").repeat(200)].concat();
    let floods = [
        message(PING, b"").repeat(200),
        message(0xa, b"").repeat(200),
        message(TEXT, b"x").repeat(200),
        pieces,
    ];
    let count = floods.len();
    for flood in floods {
        let mut socket = RawSocket::connect(node.public, PATH).await;
        socket.send(&flood).await;
        assert_eq!(socket.close_code().await, 1008);
        socket.expect_end().await;
    }
    node.until_metric("relay_connections_closed_total", &[("reason", "rate")], count as f64).await;
    neighbour.expect_alive().await;
}

#[tokio::test]
async fn a_client_that_keeps_to_the_rate_stays() {
    let node = Setup::memory().set("websocket.max_frames_per_second", 10).start().await;
    let mut socket = RawSocket::connect(node.public, PATH).await;
    socket.send(&message(TEXT, b"x").repeat(9)).await;
    socket.send(&message(PING, b"here?")).await;
    assert_eq!(socket.frame_within(SOON).await.expect("10 frames are allowed").payload, b"here?");
}

#[tokio::test]
async fn a_rate_of_zero_frames_is_no_limit() {
    let node = Setup::memory().set("websocket.max_frames_per_second", 0).start().await;
    let mut socket = RawSocket::connect(node.public, PATH).await;
    socket.send(&message(TEXT, b"x").repeat(5000)).await;
    socket.send(&message(PING, b"here?")).await;
    assert_eq!(socket.frame_within(SOON).await.expect("any number is allowed").payload, b"here?");
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_is_answered_with_408() {
    let node = Setup::memory().set("server.request_head_timeout_seconds", 1).start().await;
    let handshake = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n");
    for start in [publish_head("X-Half: "), handshake] {
        let mut hose = Hose::connect(node.public).await;
        hose.send(start.trim_end().as_bytes()).await;
        hose.trickle(b"x", 3, Duration::from_millis(300)).await;
        let answer = hose.answer().await.expect("an answer");
        assert_eq!(answer.status, 408, "{start}: {answer:?}");
        hose.expect_end().await;
    }
    node.until_metric("relay_requests_refused_total", &[("reason", "head_timeout")], 2.0).await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_answered_with_408() {
    let node = Setup::memory().set("server.request_body_timeout_seconds", 1).start().await;
    for framing in ["Content-Length: 400", "Transfer-Encoding: chunked"] {
        let mut hose = Hose::connect(node.public).await;
        hose.send(publish_head(framing).as_bytes()).await;
        hose.trickle(
            if framing.starts_with('C') { b" " } else { b"1\r\n \r\n" },
            3,
            Duration::from_millis(300),
        )
        .await;
        hose.answer().await.expect("an answer").expect_problem(408, "timeout");
        hose.expect_end().await;
    }
    let mut hose = Hose::connect(node.public).await;
    let head =
        format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nX-PartyKit-Secret: {KEY}\r\nContent-Length: 9\r\n\r\n");
    hose.send(head.as_bytes()).await;
    hose.answer().await.expect("an answer").expect_sentence(408);
    hose.expect_end().await;
    assert_eq!(published(&node, "v1", "invalid").await, 2.0);
    assert_eq!(published(&node, "partykit", "invalid").await, 1.0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_with_431() {
    let node = Setup::memory().start().await;
    let many = "X: y\r\n".repeat(97);
    let long = format!("X: {}\r\n", "y".repeat(200_000));
    for headers in [many, long] {
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let answer = answer_to(node.public, request.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status, 431, "{answer:?}");
    }
    node.until_metric("relay_requests_refused_total", &[("reason", "head_too_large")], 2.0).await;
}

#[tokio::test]
async fn a_head_over_its_limit_is_refused_on_every_path() {
    let node = Setup::memory().set("server.request_head_limit_bytes", 2000).start().await;
    let read = format!("GET /v1/rooms/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n");
    let heads = [
        (format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n"), 200),
        (format!("GET {PATH}?_pk=1 HTTP/1.1\r\nHost: x\r\n{HANDSHAKE}"), 101),
        (publish_head("Content-Length: 0").trim_end().to_owned() + "\r\n", 200),
        (read, 404),
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n".to_owned(), 404),
    ];
    for (head, status) in &heads {
        let of_bytes = |bytes: usize| format!("{head}X: {}\r\n\r\n", "y".repeat(bytes - head.len() - 7));
        assert_eq!(of_bytes(2000).len(), 2000);
        let fits = answer_to(node.public, of_bytes(2000).as_bytes()).await.expect("an answer");
        assert_eq!(fits.status, *status, "{head}");
        let over = answer_to(node.public, of_bytes(2001).as_bytes()).await.expect("an answer");
        over.expect_problem(431, "head_too_large");
    }
    node.until_metric("relay_requests_refused_total", &[("reason", "head_too_large")], 5.0).await;
}

#[tokio::test]
async fn a_connection_ends_with_its_first_answer() {
    let node = Setup::memory().start().await;
    // In HTTP/1.0 that is so unless the answer says otherwise.
    let requests = [
        (format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n"), Some("close")),
        (publish_head("Content-Length: 0"), Some("close")),
        (format!("GET {PATH} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), None),
    ];
    for (request, connection) in requests {
        let mut hose = Hose::connect(node.public).await;
        hose.send(request.as_bytes()).await;
        let answer = hose.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (200, connection), "{request}: {answer:?}");
        hose.expect_end().await;
    }
}

#[tokio::test]
async fn a_body_without_end_ends_soon_after_the_answer() {
    let node = Setup::memory().start().await;
    let refused =
        "POST /v1/rooms/featurevisor/refresh HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let read_by_nobody = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let no_handshake =
        read_by_nobody.replace("\r\n\r\n", "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    for request in [refused, &read_by_nobody, &no_handshake] {
        let mut hose = Hose::connect(node.public).await;
        hose.send(request.as_bytes()).await;
        hose.dribble(b"1\r\n \r\n", SOON).await;
    }
}

#[tokio::test]
async fn an_address_over_its_own_limit_takes_no_upgrades_of_others() {
    let setup = Setup::memory()
        .set("server.handshakes_per_second", 5)
        .set("server.allowed_origins", "https://a.example");
    let node = setup.start().await;
    for _ in 0..50 {
        let foreign = Request::get(PATH).upgrade().header("Origin", "https://b.example");
        foreign.send(node.public).await.expect_sentence(403);
    }
    node.connect("featurevisor").await.expect_alive().await;
}
