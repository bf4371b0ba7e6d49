//! Frames that no client should send, and too many of those that it may.

use super::{PATH, expect_unharmed};
use crate::support::node::Setup;
use crate::support::raw::{CLOSE, PING, RawSocket, TEXT, masked, message, unmasked};

const BINARY: u8 = 0x2;
const PONG: u8 = 0xa;

/// As many frames at a time: no more than the node's buffer for one read holds.
const AT_A_TIME: usize = 1000;

#[tokio::test]
async fn every_first_byte_and_every_length_byte_leaves_the_node_unharmed() {
    let node = Setup::memory().start().await;
    for byte in 0..=u8::MAX {
        let mut first = RawSocket::connect(node.public, PATH).await;
        first.send(&[byte, 0x80, 1, 2, 3, 4]).await;
        let mut length = RawSocket::connect(node.public, PATH).await;
        length
            .send(&[0x82, byte, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
            .await;
    }
    node.until_metric("relay_connections", &[], 0.0).await;
    expect_unharmed(&node).await;
}

#[tokio::test]
async fn what_breaks_the_protocol_is_closed_with_its_code() {
    let node = Setup::memory().start().await;
    let deep = [masked(TEXT, b"x"), masked(0x0, &[b'x'; 1000]).repeat(5)].concat();
    // Far more than fits, with as little behind it as shows that it will not.
    let claims = |length: [u8; 8]| [&[0x82, 0xff][..], &length, &[0; 4 + 4200]].concat();
    let breaks = [
        ("text that is no UTF-8", message(TEXT, b"\xff\xfe"), 1007),
        ("an unmasked frame", unmasked(TEXT, b"hello"), 1002),
        ("every reserved bit", masked(0xf1, b"hello"), 1002),
        ("a reserved opcode", message(0x7, b""), 1002),
        ("a reserved control opcode", message(0xf, b""), 1002),
        ("a length of 2^63", claims([0x80, 0, 0, 0, 0, 0, 0, 0]), 1009),
        ("a length of 2^63 - 1", claims([0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), 1009),
        ("a length of a mebibyte", claims([0, 0, 0, 0, 0, 0x10, 0, 0]), 1009),
        ("a message in pieces that grows too large", deep, 1009),
    ];
    for (name, bytes, code) in breaks {
        let mut socket = RawSocket::connect(node.public, PATH).await;
        socket.send(&bytes).await;
        assert_eq!(socket.close_code().await, code, "{name}");
        socket.expect_end().await;
    }
    expect_unharmed(&node).await;
}

#[tokio::test]
async fn floods_of_frames_are_closed_with_1008() {
    let node = Setup::memory().start().await;
    let mut neighbour = node.connect("featurevisor").await;
    for opcode in [PING, PONG, TEXT, BINARY] {
        let mut socket = RawSocket::connect(node.public, PATH).await;
        socket.send(&message(opcode, b"x").repeat(AT_A_TIME)).await;
        assert_eq!(socket.close_code().await, 1008, "opcode {opcode:#x}");
        socket.expect_end().await;
    }
    node.until_metric("relay_connections_closed_total", &[("reason", "rate")], 4.0).await;
    neighbour.expect_alive().await;
    expect_unharmed(&node).await;
}

/// One worker, so that the flood and everyone else are on the same thread.
#[tokio::test]
async fn a_million_pings_where_they_are_allowed_hold_up_nobody() {
    let setup = Setup::memory().set("websocket.max_frames_per_second", 0).set("server.workers", 1);
    let node = setup.start().await;
    let socket = RawSocket::connect(node.public, PATH).await;
    let (mut reading, mut writing) = socket.split();
    let sending = tokio::spawn(async move {
        let frames = message(PING, b"").repeat(AT_A_TIME);
        for _ in 0..1000 {
            writing.send(&frames).await;
        }
        writing.send(&message(CLOSE, &[])).await;
        writing
    });
    let reading = tokio::spawn(async move { reading.read_to_end().await });
    let mut rounds = 0;
    while !reading.is_finished() {
        expect_unharmed(&node).await;
        rounds += 1;
    }
    assert!(rounds > 0);
    // Of pings that come faster than their pongs can go out only the newest is answered.
    assert!(reading.await.expect("read") > 0, "not one pong");
    sending.await.expect("sent");
    node.until_metric("relay_connections", &[], 0.0).await;
}

/// Its pongs pile up nowhere: of those that cannot be sent, one is kept.
#[tokio::test]
async fn a_client_that_pings_and_never_reads_holds_up_nobody() {
    let setup = Setup::memory().set("websocket.max_frames_per_second", 0).set("server.workers", 1);
    let node = setup.start().await;
    let mut socket = RawSocket::connect_narrow(node.public, PATH).await;
    for _ in 0..200 {
        socket.send(&message(PING, &[b'x'; 125]).repeat(AT_A_TIME)).await;
    }
    expect_unharmed(&node).await;
    drop(socket);
    node.until_metric("relay_connections", &[], 0.0).await;
}
