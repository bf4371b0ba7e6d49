//! The paths that PartyKit users already have in their apps and their CI: what a PartyKit server answers, or better on purpose.
//!
//! `cases.json` is the table. It was recorded from a PartyKit server that runs the guide's code; where the relay answers better
//! (401 for a wrong secret, 400 for broken JSON) it holds the relay's answer.

use crate::support::http::{Answer, Request};
use crate::support::node::{KEY, Node, Setup};
use crate::support::socket::{REFRESH, Socket, refresh_with};
use crate::support::wait::equal;
use serde_json::Value;

const ROOM: &str = "featurevisor";
const TABLE: &str = include_str!("cases.json");

fn table() -> Value {
    serde_json::from_str(TABLE).expect("the table is JSON")
}

fn cases() -> Vec<Value> {
    let cases = table()["cases"].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty(), "the table is empty");
    cases
}

fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member].as_str().unwrap_or_else(|| panic!("no {member} in {case}"))
}

fn request(case: &Value) -> Request {
    let mut request = Request::new(text(case, "method"), text(case, "path"));
    for header in case["headers"].as_array().expect("a list of headers") {
        let part = |index: usize| header[index].as_str().expect("a name and a value");
        request = request.header(part(0), part(1));
    }
    match case["body"].as_str() {
        Some(body) => request.body(body),
        None => request,
    }
}

#[tokio::test]
async fn every_case_of_the_table_is_answered_as_it_says() {
    let node = Setup::memory().start().await;
    run_table(&node, |case| case["status"].as_u64().expect("a status")).await;
}

#[tokio::test]
async fn with_exact_status_a_wrong_secret_is_answered_200_as_partykit_does() {
    let node = Setup::memory().set("partykit.exact_status", true).start().await;
    run_table(&node, |case| match case["status"].as_u64().expect("a status") {
        401 => 200,
        other => other,
    })
    .await;
}

/// Runs all cases against two sockets and reports all that fail, not only the first.
async fn run_table(node: &Node, status: impl Fn(&Value) -> u64) {
    let mut sockets = node.connect_many(ROOM, 2).await;
    let mut failures = Vec::new();
    for (index, case) in cases().iter().enumerate() {
        if let Err(failure) = run_case(node, &mut sockets, case, status(case), index).await {
            failures.push(format!("- {}: {failure}", text(case, "id")));
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}

async fn run_case(
    node: &Node,
    sockets: &mut [Socket],
    case: &Value,
    status: u64,
    index: usize,
) -> Result<(), String> {
    let before = position(node).await;
    let answer = request(case).try_send(node.public).await?;
    let answered = check(&answer, case, status, sockets.len());
    let after = position(node).await;

    // A second publication, told apart by its revision, shows that what should come has come once and nothing else has.
    let fence = format!("fence-{index}");
    assert_eq!(node.refresh_to(ROOM, &fence).await.status, 200);
    let broadcast = case["broadcast"].as_bool().expect("whether it is broadcast");
    let mut wanted = vec![refresh_with(&fence)];
    if broadcast {
        wanted.insert(0, table()["frame"].as_str().expect("a frame").to_owned());
    }
    let mut heard = Ok(());
    for socket in sockets {
        let mut frames = Vec::new();
        while frames.last() != wanted.last() {
            frames.push(socket.frame().await);
        }
        heard = heard.and(equal("what a socket heard", &frames, &wanted));
    }
    answered?;
    equal("whether the room's position moved", &(before != after), &broadcast)?;
    heard
}

fn check(answer: &Answer, case: &Value, status: u64, sockets: usize) -> Result<(), String> {
    let wanted = text(case, "answer");
    equal("the status", &u64::from(answer.status), &status)?;
    if wanted == "*" {
        let sentence = answer.body.contains(' ') && !answer.body.contains('\n');
        equal("being one sentence", &sentence, &true)
            .map_err(|error| format!("{error}: {:?}", answer.body))?;
    } else {
        equal("the body", &answer.body, &wanted.replace("{n}", &sockets.to_string()))?;
    }
    equal("Content-Type", &answer.header("content-type"), &table()["content_type"].as_str())
}

async fn position(node: &Node) -> Option<String> {
    let answer = node.room(ROOM).await;
    answer.json()["position"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn all_forms_of_the_address_lead_into_one_room() {
    let node = Setup::memory().start().await;
    let one_room = [
        "/party/featurevisor",
        "/party/featurevisor/",
        "/party/featurevisor/anything/else",
        "/party/featurevisor?_pk=0b2f7a1e-8a39-4c7e-9f05-8f0d2a1c3e4b",
        "/parties/main/featurevisor",
        "/parties/main/featurevisor/anything?_pk=x&_pk=%00",
    ];
    let other_rooms = ["/party/FeatureVisor", "/party/feature%76isor", "/party/featurevisor2"];
    let mut inside = Vec::new();
    for path in one_room {
        inside.push(Socket::connect(node.public, path).await);
    }
    let mut outside = Vec::new();
    for path in other_rooms {
        outside.push(Socket::connect(node.public, path).await);
    }

    let answer = node.party(ROOM).await;

    assert_eq!(answer.body, format!("Message sent to {} connected participants", one_room.len()));
    for (socket, path) in inside.iter_mut().zip(one_room) {
        assert_eq!(socket.frame().await, REFRESH, "{path}");
    }
    for (socket, path) in outside.iter_mut().zip(other_rooms) {
        let request = Request::post(path).header("X-PartyKit-Secret", KEY).body("{}");
        assert_eq!(
            request.send(node.public).await.body,
            "Message sent to 1 connected participants",
            "{path}"
        );
        assert_eq!(socket.frame().await, REFRESH, "{path}");
        assert!(socket.frames_so_far().is_empty(), "{path} heard of another room");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_413() {
    let node = Setup::memory().set("publish.body_limit_bytes", 100).start().await;
    let publish = || Request::post("/party/featurevisor").header("X-PartyKit-Secret", KEY);
    let body = |length: usize| format!("\"{}\"", "x".repeat(length - 2));

    assert_eq!(publish().body(body(100)).send(node.public).await.status, 200);
    publish().body(body(101)).send(node.public).await.expect_sentence(413);
    let chunked = publish().header("Transfer-Encoding", "chunked").body(body(101));
    chunked.send(node.public).await.expect_sentence(413);
}

#[tokio::test]
async fn a_room_name_over_the_limit_is_refused_with_400() {
    let node = Setup::memory().start().await;
    assert_eq!(node.party(&"r".repeat(256)).await.status, 200);
    node.party(&"r".repeat(257)).await.expect_sentence(400);
}
