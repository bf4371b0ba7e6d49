//! What operators see of Redis: the state of the link, why it broke, and one line in the log for each change.

use crate::support::node::{Node, Setup, until_cluster_of};
use crate::support::proxy::{Hole, Proxy};
use crate::support::redis::TestRedis;
use crate::support::wait::{SOON, equal, eventually, throughout};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const DOWN_WITHIN: Duration = Duration::from_secs(3);
const HEALED_WITHIN: Duration = Duration::from_secs(2);

/// Ticks of the processor's time per second (`getconf CLK_TCK`, 100 on every Linux).
const TICKS: f64 = 100.0;

/// The promise is 2 %; this is no measurement on a quiet machine, and a loop without a pause takes all of a core.
const BUSY: f64 = 0.1;

/// The lines that tell of the link.
fn link_lines(node: &Node) -> Vec<String> {
    let log = node.log().into_iter();
    let lines = log.filter(|line| line["target"].as_str().is_some_and(|target| target.contains("redis")));
    lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn until_link(node: &Node, wanted: &str, within: Duration) -> Value {
    eventually(within, &format!("the link is {wanted}"), async || {
        let broker = node.status().await["broker"].clone();
        equal("link", &broker["link"], &json!(wanted)).map(|()| broker)
    })
    .await
}

/// Seconds of processor time that the node has used (proc(5), the 14th and 15th field of stat).
fn processor_time(node: &Node) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.process())).expect("the node runs");
    let (_, after_name) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = |field: usize| -> f64 {
        after_name.split_whitespace().nth(field - 3).and_then(|ticks| ticks.parse().ok()).expect("ticks")
    };
    (ticks(14) + ticks(15)) / TICKS
}

#[tokio::test]
async fn status_and_metrics_tell_servers_topology_probe_and_last_error() {
    let mut redis = TestRedis::start().await;
    let run_id = redis.info("server").await.expect("INFO")["run_id"].clone();
    let node = Setup::redis(&redis).start().await;

    let broker = until_link(&node, "up", SOON).await;
    let server = json!({ "address": redis.address(), "run_id": run_id, "buckets": 16 });
    assert_eq!(broker["servers"], json!([server]));
    assert_eq!((&broker["kind"], &broker["mode"]), (&json!("redis"), &json!("standalone")));
    assert_eq!(broker["last_error"], Value::Null);
    for (mode, wanted) in [("standalone", 1.0), ("sentinel", 0.0), ("cluster", 0.0)] {
        assert_eq!(node.metric("relay_redis_mode", &[("mode", mode)]).await, wanted, "{mode}");
    }
    // Younger than an interval and the time limit of a probe, for as long as the link is up.
    let fresh = async || {
        let age = node.status().await["broker"]["probe_age_seconds"].as_f64().expect("an age");
        if age < 2.5 { Ok(()) } else { Err(format!("the latest probe is {age} s old")) }
    };
    throughout(Duration::from_secs(2), "probes come back", fresh).await;
    let probed = node.metric("relay_redis_last_probe_timestamp_seconds", &[]).await;
    assert!(
        node.status().await["broker"]["probe_round_trip_seconds"].as_f64().is_some_and(|trip| trip < 1.0)
    );

    redis.kill9().await;
    let broker = until_link(&node, "down", DOWN_WITHIN).await;
    assert_ne!(broker["last_error"], Value::Null);
    eventually(SOON, "the probe's age and the link's grow", async || {
        let broker = node.status().await["broker"].clone();
        let grown = ["probe_age_seconds", "link_seconds"].map(|field| broker[field].as_f64() > Some(1.0));
        if grown == [true, true] { Ok(()) } else { Err(broker.to_string()) }
    })
    .await;
    assert!(node.metric("relay_redis_last_probe_timestamp_seconds", &[]).await >= probed);

    redis.restart().await;
    let broker = until_link(&node, "up", SOON).await;
    assert_ne!(broker["servers"][0]["run_id"], run_id, "another process has another run id");
    assert_ne!(broker["last_error"], Value::Null, "what was wrong last is still told");
}

/// Redis is gone, the way to it is cut, the way to it is a black hole.
#[tokio::test]
async fn an_outage_is_one_line_in_the_log_for_each_cause_and_costs_no_processor_time() {
    let (mut killed, redis) = (TestRedis::start().await, TestRedis::start().await);
    let (cut, hole) = (Proxy::to(redis.port()).await, Proxy::to(redis.port()).await);
    let mut nodes = Vec::new();
    for url in [killed.url(), cut.url(), hole.url()] {
        nodes.push(Setup::memory().set("redis.url", url).start().await);
    }
    let mut sockets = Vec::new();
    for node in &nodes {
        assert_eq!(link_lines(node), ["link up"]);
        sockets.push(node.connect("featurevisor").await);
    }
    killed.kill9().await;
    cut.cut();
    hole.black_hole(Hole::BothWays);
    for node in &nodes {
        until_link(node, "down", DOWN_WITHIN).await;
    }

    let (begun, used) = (Instant::now(), nodes.iter().map(processor_time).collect::<Vec<_>>());
    throughout(Duration::from_secs(10), "the sockets stay open", async || {
        sockets.iter().try_for_each(|socket| equal("the end", &socket.ending(), &None))
    })
    .await;
    let mut lines = Vec::new();
    for (node, used) in nodes.iter().zip(used) {
        let share = (processor_time(node) - used) / begun.elapsed().as_secs_f64();
        eprintln!("{:.2} % of a core while Redis is away", share * 100.0);
        assert!(share < BUSY, "{:.1} % of a core while Redis is away", share * 100.0);
        assert!(processor_time(node) > 0.0, "no processor time is counted at all");
        lines.push(link_lines(node));
    }
    for socket in &mut sockets {
        socket.expect_alive().await;
    }
    for lines in &mut lines {
        assert_eq!(lines[..2], ["link up", "link down"]);
        // A connection first breaks and then cannot be made: some causes, and no line for each of a dozen attempts.
        assert!(lines.len() <= 4, "{lines:?}");
    }

    killed.restart().await;
    cut.heal();
    hole.heal();
    for (node, before) in nodes.iter().zip(lines) {
        until_link(node, "up", SOON).await;
        assert_eq!(link_lines(node)[before.len()..], ["link up"]);
    }
}

#[tokio::test]
async fn a_black_hole_is_noticed_within_3_s_and_its_end_within_2_s() {
    let redis = TestRedis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let whole = Setup::redis(&redis).start().await;
    let node = Setup::redis(&redis).set("redis.url", proxy.url()).start().await;
    until_cluster_of(&[&whole, &node], 2).await;
    let mut healed = Vec::new();
    for hole in [Hole::BothWays, Hole::ToClient, Hole::BothWays, Hole::ToServer, Hole::BothWays] {
        proxy.black_hole(hole);
        let broker = until_link(&node, "down", DOWN_WITHIN).await;
        assert!(broker["last_error"].as_str().is_some_and(|error| error.contains("probe")), "{broker}");
        // Attempts are under way when it ends, and pauses between them are at their longest.
        throughout(Duration::from_secs(2), "the link stays down", async || {
            equal("link", &node.status().await["broker"]["link"], &json!("down"))
        })
        .await;
        proxy.heal();
        let ended = Instant::now();
        until_link(&node, "up", SOON).await;
        healed.push(ended.elapsed());
    }
    healed.sort();
    assert!(healed[healed.len() / 2] < HEALED_WITHIN, "{healed:?}");
    eprintln!("healed after {healed:?}");
    let metrics = node.metrics().await;
    let lost: f64 = metrics.of("relay_redis_reconnects_total").iter().map(|(_, value)| value).sum();
    assert_eq!(lost, healed.len() as f64, "each loss is counted once");
}
