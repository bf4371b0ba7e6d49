//! The webhooks file: how it is changed while the node runs, and what is wrong with it.

use super::{ROOM, count, entry, github, with_webhooks};
use crate::support::node::refresh;
use crate::support::program::{Files, environment, run};
use crate::support::redis::TestRedis;
use crate::support::socket::REFRESH;
use crate::support::wait::{SOON, equal, eventually};
use nix::sys::signal::Signal;
use tokio::sync::watch;

#[tokio::test]
async fn a_secret_is_replaced_while_deliveries_go_on() {
    let files = Files::new();
    let (old, new) = ("the old secret of the site", "the new secret of the site");
    let write = |secrets: &str| {
        let entry = entry("site", "github", old, "").replace(&format!("{old:?}"), secrets);
        files.write("webhooks.toml", &entry)
    };
    let node = with_webhooks(&write(&format!("{old:?}"))).start().await;
    let (secret, mut secrets) = watch::channel(old);
    let to = node.public;
    let deliveries = tokio::spawn(async move {
        let mut sent = 0;
        while secrets.has_changed().is_ok() {
            let secret = *secrets.borrow_and_update();
            let answer = github(ROOM, secret, "push", &format!("d-{sent}"), "{}").send(to).await;
            assert_eq!(answer.status, 200, "delivery {sent}: {answer:?}");
            sent += 1;
        }
        sent
    });
    let until = async |secret: &str, wanted: u16| {
        eventually(SOON, "the changed file is in force", async || {
            let answer = github(ROOM, secret, "ping", "p", "{}").send(node.public).await;
            equal("status", &answer.status, &wanted)
        })
        .await;
    };
    until(new, 401).await;
    write(&format!("[{new:?}, {old:?}]"));
    until(new, 200).await;
    secret.send(new).expect("deliveries go on");
    // The delivery that is under way may still bear the old one.
    let before = count(&node, "ok").await;
    eventually(SOON, "deliveries go on", async || {
        let after = count(&node, "ok").await;
        if after > before + 2.0 { Ok(()) } else { Err(format!("{after} after {before}")) }
    })
    .await;
    write(&format!("{new:?}"));
    until(old, 401).await;
    drop(secret);
    let sent = deliveries.await.expect("no delivery was refused");
    assert!(sent > 3, "{sent}");
}

#[tokio::test]
async fn secrets_in_files_of_their_own_are_read_again_too() {
    let files = Files::new();
    let (old, new) = ("the old secret of the site", "the new secret of the site");
    let secret_file = files.write("secret", &format!("{old}\n"));
    let file =
        entry("site", "github", "", "").replace("secret = \"\"", &format!("secret_file = {secret_file:?}"));
    let node = with_webhooks(&files.write("webhooks.toml", &file)).start().await;
    let status = async |secret: &str| github(ROOM, secret, "ping", "p", "{}").send(node.public).await.status;
    assert_eq!((status(old).await, status(new).await), (200, 401));

    files.write("secret", new);
    node.signal(Signal::SIGHUP);
    eventually(SOON, "the new secret is in force", async || equal("status", &status(new).await, &200)).await;
    assert_eq!(status(old).await, 401);

    files.write("secret", "short");
    node.signal(Signal::SIGHUP);
    node.until_metric("relay_reload_failing", &[("file", "webhooks")], 1.0).await;
    assert_eq!(status(new).await, 200);
    let told = node.status().await.to_string();
    assert!(told.contains("secret_file has fewer than 16 bytes"), "{told}");
}

#[tokio::test]
async fn a_bad_webhooks_file_is_told_at_the_start_with_every_problem() {
    let files = Files::new();
    let file = files.write(
        "webhooks.toml",
        "[[webhook]]\nid = \"site\"\nkind = \"bitbucket\"\nsecret = \"hunter2\"\nroms = [\"a\"]\n[[webhook.on]]\nevnt = \"push\"\n",
    );
    let settings = environment(&[("webhooks.file", &file), ("publish.keys_file", "/nowhere/keys.toml")]);
    let finished = run(&["check-config"], &settings).await.expect_code(78);
    let output = finished.output();
    for part in [
        "webhooks.file: webhook 1 (\"site\"): kind must be github, gitlab or standard",
        "unknown key roms; did you mean rooms?",
        "rooms is empty",
        "unknown key evnt; did you mean event?",
        &file,
        "publish.keys_file",
    ] {
        assert!(output.contains(part), "{part}:\n{output}");
    }
    assert!(!output.contains("hunter2"), "{output}");
    let missing = environment(&[("webhooks.file", "/nowhere/webhooks.toml")]);
    let output = run(&[], &missing).await.expect_code(78).output();
    assert!(output.contains("webhooks.file: cannot read the file /nowhere/webhooks.toml"), "{output}");
}

#[tokio::test]
async fn a_node_that_takes_webhooks_needs_no_key_and_makes_none() {
    let redis = TestRedis::start().await;
    let files = Files::new();
    let secret = "the secret of the site";
    let file = files.write("webhooks.toml", &entry("site", "github", secret, ""));
    let memory = with_webhooks(&file).unset("publish.secret");
    let clustered = with_webhooks(&file).unset("publish.secret").set("redis.url", redis.url());
    for setup in [memory, clustered] {
        let node = setup.start().await;
        let mut socket = node.connect(ROOM).await;
        let answer = github(ROOM, secret, "push", "d-1", "{}").send(node.public).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        socket.expect_frame(REFRESH).await;
        assert_eq!(refresh(ROOM).send(node.public).await.status, 401);
        assert!(!node.output().contains("rrk_"), "it made a key:\n{}", node.output());
    }
}
