//! Several publish keys: whom each lets publish what, and how they are changed while the node runs.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::http::{Answer, Request};
use crate::support::node::{KEY, Node, Setup, cluster, refresh};
use crate::support::program::{Files, environment, run};
use crate::support::redis::TestRedis;
use crate::support::wait::{SOON, equal, eventually};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use tokio::sync::watch;

const CI: &str = "the secret of the pipeline";
const SHOP: &str = "the secret of the shop team";

/// An entry of a keys file.
fn entry(id: &str, secret: &str, rest: &str) -> String {
    format!("[[key]]\nid = {id:?}\nsecret = {secret:?}\n{rest}\n")
}

fn ci() -> String {
    entry("ci", CI, "rooms = [\"*\"]")
}

fn with_keys(file: &str) -> Setup {
    Setup::memory().unset("publish.secret").set("publish.keys_file", file)
}

async fn publish(node: &Node, room: &str, key: &str) -> Answer {
    Request::post(&format!("/v1/rooms/{room}/refresh")).bearer(key).send(node.public).await
}

async fn publish_by_party(node: &Node, room: &str, key: &str) -> Answer {
    let request = Request::post(&format!("/party/{room}")).header("X-PartyKit-Secret", key);
    request.body("{}").send(node.public).await
}

async fn until_status(node: &Node, room: &str, key: &str, wanted: u16) {
    eventually(SOON, "the changed file is in force", async || {
        equal("status", &publish(node, room, key).await.status, &wanted)
    })
    .await;
}

#[tokio::test]
async fn each_key_publishes_to_its_own_rooms() {
    let files = Files::new();
    let keys = ci() + &entry("shop", SHOP, "rooms = [\"front\", \"shop-*\"]");
    let node = with_keys(&files.write("keys.toml", &keys)).start().await;

    for (room, key, status) in [
        ("anything", CI, 200),
        ("front", SHOP, 200),
        ("shop-", SHOP, 200),
        ("shop-berlin", SHOP, 200),
        ("front-2", SHOP, 403),
        ("Shop-berlin", SHOP, 403),
        ("front", "the secret of nobody", 401),
        ("front", "", 401),
    ] {
        let answer = publish(&node, room, key).await;
        match status {
            200 => assert_eq!(answer.status, 200, "{room} {answer:?}"),
            401 => answer.expect_problem(401, "unauthorized"),
            status => answer.expect_problem(status, "forbidden"),
        }
        let answer = publish_by_party(&node, room, key).await;
        assert_eq!(answer.status, status, "{room} {answer:?}");
    }
    publish_by_party(&node, "front-2", SHOP).await.expect_sentence(403);
    for (api, forbidden) in [("v1", 2.0), ("partykit", 3.0)] {
        for (result, count) in [("ok", 4.0), ("forbidden", forbidden), ("unauthorized", 2.0)] {
            let labels = [("api", api), ("result", result)];
            assert_eq!(node.metric("relay_publishes_total", &labels).await, count, "{labels:?}");
        }
    }
}

#[tokio::test]
async fn a_refused_publish_reaches_nobody() {
    let files = Files::new();
    let keys = ci() + &entry("shop", SHOP, "rooms = [\"shop\"]");
    let node = with_keys(&files.write("keys.toml", &keys)).start().await;
    let mut socket = node.connect("front").await;

    publish(&node, "front", SHOP).await.expect_problem(403, "forbidden");
    let request = Request::post("/v1/rooms/front/refresh").bearer(CI).body(r#"{"revision":"allowed"}"#);
    assert_eq!(request.send(node.public).await.status, 200);

    socket.expect_frame(r#"{"type":"refresh","revision":"allowed"}"#).await;
}

#[tokio::test]
async fn who_published_stands_in_the_answer_the_rooms_state_and_the_log() {
    let redis = TestRedis::start().await;
    let files = Files::new();
    let keys = files.write("keys.toml", &ci());
    let setup = Setup::redis(&redis).set("publish.keys_file", &keys);
    let nodes = cluster(&setup, 2).await;

    let by_key = publish(&nodes[0], "front", CI).await.json();
    let seen = nodes[1].room("front").await.json();
    let by_default = refresh("front").send(nodes[1].public).await.json();

    assert_eq!(by_key["published_by"], "ci");
    assert_eq!(seen["published_by"], "ci");
    assert_eq!(by_default["published_by"], "default");
    let line = nodes[0].log().into_iter().find(|event| event["message"] == "published").expect("a log line");
    assert_eq!(line["publisher"], "ci", "{line}");
    assert!(!nodes[0].output().contains(CI), "the secret was logged");
}

#[tokio::test]
async fn a_key_that_may_not_read_only_publishes() {
    let files = Files::new();
    let keys = ci() + &entry("shop", SHOP, "rooms = [\"front\"]\nmay_read = false");
    let node = with_keys(&files.write("keys.toml", &keys)).start().await;
    assert_eq!(publish(&node, "front", SHOP).await.status, 200);

    let ask = |key: &str| Request::get("/v1/rooms/front").bearer(key);

    ask(SHOP).send(node.public).await.expect_problem(403, "forbidden");
    assert_eq!(ask(CI).send(node.public).await.status, 200);
}

#[tokio::test]
async fn a_key_is_refused_before_its_time_and_after_it() {
    let files = Files::new();
    let keys = entry("old", CI, "rooms = [\"*\"]\nexpires = 2020-01-01T00:00:00Z")
        + &entry("new", SHOP, "rooms = [\"*\"]\nnot_before = 2999-01-01T00:00:00Z");
    let node = with_keys(&files.write("keys.toml", &keys)).start().await;

    for (key, word) in [(CI, "expired"), (SHOP, "not valid yet")] {
        let answer = publish(&node, "front", key).await;
        answer.expect_problem(401, "unauthorized");
        assert!(answer.body.contains(word), "{answer:?}");
    }
}

#[tokio::test]
async fn a_key_is_rotated_under_load_without_one_failed_publish() {
    let files = Files::new();
    let file = files.write("keys.toml", &entry("first", CI, "rooms = [\"*\"]"));
    let node = with_keys(&file).start().await;
    let (use_key, key) = watch::channel(CI);
    let public = node.public;
    let load = tokio::spawn(async move {
        let mut publishes = 0;
        // Ends when the sender is gone.
        while key.has_changed().is_ok() {
            let secret = *key.borrow();
            let answer = Request::post("/v1/rooms/front/refresh").bearer(secret).send(public).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            publishes += 1;
        }
        publishes
    });
    let mut socket = node.connect("front").await;

    // Both are valid; CI takes the new one into use; the old one goes.
    let second = entry("second", SHOP, "rooms = [\"*\"]");
    files.write("keys.toml", &(entry("first", CI, "rooms = [\"*\"]") + &second));
    until_status(&node, "other", SHOP, 200).await;
    use_key.send_replace(SHOP);
    eventually(SOON, "the load publishes with the new key", async || {
        let used =
            node.log().into_iter().any(|event| event["publisher"] == "second" && event["room"] == "front");
        if used { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    files.write("keys.toml", &second);
    until_status(&node, "other", CI, 401).await;

    drop(use_key);
    assert!(load.await.expect("no publish failed") > 0);
    socket.frame().await;
    assert_eq!(node.metric("relay_connections_closed_total", &[("reason", "client")]).await, 0.0);
}

#[tokio::test]
async fn a_bad_new_file_keeps_the_old_keys_and_shows() {
    let files = Files::new();
    let node = with_keys(&files.write("keys.toml", &ci())).start().await;
    let failing = [("file", "publish_keys")];
    assert_eq!(node.metric("relay_reload_failing", &failing).await, 0.0);

    files.write("keys.toml", "[[key]]\nid = \"ci\"\nsecret = \"short-one\"\nrooms = [\"*\"]\n");

    node.until_metric("relay_reload_failing", &failing, 1.0).await;
    assert_eq!(publish(&node, "front", CI).await.status, 200);
    let status = node.status().await;
    let file = &status["files"][0];
    assert_eq!(file["name"], "publish_keys", "{status}");
    assert!(file["error"].as_str().is_some_and(|error| error.contains("fewer than 16")), "{status}");
    let refused = node.log().into_iter().filter(|event| event["level"] == "ERROR").count();
    assert_eq!(refused, 1, "logged once: {}", node.output());
    assert!(!node.output().contains("short-one"));

    files.write("keys.toml", &entry("shop", SHOP, "rooms = [\"*\"]"));
    until_status(&node, "front", SHOP, 200).await;
    assert_eq!(node.metric("relay_reload_failing", &failing).await, 0.0);
    assert!(node.status().await["files"][0]["error"].is_null());
    let reloads = |result| [("file", "publish_keys"), ("result", result)];
    assert_eq!(node.metric("relay_reloads_total", &reloads("ok")).await, 1.0);
    assert_eq!(node.metric("relay_reloads_total", &reloads("failed")).await, 1.0);
}

#[tokio::test]
async fn a_secret_swapped_by_symlink_is_read_again() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let version = |name: &str, keys: &str| {
        std::fs::create_dir(path(name)).expect("a folder");
        std::fs::write(path(name).join("keys.toml"), keys).expect("a file");
    };
    // As the kubelet lays a Secret out: file -> ..data/file, ..data -> a folder that is replaced.
    version("..2026_1", &ci());
    symlink("..2026_1", path("..data")).expect("a symlink");
    symlink(Path::new("..data").join("keys.toml"), path("keys.toml")).expect("a symlink");
    let node = with_keys(&path("keys.toml").display().to_string()).start().await;
    assert_eq!(publish(&node, "front", CI).await.status, 200);

    version("..2026_2", &entry("shop", SHOP, "rooms = [\"*\"]"));
    symlink("..2026_2", path("..data_tmp")).expect("a symlink");
    std::fs::rename(path("..data_tmp"), path("..data")).expect("swapped");

    until_status(&node, "front", SHOP, 200).await;
    assert_eq!(publish(&node, "front", CI).await.status, 401);
}

#[tokio::test]
async fn a_hangup_has_the_files_read_and_ends_nothing() {
    let files = Files::new();
    let node = with_keys(&files.write("keys.toml", &ci())).start().await;
    let mut socket = node.connect("front").await;
    node.signal(Signal::SIGHUP);
    files.write("keys.toml", &entry("shop", SHOP, "rooms = [\"*\"]"));
    node.signal(Signal::SIGHUP);

    until_status(&node, "front", SHOP, 200).await;
    socket.frame().await;
}

#[tokio::test]
async fn the_one_secret_in_a_file_is_read_again_too() {
    let files = Files::new();
    let setup = Setup::memory().unset("publish.secret");
    let node = setup.set("publish.secret_file", files.write("secret", CI)).start().await;
    assert_eq!(publish(&node, "front", CI).await.status, 200);

    files.write("secret", SHOP);

    until_status(&node, "front", SHOP, 200).await;
    assert_eq!(publish(&node, "front", CI).await.status, 401);
}

#[tokio::test]
async fn a_bad_keys_file_at_the_start_is_a_problem_with_the_settings() {
    let files = Files::new();
    let bad = files.write("keys.toml", "[[key]]\nid = \"ci\"\nrooms = []\n");
    for file in [bad.as_str(), "/nowhere/keys.toml"] {
        let settings = environment(&[("publish.keys_file", file)]);
        for command in ["serve", "check-config"] {
            let finished = run(&[command], &settings).await.expect_code(78);
            let named = finished.stderr.contains("publish.keys_file") && finished.stderr.contains(file);
            assert!(named, "{finished:#?}");
        }
    }
}

#[tokio::test]
async fn a_made_key_opens_what_its_entry_says() {
    let files = Files::new();
    let secret_file = files.write("unused", "");
    let secret_file = secret_file.replace("unused", "secret");
    let made = |arguments: &'static [&str]| {
        let arguments = [arguments, &["--secret-file", &secret_file]].concat();
        async move { run(&arguments, &BTreeMap::new()).await }
    };
    let entry = made(&["gen-key", "--id", "ci", "--room", "front", "--room", "shop-*"]).await.expect_code(0);
    let secret = std::fs::read_to_string(&secret_file).expect("the secret");
    assert!(!entry.output().contains(secret.trim()), "{entry:#?}");
    let node = with_keys(&files.write("keys.toml", &entry.stdout)).start().await;

    assert_eq!(publish(&node, "shop-1", secret.trim()).await.status, 200);
    assert_eq!(publish(&node, "back", secret.trim()).await.status, 403);

    // A file that is there is not written over, and without one the secret is shown apart from the entry.
    let finished = made(&["gen-key", "--id", "ci"]).await.expect_code(1);
    assert!(finished.stderr.contains(&secret_file), "{finished:#?}");
    let shown = run(&["gen-key", "--id", "ci"], &BTreeMap::new()).await.expect_code(0);
    assert!(shown.stderr.contains("rrk_") && !shown.stdout.contains("rrk_"), "{shown:#?}");
    for bad in [["--id", "a b"], ["--room", "a*b"]] {
        let arguments = [&["gen-key", "--id", "ci"][..if bad[0] == "--id" { 1 } else { 3 }], &bad].concat();
        let finished = run(&arguments, &BTreeMap::new()).await.expect_code(1);
        assert!(finished.stderr.contains(bad[0]), "{finished:#?}");
    }
}

#[tokio::test]
async fn the_keys_file_stands_beside_the_one_secret() {
    let files = Files::new();
    let node = Setup::memory().set("publish.keys_file", files.write("keys.toml", &ci())).start().await;
    assert_eq!(publish(&node, "front", KEY).await.status, 200);
    assert_eq!(publish(&node, "front", CI).await.status, 200);
}
