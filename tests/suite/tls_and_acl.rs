//! Redis behind TLS and with users that may do only what a relay needs.

use crate::support::http::Request;
use crate::support::node::{KEY, Node, Setup, cluster};
use crate::support::ports;
use crate::support::program::Files;
use crate::support::redis::TestRedis;
use crate::support::sentinel::server;
use crate::support::socket::{REFRESH, refresh_with};
use crate::support::tls::{Authority, Certificate};
use crate::support::wait::{QUIET, SOON, equal, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::Duration;

const ROOM: &str = "featurevisor";

/// What a relay user needs on a server and on the master behind Sentinels; `relay` is the key prefix.
const RULE: &str = "~{relay:* &{relay:* +evalsha +script|load +time +hget +hset +hincrby +hgetall +hdel +pexpire \
                    +set +publish +subscribe +ping +unwatch +info";

/// The same on the servers of a cluster.
const CLUSTER_RULE: &str = "~{relay:* &{relay:* +evalsha +script|load +time +hget +hset +hincrby +hgetall +hdel \
                            +pexpire +set +spublish +ssubscribe +ping +unwatch +info +cluster|slots +cluster|keyslot";

/// What it needs on a Sentinel.
const SENTINEL_RULE: &str = "+sentinel|master";

/// Panics unless the nodes are one cluster: everything that a node asks of Redis is used on the way.
async fn expect_all_works(nodes: &[Node]) {
    let mut sockets = Vec::new();
    for node in nodes {
        sockets.push(node.connect(ROOM).await);
    }
    let request =
        Request::post(&format!("/v1/rooms/{ROOM}/refresh")).bearer(KEY).header("Idempotency-Key", "once");
    let request = request.body(json!({ "revision": "42" }).to_string());
    let first = request.send(nodes[0].public).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json()["connections"], nodes.len());
    for socket in &mut sockets {
        socket.expect_frame(&refresh_with("42")).await;
    }
    let again = request.send(nodes[nodes.len() - 1].public).await;
    assert_eq!(again.body, first.body, "the idempotency key was forgotten");
    let state = nodes[0].room(ROOM).await.json();
    assert_eq!(state["revision"], "42");
    assert_eq!(state["connections"], nodes.len());
}

/// A server that speaks TLS, and plainly to the test itself.
async fn tls_server(authority: &Authority, certificate: &Certificate, more: &[&str]) -> (TestRedis, u16) {
    let port = ports::free();
    let mut redis = TestRedis::away();
    redis.add_arguments(&["--tls-port", &port.to_string(), "--tls-ca-cert-file", &authority.ca()]);
    redis.add_arguments(&["--tls-cert-file", &certificate.cert, "--tls-key-file", &certificate.key]);
    redis.add_arguments(more);
    redis.relaunch().await;
    (redis, port)
}

fn tls_setup(authority: &Authority, port: u16) -> Setup {
    Setup::memory()
        .set("redis.url", format!("rediss://127.0.0.1:{port}"))
        .set("redis.tls.ca_file", authority.ca())
}

/// Panics unless the node cannot link, and both log and status tell why in these words.
async fn expect_refused(setup: Setup, why: &[&str]) {
    let node = setup.start_unready().await;
    let is_told = |text: &Value| {
        let text = text.as_str().unwrap_or_default().to_lowercase();
        why.iter().any(|why| text.contains(&why.to_lowercase()))
    };
    eventually(SOON, "log and status tell why", async || {
        let status = node.status().await;
        let logged = node.log().into_iter().find(|line| line["message"] == "cannot link to Redis, trying on");
        let cause = logged.map(|line| line["cause"].clone()).unwrap_or_default();
        if is_told(&status["broker"]["last_error"]) && is_told(&cause) {
            Ok(())
        } else {
            Err(format!("wanted {why:?}; the status is {status}, the log tells {cause}"))
        }
    })
    .await;
    assert_eq!(node.metric("relay_redis_link_up", &[]).await, 0.0);
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own_and_client_certificates() {
    let authority = Authority::new();
    let certificate = authority.sign("server", "IP:127.0.0.1");
    let (_redis, port) = tls_server(&authority, &certificate, &["--tls-auth-clients", "yes"]).await;
    let client = authority.sign("client", "DNS:relay.test");
    let setup = tls_setup(&authority, port);

    let known = setup.clone().set("redis.tls.cert_file", &client.cert).set("redis.tls.key_file", &client.key);
    expect_all_works(&cluster(&known, 2).await).await;

    expect_refused(setup, &["certificate required", "CertificateRequired"]).await;
}

#[tokio::test]
async fn a_server_with_a_certificate_of_another_authority_is_not_trusted() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let certificate = theirs.sign("server", "IP:127.0.0.1");
    let (_redis, port) = tls_server(&theirs, &certificate, &["--tls-auth-clients", "no"]).await;
    expect_refused(tls_setup(&ours, port), &["UnknownIssuer", "unknown issuer"]).await;
    let without_authority = tls_setup(&ours, port).unset("redis.tls.ca_file");
    expect_refused(without_authority, &["UnknownIssuer", "unknown issuer"]).await;
    expect_all_works(&cluster(&tls_setup(&theirs, port), 1).await).await;
}

#[tokio::test]
async fn certificates_may_bear_another_name_than_the_host() {
    let authority = Authority::new();
    let certificate = authority.sign("server", "DNS:redis.internal");
    let (_redis, port) = tls_server(&authority, &certificate, &["--tls-auth-clients", "no"]).await;
    let setup = tls_setup(&authority, port);
    expect_all_works(&cluster(&setup.clone().set("redis.tls.server_name", "redis.internal"), 2).await).await;
    expect_refused(setup.clone(), &["not valid for name", "NotValidForName"]).await;
    let wrong = setup.set("redis.tls.server_name", "other.internal");
    expect_refused(wrong, &["not valid for name", "NotValidForName"]).await;
}

#[tokio::test]
async fn sentinels_and_clusters_speak_tls_too() {
    let authority = Authority::new();
    let certificate = authority.sign("server", "IP:127.0.0.1");
    let tls = ["--tls-auth-clients", "no", "--tls-replication", "yes"];
    let (master, master_port) = tls_server(&authority, &certificate, &tls).await;
    let sentinel_port = ports::free();
    let lines = format!(
        "tls-port {sentinel_port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n\
         tls-replication yes\nsentinel monitor mymaster 127.0.0.1 {master_port} 1",
        certificate.cert,
        certificate.key,
        authority.ca()
    );
    let _sentinel = TestRedis::start_sentinel(&lines, None).await;
    let setup = |mode: &str, port: u16| {
        let setup = Setup::memory().set("redis.mode", mode).set("redis.tls.ca_file", authority.ca());
        setup.set("redis.urls", format!("rediss://127.0.0.1:{port}"))
    };
    let nodes = cluster(&setup("sentinel", sentinel_port), 2).await;
    expect_all_works(&nodes).await;
    let address = nodes[0].status().await["broker"]["servers"][0]["address"].clone();
    assert_eq!(address, format!("127.0.0.1:{master_port}"), "not the port of TLS");
    drop(master);

    let bus = ports::free().to_string();
    let more = [
        "--cluster-enabled",
        "yes",
        "--tls-cluster",
        "yes",
        "--tls-auth-clients",
        "no",
        "--cluster-port",
        &bus,
    ];
    let (redis, port) = tls_server(&authority, &certificate, &more).await;
    redis.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    expect_all_works(&cluster(&setup("cluster", port), 2).await).await;
}

async fn add_user(redis: &TestRedis, rule: &str) {
    let words: Vec<_> =
        ["ACL", "SETUSER", "relay", "on", ">hunter2"].into_iter().chain(rule.split(' ')).collect();
    redis.command(&words).await;
    redis.command(&["CONFIG", "RESETSTAT"]).await;
}

fn as_user(setup: Setup) -> Setup {
    setup.set("redis.username", "relay").set("redis.password", "hunter2").set("drain.notice_seconds", 0)
}

/// Panics unless the user was refused nothing, and used every command that the rule allows.
async fn expect_rule_is_exact(redis: &TestRedis, rule: &str) {
    let refused: Vec<Vec<(String, Value)>> = refusals(redis).await;
    assert!(refused.is_empty(), "refused: {refused:?}");
    let stats = redis.info("commandstats").await.expect("statistics");
    for command in rule.split(' ').filter_map(|word| word.strip_prefix('+')) {
        assert!(
            stats.contains_key(&format!("cmdstat_{command}")),
            "{command} is allowed but never used: {stats:?}"
        );
    }
}

/// What ACL LOG holds, without the name that the client library gives itself, which newer servers know and older do not.
async fn refusals(redis: &TestRedis) -> Vec<Vec<(String, Value)>> {
    let log: Vec<std::collections::HashMap<String, redis::Value>> = redis.ask(&["ACL", "LOG"]).await;
    let text = |value: redis::Value| json!(redis::from_redis_value::<String>(value).unwrap_or_default());
    let entries =
        log.into_iter().map(|entry| entry.into_iter().map(|(name, value)| (name, text(value))).collect());
    entries
        .filter(|entry: &Vec<(String, Value)>| !entry.contains(&("object".into(), "client|setinfo".into())))
        .collect()
}

/// Everything a relay does: publish, count, link anew, leave.
async fn expect_life_of_a_cluster(redis: &TestRedis, setup: Setup) {
    let mut nodes = cluster(&as_user(setup).set("drain.spread_seconds", 0), 2).await;
    expect_all_works(&nodes).await;
    let mut socket = nodes[1].connect("other").await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    eventually(SOON, "the nodes link anew", async || {
        let answer = nodes[0].refresh_to("other", "43").await;
        equal("status", &answer.status, &200).map_err(|error| format!("{error}: {answer:?}"))
    })
    .await;
    socket.expect_frame(&refresh_with("43")).await;
    for node in &mut nodes {
        node.signal(Signal::SIGTERM);
        node.exit_within(SOON).await;
    }
    let records: Vec<String> = redis.ask(&["HKEYS", "{relay:00}:nodes"]).await;
    assert_eq!(records, Vec::<String>::new(), "the records were not taken away");
}

#[tokio::test]
async fn a_user_with_the_documented_rule_is_refused_nothing() {
    let redis = TestRedis::start_with_password("admin").await;
    add_user(&redis, RULE).await;
    expect_life_of_a_cluster(&redis, Setup::redis(&redis)).await;
    expect_rule_is_exact(&redis, RULE).await;
}

#[tokio::test]
async fn a_user_with_the_documented_rule_is_refused_nothing_in_a_cluster() {
    let bus = ports::free().to_string();
    let redis = TestRedis::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
    redis.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    eventually(SOON, "the cluster is formed", async || {
        redis.try_command(&["SET", "any", "1"]).await.map(drop)
    })
    .await;
    add_user(&redis, CLUSTER_RULE).await;
    let setup = Setup::memory().set("redis.mode", "cluster").set("redis.urls", redis.url());
    expect_life_of_a_cluster(&redis, setup).await;
    expect_rule_is_exact(&redis, CLUSTER_RULE).await;
}

#[tokio::test]
async fn a_user_with_the_documented_rules_is_refused_nothing_behind_sentinels() {
    let master = server(Some("admin"), &[]).await;
    add_user(&master, RULE).await;
    let lines =
        format!("sentinel monitor mymaster 127.0.0.1 {} 1\nsentinel auth-pass mymaster admin", master.port());
    let sentinel = TestRedis::start_sentinel(&lines, None).await;
    let rule = SENTINEL_RULE.split(' ');
    let words: Vec<_> = ["ACL", "SETUSER", "asker", "on", ">for-sentinel"].into_iter().chain(rule).collect();
    sentinel.command(&words).await;
    let setup = Setup::memory().set("redis.mode", "sentinel").set("redis.urls", sentinel.url());
    let setup = setup.set("redis.sentinel_username", "asker").set("redis.sentinel_password", "for-sentinel");
    expect_life_of_a_cluster(&master, setup).await;
    expect_rule_is_exact(&master, RULE).await;
    let refused = refusals(&sentinel).await;
    assert!(refused.is_empty(), "refused: {refused:?}");
}

#[tokio::test]
async fn where_info_is_refused_every_new_link_refreshes_all() {
    let redis = TestRedis::start_with_password("admin").await;
    add_user(&redis, &RULE.replace(" +info", "")).await;
    let careful = as_user(Setup::redis(&redis)).start().await;
    let sure = Setup::redis(&redis).set("redis.password", "admin").start().await;
    assert_eq!(careful.status().await["broker"]["servers"][0]["run_id"], Value::Null);
    assert_ne!(sure.status().await["broker"]["servers"][0]["run_id"], Value::Null);
    let mut told = careful.connect("never-published").await;
    let mut not_told = sure.connect("never-published").await;

    for _ in 0..2 {
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        told.expect_frame(REFRESH).await;
        eventually(SOON, "the other node is linked again", async || {
            let lines = sure.log().into_iter().filter(|event| event["message"] == "link up");
            let same = lines.filter(|event| event["same_server"] == true).count();
            if same > 0 { Ok(()) } else { Err(sure.output()) }
        })
        .await;
    }
    not_told.expect_silence(QUIET).await;
    not_told.expect_alive().await;
}

#[tokio::test]
async fn a_password_file_is_read_again_for_every_new_link() {
    let mut redis = TestRedis::start_with_password("old").await;
    let files = Files::new();
    let file = files.write("password", "old\n");
    let node = Setup::redis(&redis).set("redis.password_file", &file).start().await;
    redis.command(&["CONFIG", "SET", "requirepass", "new"]).await;
    redis.use_password("new");
    files.write("password", "new\n");

    // Connections that stand are not asked again; the next ones are.
    for kind in ["pubsub", "normal"] {
        redis.command(&["CLIENT", "KILL", "TYPE", kind]).await;
    }
    node.until_metric_within(Duration::from_secs(2), "relay_redis_link_up", &[], 0.0).await;
    node.until_metric("relay_redis_link_up", &[], 1.0).await;
    expect_all_works(&[node]).await;
}
