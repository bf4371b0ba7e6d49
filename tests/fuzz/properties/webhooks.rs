//! A webhook's headers and body. Input: the kind, then lines `name: value`, an empty line, the body.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use refresh_relay::access::webhook::{Claim, Kind, Payload, ProofError, Webhooks};
use refresh_relay::room::Timestamp;
use sha2::Sha256;

const NOW: u64 = 1_614_265_330;
const GITHUB: &str = "It's a Secret to Everybody";
const GITLAB: &str = "a plain token of gitlab";
const STANDARD: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

type Headers = HashMap<String, String>;

pub fn check(input: &[u8]) {
    let webhooks: &Webhooks = &EXPECTED;
    let (head, body) = split(input);
    let Ok(head) = std::str::from_utf8(head) else { return };
    let (kind, lines) = head.split_once('\n').unwrap_or((head, ""));
    let Some(kind) = Kind::parse(kind) else { return };
    let pairs = lines.lines().filter_map(|line| line.split_once(':'));
    let headers: Headers =
        pairs.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect();
    let believed = read(webhooks, kind, &headers, body);
    assert_eq!(believed, proven(kind, &headers, body), "{headers:?}");

    // What is signed is believed, and nothing else with its signature.
    for (kind, headers) in signed(body) {
        assert!(read(webhooks, kind, &headers, body), "{headers:?}");
        let mut changed = body.to_vec();
        changed.push(b' ');
        assert!(!read(webhooks, kind, &headers, &changed), "{headers:?}");
    }
    let _none_or_some = Payload::parse(headers.get("content-type").map(String::as_str), body);
}

static EXPECTED: LazyLock<Webhooks> = LazyLock::new(|| {
    let entry = |id: &str, kind: &str, secret: &str| {
        format!("[[webhook]]\nid = {id:?}\nkind = {kind:?}\nrooms = \"*\"\nsecret = {secret:?}\n")
    };
    let file = entry("a", "github", GITHUB)
        + &entry("b", "gitlab", GITLAB)
        + &entry("c", "standard", &format!("whsec_{STANDARD}"));
    Webhooks::parse(&[file.into_bytes()]).expect("a good file")
});

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.windows(2).position(|two| two == b"\n\n");
    end.map_or((input, &[]), |end| (&input[..end], &input[end + 2..]))
}

fn read(webhooks: &Webhooks, kind: Kind, headers: &Headers, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(&name.to_ascii_lowercase()).map(String::as_str);
    let now = Timestamp::from_micros(NOW * 1_000_000);
    let Ok(claim) = Claim::read(kind, &header, now) else { return false };
    if let Some(delivery) = claim.delivery {
        assert!((1..=128).contains(&delivery.len()) && delivery.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    match webhooks.sender(kind, &claim, body) {
        Ok(sender) => {
            assert_eq!(sender.webhook.kind, kind);
            true
        }
        Err(error) => {
            assert_eq!(error, ProofError::Unknown(kind));
            false
        }
    }
}

/// The same question, asked the other way round: is there a header that we would have sent?
fn proven(kind: Kind, headers: &Headers, body: &[u8]) -> bool {
    let get = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
    let names_good = |name: &str| {
        headers
            .get(name)
            .is_none_or(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
    };
    match kind {
        Kind::Github => {
            let signature = get("x-hub-signature-256");
            let hex = signature.strip_prefix("sha256=").unwrap_or_default().to_ascii_lowercase();
            names_good("x-github-delivery") && hex == hex::encode(hmac(GITHUB.as_bytes(), body))
        }
        Kind::Gitlab => {
            let delivery = if headers.contains_key("webhook-id") { "webhook-id" } else { "idempotency-key" };
            names_good(delivery) && get("x-gitlab-token") == GITLAB
        }
        Kind::Standard => {
            let (id, timestamp) = (get("webhook-id"), get("webhook-timestamp"));
            let in_time = timestamp.bytes().all(|b| b.is_ascii_digit())
                && timestamp.parse::<u64>().is_ok_and(|at| at.abs_diff(NOW) <= 300);
            let wanted = standard_signature(id, timestamp, body);
            let signatures =
                get("webhook-signature").split_ascii_whitespace().any(|signature| signature == wanted);
            names_good("webhook-id") && !id.is_empty() && in_time && signatures
        }
    }
}

fn signed(body: &[u8]) -> [(Kind, Headers); 2] {
    let headers = |pairs: &[(&str, String)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    let github = format!("sha256={}", hex::encode(hmac(GITHUB.as_bytes(), body)));
    let (id, timestamp) = ("msg_1", NOW.to_string());
    let signature = standard_signature(id, &timestamp, body);
    [
        (Kind::Github, headers(&[("x-hub-signature-256", github)])),
        (
            Kind::Standard,
            headers(&[
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", timestamp),
                ("webhook-signature", signature),
            ]),
        ),
    ]
}

fn standard_signature(id: &str, timestamp: &str, body: &[u8]) -> String {
    let secret = BASE64.decode(STANDARD).expect("base64");
    let message = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    format!("v1,{}", BASE64.encode(hmac(&secret, &message)))
}

fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    mac.chain_update(message).finalize().into_bytes().to_vec()
}
