//! Redis goes away, freezes, comes back empty or as it was: sockets stay, publishes are refused in words, and whatever could have
//! been missed is made good.

use crate::publish::position;
use crate::support::http::Answer;
use crate::support::node::{Node, Setup, cluster, until_cluster_of};
use crate::support::proxy::Proxy;
use crate::support::redis::TestRedis;
use crate::support::socket::{Socket, refresh_with};
use crate::support::wait::{SOON, equal, eventually, throughout};
use std::time::Duration;
use tokio::time::Instant;

const ROOM: &str = "featurevisor";
const ROOMS: [&str; 3] = ["featurevisor", "another-room", "never-published"];

/// Longer than the retry budget of any client library.
const OUTAGE: Duration = Duration::from_secs(22);

/// By when every socket has been told after Redis came back empty.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// By when a link that does not answer is reported down.
const DOWN_WITHIN: Duration = Duration::from_secs(3);

/// Waits until metrics and status say so of the link, with the last error when it is down.
async fn until_link(node: &Node, up: bool, within: Duration) {
    node.until_metric_within(within, "relay_redis_link_up", &[], f64::from(u8::from(up))).await;
    let broker = node.status().await["broker"].clone();
    assert_eq!(broker["link"] == "up", up, "{broker}");
    let error = broker["last_error"].as_str().unwrap_or_default();
    assert!(up || !error.is_empty(), "no last error: {broker}");
}

/// Panics unless the publish was refused because the broker is away.
fn expect_refused(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    answer.expect_retry_after();
    if answer.body.starts_with('{') {
        answer.expect_problem(503, "broker_unavailable");
    } else {
        answer.expect_sentence(503);
    }
}

/// Sockets of all rooms on all nodes.
async fn everywhere(nodes: &[Node], each: usize) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for node in nodes {
        for room in ROOMS {
            sockets.extend(node.connect_many(room, each).await);
        }
    }
    sockets
}

async fn expect_told(sockets: &mut [Socket], since: Instant) {
    for socket in sockets {
        let left = TOLD_WITHIN.saturating_sub(since.elapsed());
        let frame = socket.frame_within(left).await;
        assert!(frame.starts_with(r#"{"type":"refresh""#), "{frame}");
    }
}

/// Waits until a publish to the node is answered 200 again, and gives that answer.
async fn until_published(node: &Node, room: &str, revision: &str) -> Answer {
    eventually(SOON, "a publish is answered 200", async || {
        let answer = node.refresh_to(room, revision).await;
        if answer.status == 200 { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
    .await
}

#[tokio::test]
async fn through_a_long_outage_publishes_are_refused_and_sockets_stay_and_then_all_are_told() {
    let mut redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let mut sockets = everywhere(&nodes, 3).await;
    let before = nodes[0].refresh(ROOM).await.json();
    nodes[1].party("another-room").await;
    redis.kill9().await;

    let mut turn = 0;
    throughout(OUTAGE, "publishes are refused", async || {
        let node = &nodes[turn % 2];
        turn += 1;
        let answer = if turn % 4 < 2 { node.refresh(ROOM).await } else { node.party(ROOM).await };
        expect_refused(&answer);
        equal("readiness", &node.readiness().await, &200)
    })
    .await;
    for socket in &mut sockets {
        socket.expect_alive().await;
        socket.frames_so_far();
    }
    for node in &nodes {
        until_link(node, false, SOON).await;
    }
    redis.restart().await;

    expect_told(&mut sockets, Instant::now()).await;
    for node in &nodes {
        until_link(node, true, SOON).await;
        // One line for the change, not one for each try.
        let lines = node.log().iter().filter(|event| event["message"] == "link down").count();
        assert_eq!(lines, 1, "the log tells of one outage {lines} times");
    }
    until_cluster_of(&nodes.iter().collect::<Vec<_>>(), 2).await;
    let after = until_published(&nodes[0], ROOM, "after").await.json();
    assert_eq!(after["connections"], 6);
    assert_ne!(position(&after).0, position(&before).0, "an empty Redis begins another epoch");
}

#[tokio::test]
async fn after_a_restart_with_data_all_are_told_and_the_positions_go_on() {
    let mut redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let mut sockets = everywhere(&nodes, 2).await;
    let before = nodes[0].refresh(ROOM).await.json();
    nodes[1].until_metric("relay_publications_received_total", &[("source", "live")], 1.0).await;
    for socket in &mut sockets {
        socket.expect_alive().await;
        socket.frames_so_far();
    }

    redis.restart_with_data().await;

    expect_told(&mut sockets, Instant::now()).await;
    let after = until_published(&nodes[1], ROOM, "after").await.json();
    assert_eq!(position(&after).0, position(&before).0, "the head was kept, so its epoch goes on");
    assert!(position(&after).1 > position(&before).1, "{after} after {before}");
}

#[tokio::test]
async fn a_frozen_redis_is_reported_down_within_3_s_and_heals() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let mut sockets = everywhere(&nodes, 1).await;
    redis.freeze();
    let frozen = Instant::now();

    for node in &nodes {
        until_link(node, false, DOWN_WITHIN.saturating_sub(frozen.elapsed())).await;
    }
    throughout(
        Duration::from_secs(5).saturating_sub(frozen.elapsed()),
        "publishes are refused",
        async || {
            expect_refused(&nodes[0].refresh(ROOM).await);
            equal("readiness", &nodes[1].readiness().await, &200)
        },
    )
    .await;
    redis.thaw();

    for node in &nodes {
        until_link(node, true, SOON).await;
    }
    let answer = until_published(&nodes[0], ROOM, "after").await.json();
    assert_eq!(answer["connections"], 2);
    for socket in &mut sockets {
        socket.expect_alive().await;
    }
    for node in &nodes {
        let reconnects = node.metrics().await;
        let reconnects: f64 =
            reconnects.of("relay_redis_reconnects_total").iter().map(|(_, value)| value).sum();
        assert!(reconnects >= 1.0, "the link was rebuilt without being counted");
    }
}

#[tokio::test]
async fn a_node_that_starts_while_redis_is_away_serves_sockets_and_heals_by_itself() {
    let mut redis = TestRedis::away();
    let node = Setup::redis(&redis).start_unready().await;
    let mut socket = node.connect(ROOM).await;
    assert_eq!(node.readiness().await, 503);
    until_link(&node, false, SOON).await;
    expect_refused(&node.refresh(ROOM).await);
    expect_refused(&node.party(ROOM).await);
    socket.expect_alive().await;

    redis.restart().await;

    node.until_ready().await;
    until_link(&node, true, SOON).await;
    until_published(&node, ROOM, "42").await;
    eventually(SOON, "the publication arrives", async || {
        equal("the frame", &socket.frame().await, &refresh_with("42"))
    })
    .await;
}

#[tokio::test]
async fn what_another_node_published_while_the_link_was_cut_is_made_good() {
    let redis = TestRedis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let whole = Setup::redis(&redis).start().await;
    let cut_off = Setup::redis(&redis).set("redis.url", proxy.url()).start().await;
    until_cluster_of(&[&whole, &cut_off], 2).await;
    let mut here = whole.connect(ROOM).await;
    let mut there = cut_off.connect(ROOM).await;
    whole.refresh_to(ROOM, "before").await;
    there.expect_frame(&refresh_with("before")).await;

    proxy.cut();
    until_link(&cut_off, false, SOON).await;
    let answer = whole.refresh_to(ROOM, "meanwhile").await;
    assert_eq!(answer.status, 202, "a live node cannot have confirmed: {answer:?}");
    assert_eq!(answer.json()["connections"], 1);
    assert_eq!(there.frames_so_far(), Vec::<String>::new());
    proxy.heal();

    there.expect_frame(&refresh_with("meanwhile")).await;
    let reconciled = cut_off.metric("relay_publications_received_total", &[("source", "reconcile")]).await;
    assert!(reconciled >= 1.0, "it came by another way");
    for revision in ["before", "meanwhile"] {
        here.expect_frame(&refresh_with(revision)).await;
    }
    until_published(&whole, ROOM, "after").await;
    here.expect_frame(&refresh_with("after")).await;
    there.expect_frame(&refresh_with("after")).await;
}

/// Two nodes. Of what Redis sends to the second, the proxy can lose something without a trace.
async fn whole_and_lossy(redis: &TestRedis) -> (Node, Node, Proxy) {
    let proxy = Proxy::to(redis.port()).await;
    let whole = Setup::redis(redis).start().await;
    let lossy =
        Setup::redis(redis).set("redis.url", proxy.url()).set("redis.reconcile_seconds", 1).start().await;
    until_cluster_of(&[&whole, &lossy], 2).await;
    (whole, lossy, proxy)
}

#[tokio::test]
async fn a_publication_lost_without_a_trace_is_made_good_by_the_timer() {
    let redis = TestRedis::start().await;
    let (whole, lossy, proxy) = whole_and_lossy(&redis).await;
    let mut socket = lossy.connect("room-of-the-lost").await;
    let reconnects = |metrics: &crate::support::metrics::Metrics| -> f64 {
        metrics.of("relay_redis_reconnects_total").iter().map(|(_, value)| value).sum()
    };
    let before = reconnects(&lossy.metrics().await);
    // The room's head is known on the lossy node once its socket was told of it.
    whole.refresh_to("room-of-the-lost", "41").await;
    socket.expect_frame(&refresh_with("41")).await;

    proxy.swallow_next(b"room-of-the-lost");
    let answer = whole.refresh_to("room-of-the-lost", "42").await;

    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    socket.expect_frame(&refresh_with("42")).await;
    assert!(proxy.has_swallowed(), "nothing was lost");
    let metrics = lossy.metrics().await;
    assert_eq!(metrics.value("relay_publications_received_total", &[("source", "reconcile")]), 1.0);
    assert_eq!(reconnects(&metrics), before, "the link broke, so this was not the timer");
}

#[tokio::test]
async fn killed_subscriptions_lose_no_publication() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let mut sockets = Vec::new();
    for node in &nodes {
        sockets.extend(node.connect_many(ROOM, 3).await);
    }
    for round in 0..8 {
        let revision = format!("round-{round}");
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        eventually(SOON, "the publish is taken", async || {
            let answer = nodes[round % 2].refresh_to(ROOM, &revision).await;
            match answer.status {
                200 | 202 => Ok(()),
                _ => Err(format!("{answer:?}")),
            }
        })
        .await;
        let wanted = refresh_with(&revision);
        for socket in &mut sockets {
            // A heal may add a refresh of what came before; what must come is this revision.
            eventually(SOON, "each socket is told of the publication", async || {
                equal("the frame", &socket.frame().await, &wanted)
            })
            .await;
        }
    }
    for node in &nodes {
        until_link(node, true, SOON).await;
        assert_eq!(node.readiness().await, 200);
    }
}

#[tokio::test]
async fn the_timer_runs_although_rooms_come_and_go() {
    let redis = TestRedis::start().await;
    let (whole, lossy, proxy) = whole_and_lossy(&redis).await;
    let mut socket = lossy.connect("room-of-the-lost").await;
    proxy.swallow_next(b"room-of-the-lost");
    whole.refresh_to("room-of-the-lost", "42").await;
    let mut rooms = 0;
    let frame = eventually(SOON, "the socket is told", async || {
        rooms += 1;
        drop(lossy.connect(&format!("room-{rooms}")).await);
        socket.try_frame(Duration::from_millis(300)).await.ok_or_else(|| "silence".to_owned())
    })
    .await;
    assert_eq!(frame, refresh_with("42"));
}
