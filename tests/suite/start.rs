//! The first minute: a node without any configuration, and what it prints to go on with.

use crate::support::node::{KEY, Node, Setup};
use crate::support::socket::{REFRESH, Socket};
use crate::support::wait::{SOON, eventually};
use std::net::SocketAddr;
use tokio::net::lookup_host;
use tokio::process::Command;

/// The defaults, but for ports that the system picks: fixed ones could be in use.
async fn unconfigured() -> Node {
    let setup = Setup::memory().plain().set("server.bind", "0.0.0.0:0");
    setup.unset("publish.secret").unset("log.format").arguments(&[]).start().await
}

/// The printed `curl` command with the lines it goes on over, as one would select it to paste.
async fn curl_line(node: &Node) -> String {
    eventually(SOON, "the node prints a curl line", async || {
        let output = node.output();
        let start = output.find("curl ").ok_or_else(|| output.clone())?;
        let mut command = String::new();
        for line in output[start..].lines() {
            command.push_str(line);
            command.push('\n');
            if !line.trim_end().ends_with('\\') {
                return Ok(command);
            }
        }
        Err(output)
    })
    .await
}

fn websocket_address(node: &Node) -> String {
    let output = node.output();
    let start = output.find("ws://").unwrap_or_else(|| panic!("no WebSocket address in:\n{output}"));
    let end =
        output[start..].find(|c: char| c.is_whitespace() || c == '"').map_or(output.len(), |end| start + end);
    output[start..end].to_owned()
}

#[tokio::test]
async fn the_printed_address_and_curl_line_work_when_pasted() {
    let node = unconfigured().await;
    let curl = curl_line(&node).await;
    let address = websocket_address(&node);
    assert!(!address.contains("0.0.0.0"), "browsers do not connect to {address}");
    let (host, path) = address["ws://".len()..].split_once('/').expect("an address with a room");
    let host =
        lookup_host(host).await.expect("a host that resolves").find(SocketAddr::is_ipv4).expect("IPv4");
    let mut socket = Socket::connect(host, &format!("/{path}")).await;

    let run = Command::new("sh").args(["-c", &curl]).output().await.expect("sh runs");

    assert!(run.status.success(), "{curl}\n{run:?}");
    socket.expect_frame(REFRESH).await;
}

#[tokio::test]
async fn the_key_is_made_anew_for_each_run() {
    let (one, two) = tokio::join!(unconfigured(), unconfigured());
    let (first, second) = (curl_line(&one).await, curl_line(&two).await);
    let without_port = |line: &str, node: &Node| line.replace(&node.public.port().to_string(), "PORT");
    assert_ne!(without_port(&first, &one), without_port(&second, &two), "the same key twice");
}

#[tokio::test]
async fn a_key_of_the_settings_is_not_printed() {
    let node = Setup::memory().start().await;
    let mut socket = node.connect("featurevisor").await;
    assert_eq!(node.party("featurevisor").await.status, 200);
    socket.expect_frame(REFRESH).await;
    assert!(!node.output().contains(KEY), "{}", node.output());
}

#[tokio::test]
async fn without_a_subcommand_it_serves() {
    let node = Setup::memory().arguments(&[]).start().await;
    let mut socket = node.connect("featurevisor").await;
    assert_eq!(node.refresh("featurevisor").await.status, 200);
    socket.expect_frame(REFRESH).await;
}
