//! `/v1`: publishing, what the answer promises, and how refusals look.

use crate::support::http::{Answer, Request};
use crate::support::node::{KEY, Node, Setup, cluster, refresh};
use crate::support::redis::TestRedis;
use crate::support::socket::{REFRESH, refresh_with};
use crate::support::wait::{SOON, equal, eventually};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const ROOM: &str = "featurevisor";

/// Epoch and generation of a position.
pub fn position(answer: &Value) -> (String, u64) {
    let parts = answer["position"].as_str().and_then(|position| position.rsplit_once('-'));
    let parts = parts.and_then(|(epoch, generation)| Some((epoch.to_owned(), generation.parse().ok()?)));
    parts.unwrap_or_else(|| panic!("no position of epoch and generation in {answer}"))
}

fn with_body(body: impl Into<String>) -> Request {
    refresh(ROOM).header("Content-Type", "application/json").body(body)
}

#[tokio::test]
async fn the_answer_says_what_was_published_and_who_heard_it() {
    let node = Setup::memory().start().await;
    let mut sockets = node.connect_many(ROOM, 3).await;

    let answer = node.refresh_to(ROOM, "42").await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(body["room"], ROOM);
    assert_eq!(body["revision"], "42");
    assert_eq!(body["nodes"], json!({"expected": 1, "confirmed": 1}));
    assert_eq!(body["connections"], 3);
    let (epoch, generation) = position(&body);
    assert!(!epoch.is_empty() && generation > 0, "{body}");
    let published = body["published_at"].as_str().expect("a time");
    let shape: String = published.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{published}");
    for socket in &mut sockets {
        socket.expect_frame(&refresh_with("42")).await;
    }
}

#[tokio::test]
async fn the_position_grows_with_every_publication_of_a_room() {
    let node = Setup::memory().start().await;
    let mut last = position(&node.refresh(ROOM).await.json());
    for _ in 0..5 {
        let answer = node.refresh(ROOM).await.json();
        assert!(answer["revision"].is_null(), "{answer}");
        let next = position(&answer);
        assert_eq!(next.0, last.0, "another epoch");
        assert!(next.1 > last.1, "{next:?} after {last:?}");
        last = next;
    }
}

#[tokio::test]
async fn a_body_is_optional_and_may_carry_a_revision() {
    let node = Setup::memory().start().await;
    let mut socket = node.connect(ROOM).await;
    let longest = "r".repeat(128);
    for request in [refresh(ROOM), with_body(""), with_body("{}")] {
        assert_eq!(request.send(node.public).await.status, 200, "{request:?}");
        socket.expect_frame(REFRESH).await;
    }
    assert_eq!(node.refresh_to(ROOM, &longest).await.status, 200);
    socket.expect_frame(&refresh_with(&longest)).await;

    let awkward = "\"quotes\\\" and ünïcode \u{1F600}";
    assert_eq!(node.refresh_to(ROOM, awkward).await.json()["revision"], awkward);
    let frame: Value = serde_json::from_str(&socket.frame().await).expect("a frame is JSON");
    assert_eq!(frame, json!({"type": "refresh", "revision": awkward}));
}

#[tokio::test]
async fn a_body_that_is_not_as_documented_is_refused_with_400() {
    let node = Setup::memory().start().await;
    let too_long = json!({"revision": "r".repeat(129)}).to_string();
    for body in [
        "{",
        "{\"revision\": 42} x",
        "[]",
        "[\"42\"]",
        "\"42\"",
        "{\"revision\": 42}",
        "{\"revision\": [\"42\"]}",
        &too_long,
    ] {
        with_body(body).send(node.public).await.expect_problem(400, "invalid_body");
    }
    assert_eq!(node.room(ROOM).await.status, 404, "something was published");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_413() {
    let node = Setup::memory().set("publish.body_limit_bytes", 100).start().await;
    let body = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    assert_eq!(with_body(body(100)).send(node.public).await.status, 200);
    with_body(body(101)).send(node.public).await.expect_problem(413, "body_too_large");
    let chunked = with_body(body(101)).header("Transfer-Encoding", "chunked");
    chunked.send(node.public).await.expect_problem(413, "body_too_large");
}

#[tokio::test]
async fn without_the_right_key_it_is_refused_with_401() {
    let node = Setup::memory().start().await;
    let path = "/v1/rooms/featurevisor/refresh";
    let bad = [
        Request::post(path),
        Request::post(path).bearer("nope"),
        Request::post(path).bearer(""),
        Request::post(path).bearer("Party-Secret"),
        Request::post(path).bearer("party-secret-and-more"),
        Request::post(path).header("Authorization", &format!("Basic {KEY}")),
        Request::post(&format!("{path}?key={KEY}")),
        Request::post(path).bearer("nope").body("{broken"),
        Request::get("/v1/rooms/featurevisor"),
        Request::get("/v1/rooms/featurevisor").bearer("nope"),
    ];
    for request in bad {
        let answer = request.send(node.public).await;
        assert_eq!(answer.status, 401, "{request:?}");
        answer.expect_problem(401, "unauthorized");
        assert!(!answer.body.contains("nope"), "it repeats what was sent: {answer:?}");
    }
    assert_eq!(node.room(ROOM).await.status, 404, "something was published");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_as_problem_documents() {
    let node = Setup::memory().start().await;
    for path in [
        "/v1",
        "/v1/",
        "/v1/nope",
        "/v1/rooms",
        "/v1/rooms/featurevisor/refresh/more",
        "/v1/rooms/featurevisor/nope",
    ] {
        let answer = Request::get(path).bearer(KEY).send(node.public).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        answer.expect_problem(404, "not_found");
    }
    for (method, path, allowed) in [
        ("GET", "/v1/rooms/featurevisor/refresh", "POST"),
        ("PUT", "/v1/rooms/featurevisor/refresh", "POST"),
        ("POST", "/v1/rooms/featurevisor", "GET"),
        ("DELETE", "/v1/rooms/featurevisor", "GET"),
    ] {
        let answer = Request::new(method, path).bearer(KEY).send(node.public).await;
        assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
        answer.expect_problem(405, "method_not_allowed");
        // RFC 9110, section 15.5.6: a 405 names the methods that are there.
        let allow = answer.header("allow").unwrap_or_default();
        assert!(allow.contains(allowed), "{method} {path}: Allow is {allow:?}");
    }
}

#[tokio::test]
async fn parameters_that_are_not_as_documented_are_refused_with_400() {
    let node = Setup::memory().start().await;
    for wait in ["11", "-1", "soon", "", "1e9", "NaN"] {
        let request = Request::post(&format!("/v1/rooms/featurevisor/refresh?wait={wait}")).bearer(KEY);
        let answer = request.send(node.public).await;
        assert_eq!(answer.status, 400, "wait={wait}: {answer:?}");
        answer.expect_problem(400, "invalid_parameter");
    }
    for key in ["k k", "schlüssel", &"k".repeat(129)] {
        let answer = refresh(ROOM).header("Idempotency-Key", key).send(node.public).await;
        assert_eq!(answer.status, 400, "{key:?}: {answer:?}");
        answer.expect_problem(400, "invalid_parameter");
    }
    assert_eq!(node.room(ROOM).await.status, 404, "something was published");
    let longest = refresh(ROOM).header("Idempotency-Key", &"k".repeat(128));
    assert_eq!(longest.send(node.public).await.status, 200);
}

#[tokio::test]
async fn room_names_are_percent_decoded_here_and_only_here() {
    let node = Setup::memory().start().await;
    let mut plain = node.connect("featurevisor").await;
    let mut encoded = node.connect("feature%76isor").await;

    let answer = node.refresh_to("feature%76isor", "1").await.json();
    assert_eq!((&answer["room"], &answer["connections"]), (&json!("featurevisor"), &json!(1)));
    plain.expect_frame(&refresh_with("1")).await;

    let answer = node.refresh_to("feature%2576isor", "2").await.json();
    assert_eq!((&answer["room"], &answer["connections"]), (&json!("feature%76isor"), &json!(1)));
    encoded.expect_frame(&refresh_with("2")).await;
    assert_eq!(plain.frames_so_far(), Vec::<String>::new());

    assert_eq!(node.refresh("caf%C3%A9").await.json()["room"], "café");
}

#[tokio::test]
async fn a_room_name_that_cannot_be_is_refused_with_400() {
    let node = Setup::memory().start().await;
    assert_eq!(node.refresh(&"r".repeat(256)).await.status, 200);
    let too_long = "r".repeat(257);
    // 86 characters of three bytes each are 258 bytes.
    let too_many_bytes = "%E2%82%AC".repeat(86);
    for room in [too_long.as_str(), &too_many_bytes, "broken%ff"] {
        node.refresh(room).await.expect_problem(400, "invalid_room");
        node.room(room).await.expect_problem(400, "invalid_room");
    }
}

#[tokio::test]
async fn a_room_can_be_looked_at() {
    let node = Setup::memory().start().await;
    node.room(ROOM).await.expect_problem(404, "not_found");

    let socket = node.connect(ROOM).await;
    let body = node.room(ROOM).await.json();
    assert_eq!((&body["room"], &body["connections"]), (&json!(ROOM), &json!(1)));
    assert!(body["position"].is_null() && body["published_at"].is_null(), "{body}");

    let published = node.refresh_to(ROOM, "42").await.json();
    let body = node.room(ROOM).await.json();
    for member in ["room", "position", "revision", "published_at", "connections"] {
        assert_eq!(body[member], published[member], "{member}");
    }
    assert!(!body["nodes"].is_null(), "{body}");

    drop(socket);
    eventually(SOON, "the head outlives the sockets", async || {
        let body = node.room(ROOM).await.json();
        equal("room", &(&body["position"], &body["connections"]), &(&published["position"], &json!(0)))
    })
    .await;
}

/// Publishes under an idempotency key.
async fn once(node: &Node, room: &str, key: &str) -> Answer {
    refresh(room).header("Idempotency-Key", key).send(node.public).await
}

#[tokio::test]
async fn the_same_idempotency_key_publishes_once() {
    let node = Setup::memory().start().await;
    let mut socket = node.connect(ROOM).await;
    let first = once(&node, ROOM, "deploy-1").await;
    assert_eq!(first.status, 200);
    socket.expect_frame(REFRESH).await;

    let again = once(&node, ROOM, "deploy-1").await;
    assert_eq!((again.status, again.json()), (first.status, first.json()));
    assert_eq!(node.metric("relay_publishes_total", &[("api", "v1"), ("result", "duplicate")]).await, 1.0);

    let other_room = once(&node, "another-room", "deploy-1").await.json();
    assert_eq!((&other_room["room"], &other_room["connections"]), (&json!("another-room"), &json!(0)));
    let other_key = once(&node, ROOM, "deploy-2").await.json();
    assert!(position(&other_key).1 > position(&first.json()).1);
    socket.expect_frame(REFRESH).await;
    node.refresh_to(ROOM, "fence").await;
    socket.expect_frame(&refresh_with("fence")).await;
}

#[tokio::test]
async fn an_idempotency_key_holds_on_every_node() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let mut socket = nodes[1].connect(ROOM).await;

    let first = once(&nodes[0], ROOM, "deploy-1").await;
    let again = once(&nodes[1], ROOM, "deploy-1").await;

    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!((again.status, again.json()), (first.status, first.json()));
    socket.expect_frame(REFRESH).await;
    nodes[0].refresh_to(ROOM, "fence").await;
    socket.expect_frame(&refresh_with("fence")).await;
}

#[tokio::test]
async fn concurrent_calls_with_one_idempotency_key_publish_once() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let mut socket = nodes[0].connect(ROOM).await;
    let mut calls = JoinSet::new();
    for call in 0..5 {
        let to = nodes[call % 2].public;
        calls.spawn(async move { refresh(ROOM).header("Idempotency-Key", "deploy-1").send(to).await });
    }
    let answers = calls.join_all().await;
    let first = answers[0].json();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answers:#?}");
        assert_eq!(answer.json(), first, "{answers:#?}");
    }
    socket.expect_frame(REFRESH).await;
    nodes[0].refresh_to(ROOM, "fence").await;
    socket.expect_frame(&refresh_with("fence")).await;
}

#[tokio::test]
async fn wait_says_how_long_the_answer_waits_for_confirmations() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis).set("publish.confirm_timeout_ms", 60_000), 2).await;
    let mut sockets = [nodes[0].connect(ROOM).await, nodes[1].connect(ROOM).await];
    let publish =
        |wait: u8| Request::post(&format!("/v1/rooms/featurevisor/refresh?wait={wait}")).bearer(KEY);
    nodes[1].freeze();

    let hurried = timeout(SOON, publish(0).send(nodes[0].public)).await.expect("wait=0 does not wait");
    assert_eq!(hurried.status, 202, "{hurried:?}");
    assert_eq!(hurried.json()["nodes"]["expected"], 2);

    let started = Instant::now();
    let short = publish(1).send(nodes[0].public).await;
    assert_eq!(short.status, 202, "{short:?}");
    assert_eq!(short.json()["nodes"], json!({"expected": 2, "confirmed": 1}));
    assert!(started.elapsed().as_millis() >= 1000, "it gave up after {:?}", started.elapsed());

    let to = nodes[0].public;
    let patient = tokio::spawn(async move { publish(10).send(to).await });
    nodes[0].until_metric("relay_publications_received_total", &[("source", "live")], 3.0).await;
    nodes[1].thaw();
    let patient = patient.await.expect("an answer");
    assert_eq!(patient.status, 200, "{patient:?}");
    assert_eq!(patient.json()["nodes"], json!({"expected": 2, "confirmed": 2}));
    assert_eq!(patient.json()["connections"], 2);
    for socket in &mut sockets {
        socket.expect_frame(REFRESH).await;
    }
}

#[tokio::test]
async fn a_repeated_call_waits_for_the_answer_of_the_first() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis).set("publish.confirm_timeout_ms", 100), 2).await;
    nodes[1].freeze();
    let key = |wait: u8| {
        let path = format!("/v1/rooms/featurevisor/refresh?wait={wait}");
        Request::post(&path).bearer(KEY).header("Idempotency-Key", "one")
    };
    let to = nodes[0].public;
    let first = tokio::spawn(async move { key(10).send(to).await });
    nodes[0].until_metric("relay_publications_received_total", &[("source", "live")], 1.0).await;
    let repeated = tokio::spawn(async move { key(0).send(to).await });
    nodes[1].thaw();
    let (first, repeated) = (first.await.expect("an answer"), repeated.await.expect("an answer"));
    assert_eq!((first.status, repeated.status), (200, 200), "{first:?} {repeated:?}");
    assert_eq!(first.json(), repeated.json());
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_counted_all_the_same() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis).set("publish.confirm_timeout_ms", 500), 2).await;
    nodes[1].freeze();
    let mut published = 0.0;
    for (api, path) in [("v1", "/v1/rooms/featurevisor/refresh"), ("partykit", "/party/featurevisor")] {
        let request = Request::post(path).bearer(KEY).body("{}").encode(nodes[0].public);
        let mut stream = tokio::net::TcpStream::connect(nodes[0].public).await.expect("the node accepts");
        stream.write_all(&request).await.expect("the request is taken");
        published += 1.0;
        nodes[0].until_metric("relay_publications_received_total", &[("source", "live")], published).await;
        drop(stream);
        nodes[0].until_metric("relay_publishes_total", &[("api", api), ("result", "unconfirmed")], 1.0).await;
    }
    nodes[1].thaw();
}
