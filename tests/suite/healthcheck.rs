//! `refresh-relay healthcheck`: the probe of images without a shell.

use crate::support::node::{Node, Setup};
use crate::support::ports;
use crate::support::program::{Finished, run, variable};
use crate::support::redis::TestRedis;
use std::collections::BTreeMap;

async fn healthcheck(node: &Node) -> Finished {
    run(&["healthcheck", "--url", &format!("http://{}", node.admin)], &BTreeMap::new()).await
}

#[tokio::test]
async fn it_succeeds_when_the_node_is_ready() {
    let node = Setup::memory().start().await;
    healthcheck(&node).await.expect_code(0);
}

#[tokio::test]
async fn without_an_address_it_asks_the_admin_listener_of_the_settings() {
    let node = Setup::memory().start().await;
    let environment = BTreeMap::from([(variable("admin.bind"), node.admin.to_string())]);
    run(&["healthcheck"], &environment).await.expect_code(0);
}

#[tokio::test]
async fn it_asks_this_host_when_the_admin_listener_is_bound_to_all() {
    let node = Setup::memory().set("admin.bind", "0.0.0.0:0").start().await;
    let environment = BTreeMap::from([(variable("admin.bind"), format!("0.0.0.0:{}", node.admin.port()))]);
    run(&["healthcheck"], &environment).await.expect_code(0);
}

#[tokio::test]
async fn it_fails_when_nothing_listens_and_says_what_it_asked() {
    let address = format!("127.0.0.1:{}", ports::free());
    let finished = run(&["healthcheck", "--url", &format!("http://{address}")], &BTreeMap::new()).await;
    let finished = finished.expect_code(1);
    assert!(finished.output().contains(&address), "{finished:#?}");
}

#[tokio::test]
async fn it_fails_while_the_node_has_never_been_linked() {
    let redis = TestRedis::away();
    let node = Setup::redis(&redis).start_unready().await;
    healthcheck(&node).await.expect_code(1);
}

#[tokio::test]
async fn it_fails_while_the_node_drains() {
    let node = Setup::memory().set("drain.notice_seconds", 60).start().await;
    node.sigterm();
    node.until_metric("relay_draining", &[], 1.0).await;
    healthcheck(&node).await.expect_code(1);
}
