//! The metrics: all there from the start, and true.

use crate::support::http::{Answer, Request};
use crate::support::metrics::Metrics;
use crate::support::node::{KEY, Node, Setup, cluster, refresh};
use crate::support::raw::{RawSocket, TEXT, message, unmasked};
use crate::support::redis::TestRedis;
use crate::support::socket::{Socket, refresh_with};
use crate::support::wait::{SOON, equal, eventually};

const ROOM: &str = "featurevisor";
const PATH: &str = "/party/featurevisor";

/// Counters and gauges with the one label that each may have, and all its values.
const SAMPLES: [(&str, &str, &[&str]); 19] = [
    ("relay_connections", "", &[]),
    ("relay_rooms", "", &[]),
    ("relay_draining", "", &[]),
    ("relay_nodes", "", &[]),
    ("relay_connections_opened_total", "", &[]),
    (
        "relay_connections_closed_total",
        "reason",
        &["client", "ping_timeout", "protocol", "too_big", "rate", "drain", "error", "expired", "slow"],
    ),
    (
        "relay_handshakes_refused_total",
        "reason",
        &[
            "origin",
            "room",
            "full",
            "per_ip",
            "rate",
            "draining",
            "bad_request",
            "unauthorized",
            "forbidden",
            "issuer_unavailable",
            "room_full",
            "room_not_allowed",
        ],
    ),
    ("relay_requests_refused_total", "reason", &["malformed", "head_too_large", "head_timeout"]),
    ("relay_tls_handshakes_failed_total", "reason", &["timeout", "gone", "protocol"]),
    ("relay_tls_certificate_expiry_timestamp_seconds", "", &[]),
    ("relay_room_queries_total", "result", &QUERY_RESULTS),
    ("relay_publications_received_total", "source", &["live", "reconcile"]),
    ("relay_deliveries_total", "outcome", &["sent", "conflated", "replayed"]),
    ("relay_confirmations_missing_total", "", &[]),
    ("relay_redis_link_up", "", &[]),
    ("relay_redis_reconnects_total", "cause", &["closed", "probe", "error"]),
    ("relay_reload_failing", "file", &FILES),
    ("relay_jwks_fetches_total", "result", &["ok", "failed"]),
    ("process_open_fds", "", &[]),
];
const FILES: [&str; 6] =
    ["publish_secret", "publish_keys", "oidc_rules", "webhooks", "subscriber_keys", "certificate"];
const QUERY_RESULTS: [&str; 6] = ["ok", "not_found", "unauthorized", "forbidden", "invalid", "unavailable"];
const APIS: [&str; 3] = ["partykit", "v1", "webhook"];
const RESULTS: [&str; 9] = [
    "ok",
    "unconfirmed",
    "duplicate",
    "unauthorized",
    "forbidden",
    "invalid",
    "rate_limited",
    "unavailable",
    "ignored",
];
const HISTOGRAMS: [&str; 3] =
    ["relay_publish_duration_seconds", "relay_delivery_lag_seconds", "relay_redis_probe_seconds"];

fn expect_all_present(metrics: &Metrics) {
    for (name, label, values) in SAMPLES {
        if values.is_empty() {
            metrics.value(name, &[]);
        }
        for value in values {
            metrics.value(name, &[(label, value)]);
        }
        assert_eq!(
            metrics.of(name).len(),
            values.len().max(1),
            "{name} has other children too: {:?}",
            metrics.of(name)
        );
    }
    for api in APIS {
        for result in RESULTS {
            metrics.value("relay_publishes_total", &[("api", api), ("result", result)]);
        }
    }
    assert_eq!(metrics.of("relay_publishes_total").len(), APIS.len() * RESULTS.len());
    for file in FILES {
        for result in ["ok", "failed"] {
            metrics.value("relay_reloads_total", &[("file", file), ("result", result)]);
        }
    }
    for name in HISTOGRAMS {
        metrics.value(&format!("{name}_count"), &[]);
        metrics.value(&format!("{name}_sum"), &[]);
        assert_eq!(
            metrics.value(&format!("{name}_bucket"), &[("le", "+Inf")]),
            metrics.value(&format!("{name}_count"), &[])
        );
    }
    let build = metrics.of("relay_build_info");
    let [(labels, value)] = build.as_slice() else { panic!("one relay_build_info, not {build:?}") };
    assert_eq!(*value, 1.0);
    let names: Vec<_> = labels.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(names, ["revision", "version"]);
}

#[tokio::test]
async fn every_metric_with_every_label_is_there_from_the_start() {
    let redis = TestRedis::start().await;
    for setup in [Setup::memory(), Setup::redis(&redis)] {
        let node = setup.start().await;
        let answer = Request::get("/metrics").send(node.admin).await;
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain"), "{kind}");
        expect_all_present(&node.metrics().await);
        let families = SAMPLES.iter().map(|(name, ..)| *name).chain(HISTOGRAMS);
        for name in families.chain(["relay_publishes_total", "relay_build_info"]) {
            assert!(answer.body.contains(&format!("# HELP {name} ")), "{name} has no help text");
        }
    }
}

#[tokio::test]
async fn metrics_are_not_on_the_public_listener() {
    let node = Setup::memory().start().await;
    for path in ["/metrics", "/status", "/livez", "/readyz"] {
        assert_eq!(Request::get(path).send(node.public).await.status, 404, "{path}");
    }
}

/// What a counter of one node was at some moment, to be held against now.
struct Since {
    before: Metrics,
}

impl Since {
    async fn now(node: &Node) -> Self {
        Self { before: node.metrics().await }
    }

    /// Waits until the counter has grown by exactly that.
    async fn grew(&self, node: &Node, name: &str, labels: &[(&str, &str)], by: usize) {
        node.until_metric(name, labels, self.before.value(name, labels) + by as f64).await;
    }
}

#[tokio::test]
async fn two_nodes_count_sockets_rooms_and_publications_as_they_happened() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 2).await;
    let [a, b] = nodes.as_slice() else { unreachable!() };
    let (since_a, since_b) = (Since::now(a).await, Since::now(b).await);
    let mut on_a = a.connect_many(ROOM, 3).await;
    on_a.extend(a.connect_many("another-room", 1).await);
    let mut on_b = b.connect_many(ROOM, 2).await;

    for (node, since, sockets, rooms) in [(a, &since_a, 4, 2), (b, &since_b, 2, 1)] {
        node.until_metric("relay_connections", &[], f64::from(sockets)).await;
        node.until_metric("relay_rooms", &[], f64::from(rooms)).await;
        since.grew(node, "relay_connections_opened_total", &[], sockets as usize).await;
        assert_eq!(node.metric("relay_nodes", &[]).await, 2.0);
        assert_eq!(node.metric("relay_redis_link_up", &[]).await, 1.0);
        assert_eq!(node.metric("relay_draining", &[]).await, 0.0);
    }

    for revision in ["1", "2", "3"] {
        assert_eq!(a.refresh_to(ROOM, revision).await.status, 200);
        for socket in on_a.iter_mut().take(3).chain(&mut on_b) {
            socket.expect_frame(&refresh_with(revision)).await;
        }
    }
    assert_eq!(b.party("another-room").await.status, 200);
    on_a[3].frame().await;
    let late = b.connect(ROOM).await;

    since_a.grew(a, "relay_publishes_total", &[("api", "v1"), ("result", "ok")], 3).await;
    since_a.grew(a, "relay_publish_duration_seconds_count", &[], 3).await;
    since_b.grew(b, "relay_publishes_total", &[("api", "partykit"), ("result", "ok")], 1).await;
    since_b.grew(b, "relay_publish_duration_seconds_count", &[], 1).await;
    for (node, since, sent, replayed) in [(a, &since_a, 10, 0), (b, &since_b, 6, 1)] {
        since.grew(node, "relay_publications_received_total", &[("source", "live")], 4).await;
        since.grew(node, "relay_publications_received_total", &[("source", "reconcile")], 0).await;
        since.grew(node, "relay_deliveries_total", &[("outcome", "sent")], sent).await;
        since.grew(node, "relay_deliveries_total", &[("outcome", "conflated")], 0).await;
        since.grew(node, "relay_deliveries_total", &[("outcome", "replayed")], replayed).await;
        since.grew(node, "relay_confirmations_missing_total", &[], 0).await;
        let metrics = node.metrics().await;
        assert!(metrics.value("relay_delivery_lag_seconds_count", &[]) > 0.0);
        assert!(metrics.value("relay_redis_probe_seconds_count", &[]) > 0.0);
        assert_eq!(
            metrics.of("relay_redis_reconnects_total").iter().map(|(_, value)| value).sum::<f64>(),
            0.0
        );
    }
    drop((on_a, on_b, late));
    for (node, since, closed) in [(a, &since_a, 4.0), (b, &since_b, 3.0)] {
        node.until_metric("relay_connections", &[], 0.0).await;
        node.until_metric("relay_rooms", &[], 0.0).await;
        let reasons = |metrics: &Metrics| -> f64 {
            metrics.of("relay_connections_closed_total").iter().map(|(_, value)| value).sum()
        };
        assert_eq!(reasons(&node.metrics().await) - reasons(&since.before), closed);
    }
}

#[tokio::test]
async fn sockets_that_end_are_counted_by_reason() {
    let node = Setup::memory().start().await;
    let mut polite = node.connect(ROOM).await;
    polite.close(Some(1000)).await;
    let mut rude = RawSocket::connect(node.public, PATH).await;
    rude.send(&unmasked(TEXT, b"hello")).await;
    let mut verbose = RawSocket::connect(node.public, PATH).await;
    verbose.send(&message(TEXT, &[b'x'; 5000])).await;
    for reason in ["client", "protocol", "too_big"] {
        node.until_metric("relay_connections_closed_total", &[("reason", reason)], 1.0).await;
    }
    node.until_metric("relay_connections", &[], 0.0).await;
    for reason in ["ping_timeout", "drain", "error", "expired", "slow"] {
        assert_eq!(
            node.metric("relay_connections_closed_total", &[("reason", reason)]).await,
            0.0,
            "{reason}"
        );
    }
    assert_eq!(node.metric("relay_connections_opened_total", &[]).await, 3.0);
}

#[tokio::test]
async fn refused_publishes_are_counted_by_api_and_result() {
    let node = Setup::memory().set("publish.body_limit_bytes", 100).start().await;
    let party = |key: &str| Request::post(PATH).header("X-PartyKit-Secret", key);
    let v1 = |key: &str| Request::post("/v1/rooms/featurevisor/refresh").bearer(key);
    let long = format!("\"{}\"", "x".repeat(200));
    for request in [
        party("nope").body("{}"),
        party(KEY).body("{broken"),
        party(KEY).body(long.clone()),
        party(KEY).body("{}"),
        v1("nope"),
        v1(KEY).body("{broken"),
        v1(KEY).body(long),
        v1(KEY).body("{\"revision\": 1}"),
        v1(KEY).header("Idempotency-Key", "one"),
        v1(KEY).header("Idempotency-Key", "one"),
        v1(KEY).header("Idempotency-Key", "one"),
    ] {
        request.send(node.public).await;
    }
    let wanted =
        [("partykit", [1, 0, 0, 1, 0, 2, 0, 0, 0]), ("v1", [1, 0, 2, 1, 0, 3, 0, 0, 0]), ("webhook", [0; 9])];
    let metrics = node.metrics().await;
    for (api, counts) in wanted {
        for (result, count) in RESULTS.iter().zip(counts) {
            let counted = metrics.value("relay_publishes_total", &[("api", api), ("result", result)]);
            assert_eq!(counted, f64::from(count), "{api} {result}");
        }
    }
}

#[tokio::test]
async fn questions_for_a_room_are_counted_by_result() {
    let node = Setup::memory().set("rooms.allow", "featurevisor,unheard-of").start().await;
    assert_eq!(node.refresh(ROOM).await.status, 200);
    let of = |room: &str| Request::get(&format!("/v1/rooms/{room}"));
    for (request, status) in [
        (of(ROOM).bearer(KEY), 200),
        (of("unheard-of").bearer(KEY), 404),
        (of(ROOM), 401),
        (of(ROOM).bearer("nope"), 401),
        (of("elsewhere").bearer(KEY), 403),
        (of("%00").bearer(KEY), 400),
        (of("%ff").bearer(KEY), 400),
        (Request::post("/v1/rooms/featurevisor").bearer(KEY), 405),
    ] {
        assert_eq!(request.send(node.public).await.status, status);
    }
    let metrics = node.metrics().await;
    for (result, count) in QUERY_RESULTS.iter().zip([1, 1, 2, 1, 3, 0]) {
        let counted = metrics.value("relay_room_queries_total", &[("result", result)]);
        assert_eq!(counted, f64::from(count), "{result}");
    }
    let publishes: f64 = metrics.of("relay_publishes_total").iter().map(|(_, value)| value).sum();
    assert_eq!(publishes, 1.0, "a question was counted as a publish");
}

#[tokio::test]
async fn missing_confirmations_and_refusals_for_want_of_redis_are_counted() {
    let mut redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis).set("publish.confirm_timeout_ms", 100), 2).await;
    let since = Since::now(&nodes[0]).await;
    nodes[1].freeze();
    assert_eq!(nodes[0].refresh(ROOM).await.status, 202);
    since.grew(&nodes[0], "relay_publishes_total", &[("api", "v1"), ("result", "unconfirmed")], 1).await;
    since.grew(&nodes[0], "relay_confirmations_missing_total", &[], 1).await;
    nodes[1].thaw();

    redis.kill9().await;
    nodes[0].until_metric("relay_redis_link_up", &[], 0.0).await;
    assert_eq!(nodes[0].refresh(ROOM).await.status, 503);
    assert_eq!(nodes[0].party(ROOM).await.status, 503);
    for api in ["partykit", "v1"] {
        since.grew(&nodes[0], "relay_publishes_total", &[("api", api), ("result", "unavailable")], 1).await;
    }
    assert_eq!(nodes[0].room(ROOM).await.status, 503);
    since.grew(&nodes[0], "relay_room_queries_total", &[("result", "unavailable")], 1).await;
    redis.restart().await;
    nodes[0].until_metric("relay_redis_link_up", &[], 1.0).await;
    let closed = nodes[0].metric("relay_redis_reconnects_total", &[("cause", "closed")]).await;
    assert!(closed >= 1.0, "the server's death was counted as another cause: {closed}");
}

#[tokio::test]
async fn a_publication_to_a_socket_that_is_still_busy_with_the_last_one_is_conflated() {
    let node = Setup::memory().set("server.workers", 1).start().await;
    let mut sockets = node.connect_many(ROOM, 3).await;
    let to = node.public;
    let calls = (0..200)
        .map(|call| async move { refresh(ROOM).body(format!("{{\"revision\":\"{call}\"}}")).send(to).await });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let newest = answers.iter().map(Answer::json).max_by_key(|body| crate::publish::position(body).1);
    let newest = newest.expect("answers")["revision"].as_str().expect("a revision").to_owned();
    let mut frames = 0;
    for socket in &mut sockets {
        frames += until_frame(socket, &refresh_with(&newest)).await;
    }
    // Each socket of each publication is counted once: as sent, or as replaced by a newer one before it was.
    eventually(SOON, "sent and conflated add up", async || {
        let metrics = node.metrics().await;
        let count = |outcome| metrics.value("relay_deliveries_total", &[("outcome", outcome)]);
        equal("sent", &count("sent"), &(frames as f64))?;
        equal("sent and conflated", &(count("sent") + count("conflated")), &600.0)
    })
    .await;
}

/// Reads up to that frame and says how many came; older publications may not come after newer ones.
async fn until_frame(socket: &mut Socket, wanted: &str) -> usize {
    let mut count = 1;
    while socket.frame().await != wanted {
        count += 1;
    }
    assert_eq!(socket.frames_so_far(), Vec::<String>::new(), "frames after the newest");
    count
}
