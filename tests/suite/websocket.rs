//! Sockets that are open: what they are sent, what they may send, and how they end.

use crate::support::node::{Node, Setup};
use crate::support::raw::{CLOSE, PING, RawSocket, TEXT, masked, message, unmasked};
use crate::support::socket::{Ending, REFRESH, Socket, handshake, refresh_with};
use crate::support::wait::{QUIET, SOON, eventually};
use std::time::Duration;

const PATH: &str = "/party/featurevisor";
const BINARY: u8 = 0x2;

#[tokio::test]
async fn a_refresh_is_one_text_frame_of_exactly_these_bytes() {
    let node = Setup::memory().start().await;
    let mut socket = RawSocket::connect(node.public, PATH).await;
    node.party("featurevisor").await;
    assert_eq!(socket.bytes(20).await, b"\x81\x12{\"type\":\"refresh\"}");
    node.refresh_to("featurevisor", "42").await;
    assert_eq!(socket.bytes(36).await, b"\x81\x22{\"type\":\"refresh\",\"revision\":\"42\"}");
}

#[tokio::test]
async fn what_a_client_says_is_ignored_and_relayed_to_nobody() {
    let node = Setup::memory().start().await;
    let mut talker = node.connect("featurevisor").await;
    let mut listener = node.connect("featurevisor").await;
    talker.text(REFRESH).await;
    talker.text("").await;
    talker.binary(&[0, 159, 146, 150]).await;
    // Its pong comes after the node has read all of the above.
    talker.expect_alive().await;
    node.refresh_to("featurevisor", "fence").await;
    for socket in [&mut talker, &mut listener] {
        socket.expect_frame(&refresh_with("fence")).await;
    }
    assert_eq!(node.metric("relay_connections", &[]).await, 2.0);
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let node = Setup::memory().start().await;
    let mut socket = node.connect("featurevisor").await;
    for payload in [b"".as_slice(), b"hello", &[0xff; 125]] {
        socket.ping(payload).await;
        socket.expect_pong(payload).await;
    }
}

#[tokio::test]
async fn frames_may_come_in_pieces_or_several_at_once() {
    let node = Setup::memory().start().await;
    let mut socket = RawSocket::connect(node.public, PATH).await;
    for byte in message(PING, b"slowly") {
        socket.send(&[byte]).await;
    }
    assert_eq!(socket.frame_within(SOON).await.expect("a pong").payload, b"slowly");
    let burst = [message(PING, b"one"), message(TEXT, b"hello"), message(PING, b"two"), message(CLOSE, &[])];
    socket.send(&burst.concat()).await;
    for payload in [b"one", b"two"] {
        assert_eq!(socket.frame_within(SOON).await.expect("a pong").payload, payload);
    }
    assert_eq!(socket.close_code().await, 1000);
}

#[tokio::test]
async fn a_clients_close_is_answered_with_1000_and_the_end_of_the_connection() {
    let node = Setup::memory().start().await;
    let closes: [&[u8]; 3] =
        [&1000_u16.to_be_bytes(), &[&1001_u16.to_be_bytes(), b"going away".as_slice()].concat(), &[]];
    for payload in closes {
        let mut socket = RawSocket::connect(node.public, PATH).await;
        socket.send(&message(CLOSE, payload)).await;
        assert_eq!(socket.close_code().await, 1000, "answer to {payload:?}");
        socket.expect_end().await;
    }
    node.until_metric("relay_connections", &[], 0.0).await;
    assert_eq!(node.metric("relay_connections_closed_total", &[("reason", "client")]).await, 3.0);
}

#[tokio::test]
async fn a_message_over_the_limit_is_closed_with_1009() {
    let node = Setup::memory().start().await;
    let mut socket = RawSocket::connect(node.public, PATH).await;
    socket.send(&message(TEXT, &[b'x'; 4096])).await;
    socket.send(&message(PING, b"still there?")).await;
    let pong = socket.frame_within(SOON).await.expect("4096 bytes are allowed");
    assert_eq!(pong.payload, b"still there?");
    socket.send(&message(TEXT, &[b'x'; 4097])).await;
    assert_eq!(socket.close_code().await, 1009);
    socket.expect_end().await;

    let mut binary = RawSocket::connect(node.public, PATH).await;
    binary.send(&message(BINARY, &vec![0; 70_000])).await;
    assert_eq!(binary.close_code().await, 1009);

    let mut in_pieces = RawSocket::connect(node.public, PATH).await;
    in_pieces.send(&masked(TEXT, &[b'x'; 4000])).await;
    in_pieces.send(&masked(0x80, &[b'x'; 97])).await;
    assert_eq!(in_pieces.close_code().await, 1009);

    node.until_metric("relay_connections_closed_total", &[("reason", "too_big")], 3.0).await;
}

/// What never ends cannot be waited for, and must not be kept.
#[tokio::test]
async fn a_frame_that_claims_to_be_endless_is_closed_with_1009_while_it_is_coming_in() {
    let node = Setup::memory().start().await;
    let endless = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
    let in_pieces = [&[0x00, 0xff][..], &(1_u64 << 62).to_be_bytes(), &[0; 4]].concat();
    for header in [endless, [masked(BINARY, b"first"), in_pieces].concat()] {
        let mut socket = RawSocket::connect(node.public, PATH).await;
        socket.send(&header).await;
        socket.send(&[0; 4200]).await;
        assert_eq!(socket.close_code().await, 1009);
    }
    node.until_metric("relay_connections_closed_total", &[("reason", "too_big")], 2.0).await;
}

#[tokio::test]
async fn who_goes_on_sending_after_an_error_still_sees_the_close_frame() {
    let node = Setup::memory().start().await;
    for (bytes, code) in [(unmasked(TEXT, b"hello"), 1002), (message(BINARY, &[0; 5000]), 1009)] {
        let mut socket = RawSocket::connect(node.public, PATH).await;
        socket.send(&bytes).await;
        // More than one read of the node takes.
        socket.send(&vec![0xff; 200_000]).await;
        assert_eq!(socket.close_code().await, code);
    }
}

#[tokio::test]
async fn the_limit_of_what_a_client_may_send_is_a_setting() {
    let node = Setup::memory().set("websocket.max_message_bytes", 10).start().await;
    let mut socket = RawSocket::connect(node.public, PATH).await;
    socket.send(&message(TEXT, &[b'x'; 10])).await;
    socket.send(&message(PING, b"here?")).await;
    assert_eq!(socket.frame_within(SOON).await.expect("10 bytes are allowed").payload, b"here?");
    socket.send(&message(TEXT, &[b'x'; 11])).await;
    assert_eq!(socket.close_code().await, 1009);
}

#[tokio::test]
async fn a_break_of_the_protocol_is_closed_with_1002() {
    let node = Setup::memory().start().await;
    let breaks: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", vec![0xff; 64]),
        ("an unmasked frame", unmasked(TEXT, b"hello")),
        ("a reserved opcode", message(0x3, b"hello")),
        ("a reserved bit", masked(0xc1, b"hello")),
        ("a ping in pieces", masked(PING, b"hello")),
        ("a ping of 126 bytes", message(PING, &[0; 126])),
        ("a continuation of nothing", message(0x0, b"hello")),
        ("a new message within another", [masked(TEXT, b"one"), message(TEXT, b"two")].concat()),
        ("a close frame of one byte", message(CLOSE, &[3])),
    ];
    expect_all_closed(&node, breaks, 1002).await;
}

/// Each of these, sent alone, closes its socket with that code.
async fn expect_all_closed(node: &Node, cases: Vec<(&str, Vec<u8>)>, code: u16) {
    let count = cases.len();
    let mut failures = Vec::new();
    for (name, bytes) in cases {
        let mut socket = RawSocket::connect(node.public, PATH).await;
        socket.send(&bytes).await;
        let end = tokio::time::timeout(SOON, tokio::spawn(async move { socket.close_code().await })).await;
        if !matches!(end, Ok(Ok(closed)) if closed == code) {
            failures.push(format!("- {name}: {end:?}"));
        }
    }
    assert!(failures.is_empty(), "not closed with {code}:\n{}", failures.join("\n"));
    node.until_metric("relay_connections_closed_total", &[("reason", "protocol")], count as f64).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_closed_with_1007() {
    let node = Setup::memory().start().await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no UTF-8 at all", message(TEXT, &[0xff])),
        ("a surrogate", message(TEXT, b"\xed\xa0\x80")),
        ("a message that ends within a character", message(TEXT, b"caf\xc3")),
        // Said as soon as it is known, not at the end of the message.
        ("the first of several pieces", masked(TEXT, b"\xc0\xaf")),
        ("a later piece", [masked(TEXT, b"caf"), masked(0x0, b"\xff")].concat()),
        ("a character of two pieces", [masked(TEXT, b"\xf4"), masked(0x0, b"\x90")].concat()),
        ("pieces that end within a character", [masked(TEXT, b"caf"), message(0x0, b"\xc3")].concat()),
        ("a character continued in another message", {
            [masked(TEXT, b"a"), message(0x0, b"\xc3"), message(TEXT, b"\xa9")].concat()
        }),
    ];
    expect_all_closed(&node, cases, 1007).await;
}

#[tokio::test]
async fn a_character_may_be_cut_between_the_pieces_of_a_message() {
    let node = Setup::memory().start().await;
    let mut socket = RawSocket::connect(node.public, PATH).await;
    let text = "ß€𝄞".as_bytes();
    for (index, byte) in text.iter().enumerate() {
        let opcode = if index == 0 { TEXT } else { 0x0 };
        socket.send(&masked(opcode, &[*byte])).await;
    }
    socket.send(&message(0x0, b"")).await;
    // What is not text need not be UTF-8.
    socket.send(&[masked(BINARY, b"\xff"), message(0x0, b"\xff")].concat()).await;
    socket.send(&message(PING, b"still there?")).await;
    assert_eq!(socket.frame_within(SOON).await.expect("a pong").payload, b"still there?");
}

#[tokio::test]
async fn the_node_pings_and_closes_only_the_socket_that_is_silent() {
    let setup =
        Setup::memory().set("websocket.ping_interval_seconds", 1).set("websocket.pong_timeout_seconds", 1);
    let node = setup.start().await;
    let mut answering = node.connect("featurevisor").await;
    let mut silent = RawSocket::connect(node.public, PATH).await;

    let first = silent.frame_within(SOON).await.expect("a ping before the end");
    assert_eq!(first.opcode(), PING);
    silent.expect_end().await;

    node.until_metric("relay_connections_closed_total", &[("reason", "ping_timeout")], 1.0).await;
    let pings = answering.pings();
    eventually(SOON, "pings go on", async || {
        if answering.pings() > pings + 1 { Ok(()) } else { Err(format!("{} pings", answering.pings())) }
    })
    .await;
    answering.expect_alive().await;
    assert_eq!(answering.ending(), None);
}

#[tokio::test]
async fn a_subprotocol_is_echoed_only_if_it_is_configured() {
    let plain = Setup::memory().start().await;
    let configured = Setup::memory().set("websocket.subprotocols", "refresh.v1,refresh.v2").start().await;
    let echoed = async |node: &Node, offered: &str| {
        let answer = handshake(node.public, PATH, &[("Sec-WebSocket-Protocol", offered)]).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        answer.header("sec-websocket-protocol").map(str::to_owned)
    };
    assert_eq!(echoed(&plain, "refresh.v1").await, None);
    assert_eq!(echoed(&configured, "other, refresh.v2, refresh.v1").await.as_deref(), Some("refresh.v2"));
    assert_eq!(echoed(&configured, "other").await, None);

    let mut socket =
        Socket::connect_with(configured.public, PATH, &[("Sec-WebSocket-Protocol", "refresh.v1")]).await;
    assert_eq!(socket.subprotocol.as_deref(), Some("refresh.v1"));
    configured.party("featurevisor").await;
    socket.expect_frame(REFRESH).await;
}

#[tokio::test]
async fn nothing_is_sent_on_connect_when_nothing_was_published() {
    let node = Setup::memory().start().await;
    node.refresh_to("another-room", "1").await;
    let mut socket = node.connect("featurevisor").await;
    node.refresh_to("featurevisor", "2").await;
    socket.expect_frame(&refresh_with("2")).await;
}

#[tokio::test]
async fn who_connects_within_the_replay_window_is_told_at_once() {
    let node = Setup::memory().start().await;
    node.refresh("featurevisor").await;
    node.refresh_to("featurevisor", "7").await;
    let mut late = node.connect("featurevisor").await;
    late.expect_frame(&refresh_with("7")).await;
    node.refresh_to("featurevisor", "8").await;
    late.expect_frame(&refresh_with("8")).await;
    node.until_metric("relay_deliveries_total", &[("outcome", "replayed")], 1.0).await;
}

#[tokio::test]
async fn who_connects_after_the_replay_window_is_told_nothing() {
    let node = Setup::memory().set("rooms.replay_window_seconds", 1).start().await;
    node.refresh_to("featurevisor", "7").await;
    node.connect("featurevisor").await.expect_frame(&refresh_with("7")).await;
    let mut late = eventually(SOON, "a newcomer is told nothing", async || {
        let mut socket = node.connect("featurevisor").await;
        match socket.try_frame(QUIET).await {
            None => Ok(socket),
            Some(frame) => Err(format!("it was told {frame}")),
        }
    })
    .await;
    node.refresh_to("featurevisor", "8").await;
    late.expect_frame(&refresh_with("8")).await;
}

#[tokio::test]
async fn a_replay_window_of_zero_is_off() {
    let node = Setup::memory().set("rooms.replay_window_seconds", 0).start().await;
    node.refresh_to("featurevisor", "7").await;
    let mut late = node.connect("featurevisor").await;
    late.expect_silence(QUIET).await;
    node.refresh_to("featurevisor", "8").await;
    late.expect_frame(&refresh_with("8")).await;
}

#[tokio::test]
async fn a_socket_that_is_told_nothing_stays_open() {
    let setup =
        Setup::memory().set("websocket.ping_interval_seconds", 1).set("websocket.pong_timeout_seconds", 1);
    let node = setup.start().await;
    let mut socket = node.connect("featurevisor").await;
    socket.expect_silence(Duration::from_secs(4)).await;
    assert_eq!(socket.ending(), None);
    node.party("featurevisor").await;
    socket.expect_frame(REFRESH).await;
}

#[tokio::test]
async fn a_client_that_is_gone_without_a_close_is_forgotten() {
    let node = Setup::memory().start().await;
    RawSocket::connect(node.public, PATH).await.reset();
    drop(RawSocket::connect(node.public, PATH).await);
    node.until_metric("relay_connections_opened_total", &[], 2.0).await;
    node.until_metric("relay_connections", &[], 0.0).await;
    node.until_metric("relay_rooms", &[], 0.0).await;
    assert_eq!(node.party("featurevisor").await.body, "Message sent to 0 connected participants");
}

#[tokio::test]
async fn a_close_by_the_client_is_clean_on_both_sides() {
    let node = Setup::memory().start().await;
    let mut socket = node.connect("featurevisor").await;
    socket.close(Some(1000)).await;
    let (_, ending) = socket.ended_within(SOON).await;
    assert_eq!(ending, Ending::Close(Some(1000)));
}
