//! Publishing without a key: by a token of the CI system, judged by a rules file.

use crate::support::http::{Answer, Request};
use crate::support::issuer::{Issuer, SecureKeys, SigningKey, encode, in_seconds, message, sign_hs256, with};
use crate::support::node::{KEY, Node, Setup};
use crate::support::program::{self, Files, environment};
use crate::support::tls::Authority;
use crate::support::wait::{SOON, equal, eventually};
use serde_json::{Value, json};

const AUDIENCE: &str = "https://relay.example.com";

/// One issuer with one rule.
fn rules(issuer: &str, claims: &str) -> String {
    format!(
        "[[issuer]]\nurl = {issuer:?}\naudience = {AUDIENCE:?}\n\
         [[issuer.rule]]\nid = \"flags-main\"\nrooms = [\"featurevisor\", \"shop-*\"]\nclaims = {claims}\n"
    )
}

const MAIN_OF_FLAGS: &str = r#"{ repository = "acme/flags", ref = ["refs/heads/main", "refs/tags/*"] }"#;

/// What GitHub says of a job on the main branch of `acme/flags`.
fn claims(issuer: &Issuer) -> Value {
    json!({
        "iss": issuer.url(), "aud": AUDIENCE, "sub": "repo:acme/flags:ref:refs/heads/main",
        "repository": "acme/flags", "ref": "refs/heads/main", "environment": "production",
        "iat": in_seconds(-5), "nbf": in_seconds(-5), "exp": in_seconds(300),
    })
}

fn setup(files: &Files, issuer: &Issuer) -> Setup {
    let file = files.write("oidc.toml", &rules(&issuer.url(), MAIN_OF_FLAGS));
    Setup::memory().unset("publish.secret").set("publish.oidc_file", file)
}

/// A node that has fetched the issuer's keys.
async fn node(files: &Files, issuer: &Issuer) -> Node {
    let node = setup(files, issuer).start().await;
    until_fetched(&node, "ok", 1.0).await;
    node
}

async fn until_fetched(node: &Node, result: &str, times: f64) {
    node.until_metric("relay_jwks_fetches_total", &[("result", result)], times).await;
}

async fn publish(node: &Node, room: &str, token: &str) -> Answer {
    Request::post(&format!("/v1/rooms/{room}/refresh")).bearer(token).send(node.public).await
}

async fn published(node: &Node, api: &str, result: &str) -> f64 {
    node.metric("relay_publishes_total", &[("api", api), ("result", result)]).await
}

#[tokio::test]
async fn a_token_of_ci_publishes_and_its_rule_is_named() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    let node = node(&files, &issuer).await;
    let mut socket = node.connect("shop-1").await;
    let token = issuer.sign(&claims(&issuer));

    let answer = publish(&node, "shop-1", &token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["published_by"], "oidc:flags-main");
    socket.frame().await;

    for (header, value) in
        [("Authorization", format!("Bearer {token}")), ("X-PartyKit-Secret", token.clone())]
    {
        let request = Request::post("/party/shop-1").header(header, &value).body("{}");
        assert_eq!(request.send(node.public).await.status, 200, "{header}");
        socket.frame().await;
    }
    let room = Request::get("/v1/rooms/shop-1").bearer(&token).send(node.public).await;
    assert_eq!(room.json()["published_by"], "oidc:flags-main");
    let tag = with(claims(&issuer), json!({"ref": "refs/tags/v1", "aud": ["other", AUDIENCE]}));
    assert_eq!(publish(&node, "featurevisor", &issuer.sign(&tag)).await.status, 200);
}

#[tokio::test]
async fn a_token_signed_on_an_elliptic_curve_publishes() {
    let (files, issuer) = (Files::new(), Issuer::start_with(SigningKey::ec()).await);
    let node = node(&files, &issuer).await;
    let token = issuer.sign(&claims(&issuer));
    assert_eq!(publish(&node, "featurevisor", &token).await.status, 200);
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let forged =
        format!("{message}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
    publish(&node, "featurevisor", &forged).await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_token_that_does_not_verify_is_refused_with_the_check_it_failed() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    let node = node(&files, &issuer).await;
    let (key, header) = issuer.key();
    let good = claims(&issuer);
    let signed = |over: Value| issuer.sign(&with(good.clone(), over));
    let of_header = |over: Value| key.sign(&with(header.clone(), over), &good);
    let unsigned = |alg: &str| format!("{}.", message(&json!({"typ": "JWT", "alg": alg}), &good));
    let without = |claim: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(claim);
        issuer.sign(&claims)
    };
    let huge = signed(json!({"sub": "x".repeat(10_000)}));
    let cases = [
        (SigningKey::rsa().sign(&header, &good), "signature"),
        (SigningKey::ec().sign(&with(header.clone(), json!({"alg": "ES256"})), &good), "algorithm"),
        (format!("{}.{}", message(&header, &good), encode("no signature")), "signature"),
        (signed(json!({"aud": "https://other.example.com"})), "audience"),
        (signed(json!({"aud": 7})), "aud"),
        (without("aud"), "aud"),
        (signed(json!({"iss": "https://other.example.com"})), "issuer"),
        (without("iss"), "iss"),
        (signed(json!({"exp": in_seconds(-90)})), "expired"),
        (signed(json!({"exp": "tomorrow"})), "exp"),
        (without("exp"), "exp"),
        (signed(json!({"nbf": in_seconds(90)})), "not valid yet"),
        (format!("{}{}", unsigned("none"), encode("x")), "algorithm"),
        (format!("{}{}", unsigned("None"), encode("x")), "algorithm"),
        (sign_hs256(key.public_pem.as_bytes(), &good), "algorithm"),
        (sign_hs256(b"a secret that anyone can read here", &good), "algorithm"),
        (of_header(json!({"kid": "2"})), "kid"),
        (of_header(json!({"alg": "RS512"})), "algorithm"),
        (of_header(json!({"crit": ["b64"], "b64": false})), "critical"),
        (huge, "longer than"),
        ("eyJ.eyJ.eyJ".to_owned(), "not a JSON Web Token"),
    ];
    for (token, check) in &cases {
        let answer = publish(&node, "featurevisor", token).await;
        answer.expect_problem(401, "unauthorized");
        let detail = answer.json()["detail"].as_str().expect("a text").to_owned();
        assert!(detail.contains(check), "wanted {check:?}: {answer:?}");
        assert!(!answer.body.contains(&token[..token.len().min(40)]), "the token is repeated: {answer:?}");
    }
    // Two without the third part have not even the form of a token.
    for odd in [unsigned("none"), "a.b".to_owned(), "ey.b.c.d".to_owned()] {
        publish(&node, "featurevisor", &odd).await.expect_problem(401, "unauthorized");
    }
    assert_eq!(published(&node, "v1", "unauthorized").await, cases.len() as f64 + 3.0);
    let fresh = signed(json!({"exp": in_seconds(-30), "nbf": in_seconds(30)}));
    assert_eq!(publish(&node, "featurevisor", &fresh).await.status, 200, "clocks may be a minute apart");
}

#[tokio::test]
async fn a_good_token_that_fulfils_no_rule_or_is_for_other_rooms_is_refused_with_403() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    let node = node(&files, &issuer).await;
    for over in [
        json!({"repository": "evil/flags"}),
        json!({"repository": "acme/flags2"}),
        json!({"ref": "refs/heads/feature"}),
        json!({"ref": "refs/pull/7/merge"}),
        json!({"ref": null}),
    ] {
        let token = issuer.sign(&with(claims(&issuer), over.clone()));
        let answer = publish(&node, "featurevisor", &token).await;
        answer.expect_problem(403, "forbidden");
        assert!(answer.body.contains("rule"), "{over}: {answer:?}");
    }
    let token = issuer.sign(&claims(&issuer));
    publish(&node, "other", &token).await.expect_problem(403, "forbidden");
    Request::get("/v1/rooms/other").bearer(&token).send(node.public).await.expect_problem(403, "forbidden");
    let party = Request::post("/party/other").bearer(&token).body("{}").send(node.public).await;
    party.expect_sentence(403);
    assert_eq!(published(&node, "v1", "forbidden").await, 6.0);
    assert_eq!(published(&node, "partykit", "forbidden").await, 1.0);
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_picked_up_and_unknown_keys_do_not_make_it_be_asked_again() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    let node = node(&files, &issuer).await;
    let old = issuer.sign(&claims(&issuer));
    assert_eq!(publish(&node, "featurevisor", &old).await.status, 200);
    assert_eq!(issuer.fetches(), 1);

    issuer.rotate("2");
    assert_eq!(publish(&node, "featurevisor", &issuer.sign(&claims(&issuer))).await.status, 200);
    assert_eq!(issuer.fetches(), 2);
    publish(&node, "featurevisor", &old).await.expect_problem(401, "unauthorized");

    let (key, header) = issuer.key();
    let unknown = (0..20).map(|number| {
        let header = with(header.clone(), json!({ "kid": format!("made-up-{number}") }));
        let (token, node) = (key.sign(&header, &claims(&issuer)), &node);
        async move { publish(node, "featurevisor", &token).await.expect_problem(401, "unauthorized") }
    });
    futures_util::future::join_all(unknown).await;
    assert_eq!(issuer.fetches(), 2, "tokens that anyone can make have the issuer asked");
}

#[tokio::test]
async fn keys_that_were_fetched_stay_good_while_the_issuer_is_down() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    let node = node(&files, &issuer).await;
    issuer.set_down(true);
    let token = issuer.sign(&claims(&issuer));
    let (key, header) = issuer.key();
    let unknown = key.sign(&with(header, json!({"kid": "2"})), &claims(&issuer));

    // The issuer may have made a new key, and cannot be asked.
    let answer = publish(&node, "featurevisor", &unknown).await;
    answer.expect_problem(503, "issuer_unavailable");
    answer.expect_retry_after();
    until_fetched(&node, "failed", 1.0).await;
    assert_eq!(publish(&node, "featurevisor", &token).await.status, 200);
    let status = node.status().await;
    let shown = &status["issuers"][0];
    assert_eq!((&shown["source"], &shown["keys"]), (&json!(issuer.url()), &json!(1)), "{status}");
    assert!(shown["error"].as_str().is_some_and(|error| error.contains("500")), "{status}");
}

#[tokio::test]
async fn a_token_that_cannot_be_judged_yet_is_to_come_again() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    issuer.set_down(true);
    let node = setup(&files, &issuer).start().await;
    let token = issuer.sign(&claims(&issuer));

    let answer = publish(&node, "featurevisor", &token).await;
    answer.expect_problem(503, "issuer_unavailable");
    answer.expect_retry_after();
    let party = Request::post("/party/featurevisor").bearer(&token).body("{}").send(node.public).await;
    party.expect_sentence(503);
    assert_eq!(published(&node, "v1", "unavailable").await, 1.0);
    assert_eq!(node.readiness().await, 200, "an issuer that is down takes no node out of service");

    issuer.set_down(false);
    eventually(2 * SOON, "the issuer's keys are fetched", async || {
        equal("status", &publish(&node, "featurevisor", &token).await.status, &200)
    })
    .await;
}

#[tokio::test]
async fn the_configuration_of_another_issuer_is_not_believed() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    issuer.pretend("https://token.actions.githubusercontent.com");
    let node = setup(&files, &issuer).start().await;
    let answer = publish(&node, "featurevisor", &issuer.sign(&claims(&issuer))).await;
    answer.expect_problem(503, "issuer_unavailable");
    assert_eq!(issuer.fetches(), 0);
    eventually(SOON, "the status tells why", async || {
        let status = node.status().await;
        let error = status["issuers"][0]["error"].as_str().unwrap_or_default();
        if error.contains("another issuer") { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn keys_may_come_from_a_jwks_url_without_discovery() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    let text = rules("https://ci.example.com", MAIN_OF_FLAGS);
    let text = text.replace("audience", &format!("jwks_url = {:?}\naudience", issuer.jwks_url()));
    let file = files.write("oidc.toml", &text);
    let node = Setup::memory().set("publish.oidc_file", file).start().await;
    let token = issuer.sign(&with(claims(&issuer), json!({"iss": "https://ci.example.com"})));
    assert_eq!(publish(&node, "featurevisor", &token).await.status, 200);
    assert_eq!(publish(&node, "featurevisor", KEY).await.status, 200, "keys stay good beside tokens");
}

#[tokio::test]
async fn keys_come_by_https_from_whom_the_system_trusts_and_from_nobody_else() {
    let (files, issuer, authority) = (Files::new(), Issuer::start().await, Authority::new());
    let keys = SecureKeys::start(&authority.sign("issuer", "IP:127.0.0.1"), &issuer).await;
    let text = rules(&issuer.url(), MAIN_OF_FLAGS);
    let text = text.replace("audience", &format!("jwks_url = {:?}\naudience", keys.url()));
    let file = files.write("oidc.toml", &text);
    let setup = Setup::memory().set("publish.oidc_file", file);
    let token = issuer.sign(&claims(&issuer));

    let trusting = setup.clone().variable("SSL_CERT_FILE", authority.ca()).start().await;
    assert_eq!(publish(&trusting, "featurevisor", &token).await.status, 200);
    let other = setup.variable("SSL_CERT_FILE", Authority::new().ca()).start().await;
    publish(&other, "featurevisor", &token).await.expect_problem(503, "issuer_unavailable");
    let status = other.status().await;
    assert!(
        status["issuers"][0]["error"].as_str().is_some_and(|error| error.contains("certificate")),
        "{status}"
    );
}

#[tokio::test]
async fn an_issuer_that_answers_too_much_too_late_or_elsewhere_is_given_up() {
    let huge = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "x".repeat(300 * 1024));
    let elsewhere =
        "HTTP/1.1 302 Found\r\nLocation: /.well-known/openid-configuration\r\nContent-Length: 0\r\n\r\n";
    for (answer, told) in [(huge.as_str(), "limit"), (elsewhere, "answered 302"), ("", "timeout")] {
        let (files, issuer) = (Files::new(), Issuer::start().await);
        issuer.answer_instead(answer);
        let node = setup(&files, &issuer).start().await;
        let token = issuer.sign(&claims(&issuer));
        publish(&node, "featurevisor", &token).await.expect_problem(503, "issuer_unavailable");
        eventually(SOON, "the status tells why", async || {
            let status = node.status().await;
            let error = status["issuers"][0]["error"].as_str().unwrap_or_default();
            if error.contains(told) { Ok(()) } else { Err(format!("{told} is not in {status}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn rules_do_instead_of_a_key() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    let file = files.write("oidc.toml", &rules(&issuer.url(), MAIN_OF_FLAGS));
    let settings = [("redis.url", "redis://127.0.0.1:6379"), ("publish.oidc_file", &file)];
    program::run(&["check-config"], &environment(&settings)).await.expect_code(0);
    let node = Setup::memory().unset("publish.secret").set("publish.oidc_file", &file).start().await;
    assert!(!node.output().contains("Bearer"), "a key was made and printed");
}

#[tokio::test]
async fn changed_rules_count_without_a_restart_and_bad_ones_do_not() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    let node = node(&files, &issuer).await;
    let token = issuer.sign(&with(claims(&issuer), json!({"ref": "refs/heads/next"})));
    assert_eq!(publish(&node, "featurevisor", &token).await.status, 403);

    files.write("oidc.toml", &rules(&issuer.url(), r#"{ ref = "refs/heads/next" }"#));
    node.until_metric("relay_reload_failing", &[("file", "oidc_rules")], 1.0).await;
    assert_eq!(publish(&node, "featurevisor", &token).await.status, 403);

    let next = r#"{ repository = "acme/*", ref = "refs/heads/next" }"#;
    files.write("oidc.toml", &rules(&issuer.url(), next));
    eventually(SOON, "the new rule counts", async || {
        equal("status", &publish(&node, "featurevisor", &token).await.status, &200)
    })
    .await;
    assert_eq!(issuer.fetches(), 1, "the keys are still the same");
}

#[tokio::test]
async fn a_rule_that_everybodys_repository_fulfils_keeps_a_node_from_starting() {
    let files = Files::new();
    let file = files.write("oidc.toml", &rules("https://gitlab.com", r#"{ ref_protected = "true" }"#));
    let settings = environment(&[("publish.oidc_file", &file)]);
    for command in ["serve", "check-config"] {
        let finished = program::run(&[command], &settings).await.expect_code(78);
        for part in ["publish.oidc_file", "flags-main", "anyone's repository could publish", &file] {
            assert!(finished.stderr.contains(part), "{part}: {finished:#?}");
        }
    }
}

#[tokio::test]
async fn no_token_is_ever_logged() {
    let (files, issuer) = (Files::new(), Issuer::start().await);
    let node = setup(&files, &issuer).set("log.level", "trace").start().await;
    until_fetched(&node, "ok", 1.0).await;
    let good = issuer.sign(&claims(&issuer));
    let expired = issuer.sign(&with(claims(&issuer), json!({"exp": 1})));
    let strange = issuer.sign(&with(claims(&issuer), json!({"repository": "evil/flags"})));
    for token in [&good, &expired, &strange] {
        publish(&node, "featurevisor", token).await;
        Request::post("/party/featurevisor")
            .header("X-PartyKit-Secret", token)
            .body("{}")
            .send(node.public)
            .await;
    }
    let output = node.output();
    assert!(output.contains("fulfils no rule"), "nothing was logged of the tokens");
    for token in [&good, &expired, &strange] {
        for part in token.split('.').skip(1) {
            let line = output.lines().find(|line| line.contains(part));
            assert_eq!(line, None, "a part of a token was logged");
        }
    }
}
