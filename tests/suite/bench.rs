//! The load generator against a real node: that it runs, ends by itself, and counts right. How fast anything is, is not said here.

use crate::support::node::{KEY, Node, Setup, cluster};
use crate::support::ports;
use crate::support::program::{self, Files, Finished, environment, run};
use crate::support::redis::TestRedis;
use crate::support::wait::{SOON, eventually};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

const SOCKETS: usize = 50;

/// A run against these nodes with few sockets and little time.
async fn bench(nodes: &[&Node], scenario: &str, more: &[&str]) -> Finished {
    let files = Files::new();
    let key = files.write("key", KEY);
    let connections = SOCKETS.to_string();
    let urls: Vec<_> = nodes.iter().map(|node| format!("http://{}", node.public)).collect();
    let pids: Vec<_> = nodes.iter().map(|node| node.process().to_string()).collect();
    let mut arguments = vec!["bench", scenario, "--key-file", &key, "--connections", &connections];
    for (url, pid) in urls.iter().zip(&pids) {
        arguments.extend(["--url", url, "--server-pid", pid]);
    }
    arguments.extend(["--duration", "1", "--repeat", "2", "--json", "-"]);
    arguments.extend(more);
    run(&arguments, &BTreeMap::new()).await
}

/// The result of a run that went well.
fn result(finished: Finished) -> Value {
    let finished = finished.expect_code(0);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:#?}"))
}

fn figure(result: &Value, name: &str) -> f64 {
    result["figures"][name].as_f64().unwrap_or_else(|| panic!("no {name} in {result:#}"))
}

/// Panics unless each publish came to each socket once.
fn all_delivered(result: &Value, publishes: f64) {
    assert_eq!(figure(result, "deliveries"), publishes * SOCKETS as f64, "{result:#}");
}

#[tokio::test]
async fn the_connect_and_idle_benches_count_every_socket() {
    let node = Setup::memory().start().await;
    let connected = result(bench(&[&node], "connect", &[]).await);
    assert_eq!(figure(&connected, "connected"), SOCKETS as f64);
    assert_eq!(figure(&connected, "failures"), 0.0);
    assert!(connected["floor"]["connected"].is_number(), "{connected:#}");
    let idle = result(bench(&[&node], "idle", &[]).await);
    assert_eq!(figure(&idle, "sockets"), SOCKETS as f64);
    assert!(figure(&idle, "rss_after_bytes") > 0.0, "{idle:#}");
}

#[tokio::test]
async fn a_broadcast_bench_counts_every_delivery_and_compares_with_the_floor() {
    let node = Setup::memory().start().await;
    let found = result(bench(&[&node], "broadcast", &[]).await);
    all_delivered(&found, 2.0);
    assert_eq!(found["floor"]["deliveries"], found["figures"]["deliveries"], "{found:#}");
    for name in ["last_ms", "deliveries_per_second", "cpu_us_per_delivery"] {
        assert!(found["ratios"][name].is_number(), "no ratio of {name} in {found:#}");
    }
    assert_eq!(found["runs"].as_array().map(Vec::len), Some(2), "{found:#}");
    assert!(found["generator_bound"].is_boolean(), "{found:#}");
}

#[tokio::test]
async fn the_sustained_and_rooms_benches_count_every_delivery() {
    let node = Setup::memory().start().await;
    let sustained = result(bench(&[&node], "sustained", &["--no-floor"]).await);
    all_delivered(&sustained, figure(&sustained, "publishes"));
    let rooms = result(bench(&[&node], "rooms", &["--rooms", "10", "--processes", "2"]).await);
    all_delivered(&rooms, figure(&rooms, "publishes") / 10.0);
    let at_a_rate = ["--rooms", "10", "--rate", "50", "--no-floor"];
    let rooms = result(bench(&[&node], "rooms", &at_a_rate).await);
    assert_eq!(figure(&rooms, "publishes"), 50.0);
    all_delivered(&rooms, 5.0);
}

#[tokio::test]
async fn a_latency_bench_spreads_sockets_and_publishes_over_nodes() {
    let redis = TestRedis::start().await;
    let nodes = cluster(&Setup::redis(&redis), 3).await;
    let found = result(bench(&nodes.iter().collect::<Vec<_>>(), "latency", &["--rate", "40"]).await);
    assert_eq!(figure(&found, "publishes"), 40.0);
    assert_eq!(figure(&found, "deliveries") + figure(&found, "conflated"), 40.0 * SOCKETS as f64);
    for node in &nodes {
        let opened = node.metric("relay_connections_opened_total", &[]).await;
        assert!(opened >= (SOCKETS / nodes.len()) as f64, "{} had {opened} sockets", node.public);
        let published = node.metric("relay_publishes_total", &[("api", "v1"), ("result", "ok")]).await;
        assert!(published >= 13.0, "{} took {published} publishes", node.public);
    }
}

#[tokio::test]
async fn the_stuck_and_churn_benches_tell_the_others_apart() {
    let node = Setup::memory().start().await;
    let stuck = result(bench(&[&node], "stuck", &["--stuck-percent", "10", "--no-floor"]).await);
    assert_eq!(figure(&stuck, "without_deliveries"), 10.0 * SOCKETS as f64);
    assert_eq!(figure(&stuck, "with_reading_sockets"), 0.9 * SOCKETS as f64);
    assert_eq!(figure(&stuck, "with_deliveries"), 9.0 * SOCKETS as f64);
    let churn = result(bench(&[&node], "churn", &["--rate", "100", "--no-floor"]).await);
    all_delivered(&churn, 10.0);
    assert!(figure(&churn, "churned") > 0.0, "{churn:#}");
    assert_eq!(figure(&churn, "churn_failed"), 0.0);
}

#[tokio::test]
async fn a_storm_bench_brings_every_socket_back_and_a_flood_ends_with_the_last_state() {
    let node = Setup::memory().start().await;
    let storm = result(bench(&[&node], "storm", &["--no-floor"]).await);
    assert_eq!(figure(&storm, "storms"), 2.0);
    node.until_metric("relay_connections_opened_total", &[], 3.0 * SOCKETS as f64).await;
    let flood = result(bench(&[&node], "flood", &["--rate", "500", "--no-floor"]).await);
    // How many fit into the time is the machine's matter; one before the flood is not counted.
    let mut taken = 0.0;
    for result in ["ok", "unconfirmed"] {
        taken += node.metric("relay_publishes_total", &[("api", "v1"), ("result", result)]).await;
    }
    assert_eq!(figure(&flood, "publishes"), taken - 1.0);
    assert!(figure(&flood, "last_state_everywhere_ms") >= 0.0, "{flood:#}");
    let (peak, after) = (figure(&flood, "rss_peak_bytes"), figure(&flood, "rss_after_bytes"));
    assert!(peak >= after && after > 0.0, "{flood:#}");
}

#[tokio::test]
async fn a_flood_bench_in_rounds_tells_the_memory_after_each() {
    let node = Setup::memory().start().await;
    let more = ["--rate", "200", "--rounds", "2", "--no-floor"];
    let flood = result(bench(&[&node], "flood", &more).await);
    assert_eq!(flood["runs"].as_array().map(Vec::len), Some(2), "{flood:#}");
    for number in ["1", "2"] {
        assert!(figure(&flood, &format!("rss_after_round_{number}_bytes")) > 0.0, "{flood:#}");
    }
    let after = figure(&flood, "rss_after_round_2_bytes") / figure(&flood, "rss_after_round_1_bytes");
    let growth = figure(&flood, "rss_growth_after_first_percent");
    assert!(((after - 1.0) * 100.0 - growth).abs() < 0.001, "{flood:#}");
}

/// A node that a shell starts, and starts again in place of the one before; killed when the test ends.
struct Restarted {
    address: String,
    /// Starts it; what ran before is killed.
    script: String,
    /// Holds the number of its process group.
    process: PathBuf,
    _files: Files,
}

impl Restarted {
    async fn start() -> Self {
        let files = Files::new();
        let address = format!("127.0.0.1:{}", ports::free());
        let process = PathBuf::from(files.write("process", ""));
        let settings =
            [("server.bind", address.as_str()), ("admin.bind", "127.0.0.1:0"), ("publish.secret", KEY)];
        let settings: Vec<_> =
            environment(&settings).into_iter().map(|(k, v)| format!("{k}='{v}'")).collect();
        // A node that was killed may hold its port a little longer, so the next one tries again, some seconds at most.
        let serve = format!("{} '{}' serve", settings.join(" "), program::path().display());
        let serve = files.write("serve", &format!("for _ in $(seq 300); do {serve}; sleep 0.01; done\n"));
        let restart = format!(
            "[ -s {process} ] && kill -KILL -$(cat {process})\n\
             setsid sh {serve} >/dev/null 2>&1 &\necho $! > {process}\n",
            process = process.display(),
        );
        let script = files.write("restart", &restart);
        let status = Command::new("sh").arg(&script).status().await.expect("a shell");
        assert!(status.success(), "{status}");
        let node = Self { address, script, process, _files: files };
        eventually(SOON, "the node listens", async || {
            TcpStream::connect(&node.address).await.map_err(|error| error.to_string())
        })
        .await;
        node
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        let number =
            std::fs::read_to_string(&self.process).ok().and_then(|text| text.trim().parse::<i32>().ok());
        if let Some(number) = number {
            // It may have failed to start; the test says so.
            let _ = killpg(Pid::from_raw(number), Signal::SIGKILL);
        }
    }
}

#[tokio::test]
async fn a_storm_bench_over_a_restart_counts_from_the_loss_and_from_the_return_of_the_node() {
    let node = Restarted::start().await;
    let (url, command) = (format!("http://{}", node.address), format!("sh {}", node.script));
    let storm = result(bench(&[], "storm", &["--url", &url, "--storm-command", &command]).await);
    assert_eq!(figure(&storm, "storms"), 2.0);
    let (back, since_lost) = (figure(&storm, "all_back_ms"), figure(&storm, "all_back_since_lost_ms"));
    assert!(back > 0.0 && since_lost > back, "{storm:#}");
    assert!(figure(&storm, "failed_attempts") > 0.0, "{storm:#}");
}

#[tokio::test]
async fn a_storm_bench_says_when_its_command_restarts_nothing() {
    let node = Setup::memory().start().await;
    let idle = ["--storm-command", "true", "--timeout", "1"];
    failed_with(bench(&[&node], "storm", &idle).await, &["50 of 50", "never lost", "--storm-command"]);
}

#[tokio::test]
async fn the_floor_bench_needs_no_server() {
    let found = result(bench(&[], "floor", &[]).await);
    all_delivered(&found, 2.0);
    assert!(figure(&found, "cpu_us_per_delivery") > 0.0, "{found:#}");
    assert_eq!(figure(&found, "floor_threads"), 1.0);
}

#[tokio::test]
async fn the_floor_writes_with_as_many_threads_as_the_server_has_cpus_or_as_it_is_told() {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let cpus =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list of CPUs");
    let pinned = result(bench(&[], "floor", &["--server-cpus", cpus.trim()]).await);
    let count = std::thread::available_parallelism().expect("a number of CPUs");
    assert_eq!(figure(&pinned, "floor_threads"), count.get() as f64);
    all_delivered(&pinned, 2.0);
    let told = result(bench(&[], "floor", &["--floor-threads", "3"]).await);
    assert_eq!(figure(&told, "floor_threads"), 3.0);
    all_delivered(&told, 2.0);
    let rooms = ["--floor-threads", "2", "--rooms", "10"];
    let node = Setup::memory().start().await;
    let rooms = result(bench(&[&node], "rooms", &rooms).await);
    let floor = &rooms["floor"];
    let each = floor["publishes"].as_f64().zip(floor["deliveries"].as_f64());
    assert!(
        each.is_some_and(|(publishes, deliveries)| deliveries == publishes * SOCKETS as f64 / 10.0),
        "{rooms:#}"
    );
}

#[tokio::test]
async fn a_bench_names_any_server_by_its_addresses_and_markers() {
    let node = Setup::memory().start().await;
    let ws = format!("ws://{}/party/{{room}}", node.public);
    let publish = format!("http://{}/party/{{room}}", node.public);
    let key = format!("X-PartyKit-Secret: {KEY}");
    let marked = ["--ws-url", &ws, "--publish-url", &publish, "--publish-header", &key];
    let body = ["--publish-body", r#"{"type": "refresh"}"#, "--no-floor"];
    let more = ["--delivery-marker", "refresh", "--send", "hello", "--connect-header", "X-App: bench"];
    let found = result(bench(&[], "broadcast", &[&marked[..], &more[..], &body[..]].concat()).await);
    all_delivered(&found, 2.0);
}

/// Panics unless the run failed while running and said all of this.
fn failed_with(finished: Finished, words: &[&str]) {
    let finished = finished.expect_code(1);
    for word in words {
        assert!(finished.stderr.contains(word), "no {word:?} in {finished:#?}");
    }
}

#[tokio::test]
async fn a_bench_that_cannot_measure_says_why() {
    let node = Setup::memory().start().await;
    let nobody = format!("http://127.0.0.1:{}", ports::free());
    failed_with(bench(&[], "connect", &["--url", &nobody]).await, &["50 of 50", "Connection refused"]);
    failed_with(bench(&[], "broadcast", &[]).await, &["--url", "--ws-url"]);
    failed_with(bench(&[], "idle", &["--url", &nobody]).await, &["--server-pid"]);
    failed_with(bench(&[], "connect", &["--ws-url", "wss://127.0.0.1/"]).await, &["ws://", "TLS"]);
    let url = format!("http://{}", node.public);
    let files = Files::new();
    let wrong = files.write("key", "wrong");
    let arguments = ["bench", "broadcast", "--url", &url, "--key-file", &wrong, "--connections", "5"];
    failed_with(run(&arguments, &BTreeMap::new()).await, &["401", "--key-file"]);
    let unmarked = ["--delivery-marker", "nothing like it", "--timeout", "1", "--no-floor"];
    failed_with(
        bench(&[&node], "broadcast", &unmarked).await,
        &["--delivery-marker", r#"{"type":"refresh"}"#, "50 of 50"],
    );
    let files_needed = ["--processes", "1", "--connections", "1000000"];
    let arguments = [&["bench", "connect", "--url", &url][..], &files_needed[..]].concat();
    failed_with(run(&arguments, &BTreeMap::new()).await, &["ulimit -n", "--processes"]);
}

/// The address of a door to that node which closes the first connection unanswered.
async fn closes_the_first(node: &Node) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (entrance, exit) = (listener.local_addr().expect("bound"), node.public);
    tokio::spawn(async move {
        drop(listener.accept().await);
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(exit).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    format!("http://{entrance}")
}

#[tokio::test]
async fn a_bench_makes_a_failed_connect_again_except_where_connects_are_what_is_measured() {
    let node = Setup::memory().start().await;
    let url = closes_the_first(&node).await;
    let found = result(bench(&[], "broadcast", &["--url", &url, "--no-floor"]).await);
    assert_eq!(figure(&found, "connects_tried_again"), 1.0);
    all_delivered(&found, 2.0);
    let url = closes_the_first(&node).await;
    failed_with(bench(&[], "connect", &["--url", &url, "--no-floor"]).await, &["1 sockets are missing"]);
}
