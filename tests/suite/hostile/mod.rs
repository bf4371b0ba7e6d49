//! What strangers on the Internet send, by mistake or on purpose: the node answers as documented, serves everyone else
//! meanwhile, and is none the worse afterwards.

mod files;
mod floods;
mod frames;
mod requests;
mod slow;

use crate::support::node::Node;

const PATH: &str = "/party/featurevisor";

/// Panics unless a publish still reaches an app, within the deadlines of both, and nothing has panicked.
async fn expect_unharmed(node: &Node) {
    let mut app = node.connect("unharmed").await;
    let answer = node.refresh("unharmed").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    app.frame().await;
    assert_eq!(node.readiness().await, 200);
    let output = node.output();
    assert!(!output.contains("panicked"), "something panicked:\n{output}");
}
