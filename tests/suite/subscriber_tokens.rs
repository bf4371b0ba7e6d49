//! Listening with a token, where that is required: by the three ways a client can show it, until it expires.

use crate::settings::check_config;
use crate::support::http::{Answer, Request};
use crate::support::issuer::{Issuer, SigningKey, encode, in_seconds, message, sign_hs256, with};
use crate::support::node::{KEY, Node, Setup, refresh};
use crate::support::program::{Files, environment};
use crate::support::socket::{Ending, REFRESH, Socket, handshake};
use crate::support::wait::{SOON, equal, eventually};
use serde_json::{Value, json};

const SECRET: &str = "a secret that the app's backend has too";
const PATH: &str = "/party/featurevisor";

fn setup() -> Setup {
    Setup::memory().set("subscribers.tokens", "required").set("subscribers.hs256_secret", SECRET)
}

/// What a backend says of one of its users.
fn claims() -> Value {
    json!({"sub": "user-7", "rooms": ["featurevisor", "shop-*"], "exp": in_seconds(300)})
}

fn token(over: Value) -> String {
    sign_hs256(SECRET.as_bytes(), &with(claims(), over))
}

fn query(path: &str, token: &str) -> String {
    format!("{path}?_pk=1f6c&token={token}")
}

/// The answer to a handshake that shows the token in its query.
async fn shown(node: &Node, path: &str, token: &str) -> Answer {
    handshake(node.public, &query(path, token), &[]).await
}

async fn refused(node: &Node, reason: &str) -> f64 {
    node.metric("relay_handshakes_refused_total", &[("reason", reason)]).await
}

#[tokio::test]
async fn a_client_shows_its_token_in_the_query_as_a_bearer_or_among_its_subprotocols() {
    let node = setup().start().await;
    let token = token(json!({}));
    let (bearer, offered) = (format!("Bearer {token}"), format!("relay.v1, token.{token}"));
    let mut sockets = [
        Socket::connect(node.public, &query(PATH, &token)).await,
        Socket::connect(node.public, &query("/parties/main/featurevisor", &token)).await,
        Socket::connect_with(node.public, PATH, &[("Authorization", &bearer)]).await,
        Socket::connect_with(node.public, PATH, &[("Sec-WebSocket-Protocol", &offered)]).await,
    ];
    assert_eq!(sockets[0].subprotocol, None);
    assert_eq!(sockets[3].subprotocol.as_deref(), Some("relay.v1"), "a browser gives up otherwise");
    assert_eq!(node.refresh("featurevisor").await.json()["connections"], 4);
    for socket in &mut sockets {
        socket.expect_frame(REFRESH).await;
    }
}

#[tokio::test]
async fn of_the_subprotocols_one_that_is_set_is_agreed_to_and_never_the_token() {
    let node = setup().set("websocket.subprotocols", "graphql-ws").start().await;
    let offered = format!("token.{}, graphql-ws, relay.v1", token(json!({})));
    let socket = Socket::connect_with(node.public, PATH, &[("Sec-WebSocket-Protocol", &offered)]).await;
    assert_eq!(socket.subprotocol.as_deref(), Some("graphql-ws"));
}

#[tokio::test]
async fn without_a_token_there_is_no_socket_and_publishing_needs_none() {
    let node = setup().start().await;
    for headers in [&[][..], &[("Authorization", "Basic eA==")], &[("Sec-WebSocket-Protocol", "relay.v1")]] {
        let answer = handshake(node.public, PATH, headers).await;
        answer.expect_sentence(401);
        assert!(answer.body.contains("No token"), "{answer:?}");
    }
    assert_eq!(refused(&node, "unauthorized").await, 3.0);
    assert_eq!(node.refresh("featurevisor").await.status, 200);
    assert_eq!(node.party("featurevisor").await.status, 200);
    let key = handshake(node.public, PATH, &[("Authorization", &format!("Bearer {KEY}"))]).await;
    key.expect_sentence(401);
}

#[tokio::test]
async fn a_token_is_good_for_the_rooms_it_names() {
    let node = setup().start().await;
    for (rooms, room, status) in [
        (json!(["featurevisor", "shop-*"]), "featurevisor", 101),
        (json!(["featurevisor", "shop-*"]), "shop-1", 101),
        (json!(["featurevisor", "shop-*"]), "featurevisor2", 403),
        (json!(["featurevisor", "shop-*"]), "Shop-1", 403),
        (json!("shop-*"), "shop-1", 101),
        (json!("shop-*"), "featurevisor", 403),
        (json!("*"), "featurevisor", 101),
        (json!([]), "featurevisor", 403),
    ] {
        let answer = shown(&node, &format!("/party/{room}"), &token(json!({ "rooms": rooms }))).await;
        assert_eq!(answer.status, status, "{rooms} for {room}: {answer:?}");
    }
    assert_eq!(refused(&node, "forbidden").await, 4.0);
}

#[tokio::test]
async fn a_token_that_is_no_good_is_refused_with_the_check_it_failed() {
    let settings = setup().set("subscribers.audience", "relay").set("subscribers.issuer", "backend");
    let node = settings.start().await;
    let good = with(claims(), json!({"aud": "relay", "iss": "backend"}));
    let signed = |over: Value| sign_hs256(SECRET.as_bytes(), &with(good.clone(), over));
    let header = |alg: &str| json!({"typ": "JWT", "alg": alg});
    let cases = [
        (sign_hs256(b"another secret, as long as the first one", &good), "signature"),
        (format!("{}.{}", message(&header("none"), &good), encode("x")), "algorithm"),
        (format!("{}.", message(&header("none"), &good)), "algorithm"),
        (SigningKey::rsa().sign(&header("RS256"), &good), "algorithm"),
        (signed(json!({"exp": in_seconds(-90)})), "expired"),
        (signed(json!({"exp": null})), "exp"),
        (signed(json!({"nbf": in_seconds(90)})), "not valid yet"),
        (signed(json!({"aud": "other"})), "audience"),
        (signed(json!({"iss": "other"})), "issuer"),
        (signed(json!({"rooms": null})), "rooms"),
        (signed(json!({"rooms": ["a*b"]})), "rooms"),
        (signed(json!({"rooms": {"featurevisor": true}})), "rooms"),
        (signed(json!({"sub": "x".repeat(10_000)})), "longer than"),
        ("what-is-this".to_owned(), "not a JSON Web Token"),
        (String::new(), "not a JSON Web Token"),
    ];
    for (token, check) in &cases {
        let answer = shown(&node, PATH, token).await;
        answer.expect_sentence(401);
        assert!(answer.body.contains(check), "wanted {check:?}: {answer:?}");
    }
    assert_eq!(refused(&node, "unauthorized").await, cases.len() as f64);
    assert_eq!(shown(&node, PATH, &signed(json!({}))).await.status, 101);
}

#[tokio::test]
async fn a_socket_is_closed_with_1008_when_its_token_has_expired_and_others_stay() {
    let node = setup().start().await;
    // Good until a minute after exp.
    let mut brief = Socket::connect(node.public, &query(PATH, &token(json!({"exp": in_seconds(-57)})))).await;
    let mut long = Socket::connect(node.public, &query(PATH, &token(json!({})))).await;
    node.refresh("featurevisor").await;
    brief.expect_frame(REFRESH).await;

    // Well before the first ping, so it is a timer of its own.
    let (_, ending) = brief.ended_within(SOON).await;
    assert_eq!(ending, Ending::Close(Some(1008)));
    node.until_metric("relay_connections_closed_total", &[("reason", "expired")], 1.0).await;
    long.expect_frame(REFRESH).await;
    long.expect_alive().await;
    assert_eq!(node.refresh("featurevisor").await.json()["connections"], 1);
}

#[tokio::test]
async fn public_keys_in_a_file_verify_tokens_and_serve_as_no_secret() {
    let (files, rsa, ec) = (Files::new(), SigningKey::rsa(), SigningKey::ec());
    let file = files.write("keys.pem", &format!("{}{}", rsa.public_pem, ec.public_pem));
    let node = Setup::memory().set("subscribers.tokens", "required");
    let node = node.set("subscribers.public_keys_file", &file).start().await;
    let signed = |key: &SigningKey| key.sign(&json!({"alg": key.algorithm(), "kid": "any"}), &claims());
    for key in [&rsa, &ec] {
        assert_eq!(shown(&node, PATH, &signed(key)).await.status, 101, "{}", key.algorithm());
    }
    for forged in [
        sign_hs256(rsa.public_pem.as_bytes(), &claims()),
        sign_hs256(format!("{}{}", rsa.public_pem, ec.public_pem).as_bytes(), &claims()),
        signed(&SigningKey::rsa()),
        signed(&SigningKey::ec()),
        ec.sign(&json!({"alg": "RS256"}), &claims()),
    ] {
        shown(&node, PATH, &forged).await.expect_sentence(401);
    }
}

#[tokio::test]
async fn keys_of_an_issuer_are_fetched_and_changed_ones_picked_up() {
    let issuer = Issuer::start().await;
    issuer.set_down(true);
    let setup = Setup::memory().set("subscribers.tokens", "required");
    let node = setup.set("subscribers.jwks_url", issuer.jwks_url()).start().await;

    let answer = shown(&node, PATH, &issuer.sign(&claims())).await;
    answer.expect_sentence(503);
    answer.expect_retry_after();
    assert_eq!(refused(&node, "issuer_unavailable").await, 1.0);

    issuer.set_down(false);
    eventually(2 * SOON, "the keys are fetched", async || {
        equal("status", &shown(&node, PATH, &issuer.sign(&claims())).await.status, &101)
    })
    .await;
    issuer.rotate("2");
    assert_eq!(shown(&node, PATH, &issuer.sign(&claims())).await.status, 101);
}

#[tokio::test]
async fn a_secret_is_changed_without_losing_a_socket() {
    let (files, new) = (Files::new(), "the secret that comes after the first one");
    let file = files.write("secret", SECRET);
    let setup = Setup::memory().set("subscribers.tokens", "required");
    let node = setup.set("subscribers.hs256_secret_file", &file).start().await;
    let mut socket = Socket::connect(node.public, &query(PATH, &token(json!({})))).await;
    let newer = sign_hs256(new.as_bytes(), &claims());
    shown(&node, PATH, &newer).await.expect_sentence(401);

    files.write("secret", &format!("{SECRET}\n{new}\n"));
    eventually(SOON, "the new secret counts", async || {
        equal("status", &shown(&node, PATH, &newer).await.status, &101)
    })
    .await;
    assert_eq!(shown(&node, PATH, &token(json!({}))).await.status, 101);

    files.write("secret", "too short");
    node.until_metric("relay_reload_failing", &[("file", "subscriber_keys")], 1.0).await;
    assert_eq!(shown(&node, PATH, &newer).await.status, 101);

    files.write("secret", new);
    eventually(SOON, "the old secret is forgotten", async || {
        equal("status", &shown(&node, PATH, &token(json!({}))).await.status, &401)
    })
    .await;
    socket.expect_alive().await;
}

#[tokio::test]
async fn where_tokens_are_off_none_is_looked_at() {
    let node = Setup::memory().start().await;
    assert_eq!(shown(&node, PATH, "whatever").await.status, 101);
    assert_eq!(handshake(node.public, PATH, &[]).await.status, 101);
}

#[tokio::test]
async fn settings_that_would_let_nobody_or_anybody_in_are_refused() {
    let files = Files::new();
    let private = files.write("private", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let required = ("subscribers.tokens", "required");
    let secret = ("subscribers.hs256_secret", SECRET);
    let jwks = "https://backend.example/keys";
    for (settings, parts) in [
        (vec![required], vec!["subscribers.tokens", "subscribers.jwks_url"]),
        (vec![("subscribers.tokens", "on")], vec!["must be off or required"]),
        (vec![required, secret, ("subscribers.jwks_url", jwks)], vec!["set one of"]),
        (vec![required, ("subscribers.hs256_secret", "hunter2")], vec!["32 bytes", "openssl rand"]),
        (vec![required, ("subscribers.public_keys_file", private.as_str())], vec!["PRIVATE KEY", "-pubout"]),
        (vec![required, ("subscribers.jwks_url", "http://backend.example/keys")], vec!["https://"]),
        (vec![required, secret, ("websocket.subprotocols", "token.x")], vec!["must not begin with token."]),
    ] {
        let finished = check_config(&[], &environment(&settings)).await.expect_code(78);
        for part in parts {
            assert!(finished.stderr.contains(part), "{part}: {finished:#?}");
        }
        assert!(!finished.output().contains("hunter2"), "{finished:#?}");
    }
    let shown = check_config(&[], &environment(&[required, secret])).await.expect_code(0);
    assert!(!shown.output().contains(SECRET), "{shown:#?}");
}

#[tokio::test]
async fn no_listeners_token_is_ever_logged() {
    let node = setup().set("log.level", "trace").start().await;
    let tokens = [token(json!({})), token(json!({"exp": 1})), token(json!({"rooms": "other"}))];
    for token in &tokens {
        let (bearer, offered) = (format!("Bearer {token}"), format!("relay.v1, token.{token}"));
        shown(&node, PATH, token).await;
        shown(&node, "/nope", token).await;
        handshake(node.public, PATH, &[("Authorization", &bearer)]).await;
        handshake(node.public, PATH, &[("Sec-WebSocket-Protocol", &offered)]).await;
        // Where no token belongs.
        Request::get(&query("/v1/rooms/featurevisor", token)).send(node.public).await;
        Request::post(&query("/v1/rooms/featurevisor/refresh", token)).send(node.public).await;
        handshake(node.public, &query(PATH, token), &[("Sec-WebSocket-Version", "8")]).await;
    }
    refresh("featurevisor").send(node.public).await;
    let output = node.output();
    assert!(output.contains("published"), "nothing was logged");
    for part in tokens.iter().flat_map(|token| token.split('.').skip(1)).chain([SECRET]) {
        let line = output.lines().find(|line| line.contains(part));
        assert_eq!(line, None, "a part of a token was logged");
    }
}
