//! More connections, handshakes and publishes than there is room for.

use super::{PATH, expect_unharmed};
use crate::support::hose::Hose;
use crate::support::http::Request;
use crate::support::node::{Node, Setup};
use crate::support::socket::handshake;
use futures_util::future::join_all;

fn upgrade(node: &Node) -> Vec<u8> {
    Request::get(PATH).upgrade().encode(node.public)
}

#[tokio::test]
async fn a_flood_of_sockets_from_many_addresses_takes_only_each_addresss_share() {
    let node = Setup::memory().set("server.max_connections_per_ip", 2).start().await;
    let mut open = Vec::new();
    let mut refused = 0;
    for address in 2..=101 {
        for _ in 0..5 {
            let mut hose = Hose::connect_from(&format!("127.0.0.{address}"), node.public).await;
            hose.send(&upgrade(&node)).await;
            match hose.answer().await.expect("an answer").status {
                101 => open.push(hose),
                429 => refused += 1,
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!((open.len(), refused), (200, 300));
    assert_eq!(node.metric("relay_handshakes_refused_total", &[("reason", "per_ip")]).await, 300.0);
    expect_unharmed(&node).await;
    drop(open);
    node.until_metric("relay_connections", &[], 0.0).await;
}

#[tokio::test]
async fn a_flood_of_handshakes_over_the_rate_is_refused_and_publishes_go_on() {
    let node = Setup::memory().set("server.handshakes_per_second", 20).start().await;
    let mut app = node.connect("app").await;
    let flood = join_all((0..500).map(|_| handshake(node.public, PATH, &[])));
    let publishes = async {
        for _ in 0..20 {
            assert_eq!(node.refresh("app").await.status, 200);
        }
    };
    let (answers, ()) = tokio::join!(flood, publishes);
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    let taken = answers.iter().filter(|answer| answer.status == 101).count();
    assert!(refused > 0 && taken > 0 && refused + taken == 500, "{taken} taken, {refused} refused");
    app.frame().await;
    app.expect_alive().await;
    assert!(!node.output().contains("panicked"), "{}", node.output());
}

#[tokio::test]
async fn a_flood_of_sockets_in_rooms_of_their_own_leaves_no_room_behind() {
    let node = Setup::memory().start().await;
    let mut open = Vec::new();
    for room in 0..1000 {
        let mut hose = Hose::connect(node.public).await;
        hose.send(&Request::get(&format!("/party/room-{room}")).upgrade().encode(node.public)).await;
        assert_eq!(hose.answer().await.expect("an answer").status, 101);
        open.push(hose);
    }
    assert_eq!(node.metric("relay_rooms", &[]).await, 1000.0);
    expect_unharmed(&node).await;
    drop(open);
    node.until_metric("relay_rooms", &[], 0.0).await;
    node.until_metric("relay_connections", &[], 0.0).await;
}

#[tokio::test]
async fn connections_that_come_and_go_at_once_leave_nothing_behind() {
    let node = Setup::memory().start().await;
    let upgrade = upgrade(&node);
    for round in 0..1000 {
        let mut hose = Hose::connect(node.public).await;
        // Nothing, a part of a handshake, or a whole one whose answer nobody waits for.
        hose.send(&upgrade[..upgrade.len() * (round % 3) / 2]).await;
        if round % 2 == 0 {
            hose.reset();
        }
    }
    expect_unharmed(&node).await;
    node.until_metric("relay_connections", &[], 0.0).await;
    node.until_metric("relay_rooms", &[], 0.0).await;
}

#[tokio::test]
async fn a_flood_of_publishes_without_a_key_is_refused_and_those_with_one_go_on() {
    let node = Setup::memory().start().await;
    let mut app = node.connect("featurevisor").await;
    let wrong = || Request::post("/v1/rooms/featurevisor/refresh").bearer("wrong");
    let flood = join_all((0..500).map(|_| async { wrong().send(node.public).await.status }));
    let (statuses, answer) = tokio::join!(flood, node.refresh("featurevisor"));
    assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    assert_eq!(answer.status, 200, "{answer:?}");
    app.frame().await;
    expect_unharmed(&node).await;
}
