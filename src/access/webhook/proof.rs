//! How a sender proves that it knows a secret, by the kind of webhook.
//!
//! - GitHub signs the body: `X-Hub-Signature-256: sha256=<hex HMAC-SHA256>`. Neither time nor delivery id is signed.
//! - GitLab shows the secret itself in `X-Gitlab-Token`; with a signing token (`whsec_...`) it signs as the next.
//! - Standard Webhooks signs `<webhook-id>.<webhook-timestamp>.<body>`: `webhook-signature: v1,<base64 HMAC-SHA256>`,
//!   several of them with blanks in between while a secret is replaced.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Header, Kind, ProofError};
use crate::access::constant_time;
use crate::room::Timestamp;

/// How far the time of a signature may be from this machine's: what Standard Webhooks' own libraries allow.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// A secret has at least so many bytes: with fewer it might be guessed from what it signed.
pub const MIN_SECRET_BYTES: usize = 16;

/// What begins the secrets of Standard Webhooks.
const SIGNING_PREFIX: &str = "whsec_";

/// The longest delivery id, in visible characters: the limit of idempotency keys.
const MAX_DELIVERY_ID: usize = 128;

type Sha256Sum = [u8; 32];

/// A secret in the form in which proofs are compared with it; the secret itself is not kept.
pub struct WebhookSecret {
    place: String,
    key: Key,
}

enum Key {
    /// Signs the body alone.
    Body(Hmac<Sha256>),
    /// Is shown as it is.
    Shown(Sha256Sum),
    /// Signs id, time and body.
    Message(Hmac<Sha256>),
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookSecret({})", self.place)
    }
}

impl WebhookSecret {
    /// Takes the secret of a webhook. An error says what is wrong, and does not repeat it.
    pub fn parse(kind: Kind, secret: &str, place: String) -> Result<Self, String> {
        let long_enough = |bytes: &[u8]| {
            if bytes.len() >= MIN_SECRET_BYTES {
                return Ok(());
            }
            Err(format!("has fewer than {MIN_SECRET_BYTES} bytes; make one with: openssl rand -hex 32"))
        };
        let is_signing_token = secret.starts_with(SIGNING_PREFIX);
        let key = match kind {
            Kind::Standard => Key::Message(signing_key(secret, long_enough)?),
            Kind::Gitlab if is_signing_token => Key::Message(signing_key(secret, long_enough)?),
            Kind::Gitlab => {
                long_enough(secret.as_bytes())?;
                Key::Shown(Sha256::digest(secret).into())
            }
            Kind::Github => {
                long_enough(secret.as_bytes())?;
                Key::Body(keyed(secret.as_bytes())?)
            }
        };
        Ok(Self { place, key })
    }

    /// Where in the file it stands.
    pub fn place(&self) -> &str {
        &self.place
    }
}

fn signing_key(
    secret: &str,
    long_enough: impl Fn(&[u8]) -> Result<(), String>,
) -> Result<Hmac<Sha256>, String> {
    let encoded = secret.strip_prefix(SIGNING_PREFIX).unwrap_or(secret);
    let bytes = BASE64.decode(encoded).map_err(|_| "must be whsec_ and then base64".to_owned())?;
    long_enough(&bytes)?;
    keyed(&bytes)
}

fn keyed(key: &[u8]) -> Result<Hmac<Sha256>, String> {
    Hmac::new_from_slice(key).map_err(|error| error.to_string())
}

/// What a request says in its headers, before its body is read. Nothing of it is proven yet.
#[derive(Debug)]
pub struct Claim<'a> {
    proofs: Vec<Proof<'a>>,
    /// What happened, where a header tells.
    pub event: Option<&'a str>,
    /// Names the delivery; the same when it is sent again.
    pub delivery: Option<&'a str>,
}

#[derive(Debug)]
enum Proof<'a> {
    Body(Sha256Sum),
    Shown(Sha256Sum),
    Message { id: &'a str, timestamp: &'a str, signatures: Vec<Sha256Sum> },
}

impl<'a> Claim<'a> {
    /// Refuses what could not be believed whatever the body is.
    pub fn read(kind: Kind, header: &Header<'a>, now: Timestamp) -> Result<Self, ProofError> {
        let (proofs, event, delivery) = match kind {
            Kind::Github => (vec![github(header)?], Some("X-GitHub-Event"), ["X-GitHub-Delivery"].as_slice()),
            Kind::Gitlab => {
                // The signed one first: the other could be changed to have a delivery taken for a new one. Not
                // X-Gitlab-Event-UUID, which several events can share.
                (gitlab(header, now)?, Some("X-Gitlab-Event"), ["webhook-id", "Idempotency-Key"].as_slice())
            }
            Kind::Standard => (vec![message(header, now)?], None, ["webhook-id"].as_slice()),
        };
        let delivery = match delivery.iter().find_map(|name| Some((*name, header(name)?))) {
            Some((name, id)) => Some(delivery_id(name, id)?),
            None => None,
        };
        Ok(Self { proofs, event: event.and_then(header), delivery })
    }

    /// Whether the sender knows that secret.
    pub(super) fn proves(&self, secret: &WebhookSecret, body: &[u8]) -> Choice {
        constant_time::any(self.proofs.iter().map(|proof| proof.fits(&secret.key, body)))
    }
}

impl Proof<'_> {
    fn fits(&self, key: &Key, body: &[u8]) -> Choice {
        match (self, key) {
            (Self::Body(signature), Key::Body(key)) => {
                let mac = key.clone().chain_update(body);
                signature.ct_eq(mac.finalize().into_bytes().as_ref())
            }
            (Self::Shown(shown), Key::Shown(token)) => shown.ct_eq(token),
            (Self::Message { id, timestamp, signatures }, Key::Message(key)) => {
                let mac = key.clone().chain_update(format!("{id}.{timestamp}.")).chain_update(body);
                let wanted = mac.finalize().into_bytes();
                constant_time::any(signatures.iter().map(|signature| signature.ct_eq(wanted.as_ref())))
            }
            _ => Choice::from(0),
        }
    }
}

fn github(header: &Header<'_>) -> Result<Proof<'static>, ProofError> {
    const NAME: &str = "X-Hub-Signature-256";
    let text = required(header, NAME, "give the webhook a secret in its settings at GitHub")?;
    let mut signature = Sha256Sum::default();
    let decoded = text.strip_prefix("sha256=").map(|digits| hex::decode_to_slice(digits, &mut signature));
    if decoded.is_some_and(|decoded| decoded.is_ok()) {
        return Ok(Proof::Body(signature));
    }
    Err(ProofError::Malformed { header: NAME, wanted: "sha256= and 64 hexadecimal digits" })
}

/// A webhook may have a secret token, a signing token, or, while one replaces the other, both.
fn gitlab<'a>(header: &Header<'a>, now: Timestamp) -> Result<Vec<Proof<'a>>, ProofError> {
    let token = header("X-Gitlab-Token").map(|token| Proof::Shown(Sha256::digest(token).into()));
    if header("webhook-signature").is_none() && token.is_none() {
        let hint = "give the webhook a signing token or a secret token in its settings at GitLab";
        return Err(ProofError::Missing { header: "X-Gitlab-Token or webhook-signature", hint });
    }
    match (message(header, now), token) {
        (Ok(message), token) => Ok([message].into_iter().chain(token).collect()),
        (Err(_), Some(token)) => Ok(vec![token]),
        (Err(error), None) => Err(error),
    }
}

fn message<'a>(header: &Header<'a>, now: Timestamp) -> Result<Proof<'a>, ProofError> {
    const HINT: &str = "Standard Webhooks sends webhook-id, webhook-timestamp and webhook-signature";
    let id = required(header, "webhook-id", HINT)?;
    let timestamp = required(header, "webhook-timestamp", HINT)?;
    let signatures = required(header, "webhook-signature", HINT)?;
    let seconds = seconds_since_1970(timestamp).ok_or(ProofError::Malformed {
        header: "webhook-timestamp",
        wanted: "a whole number of seconds since 1970",
    })?;
    let here = now.as_micros() / 1_000_000;
    let (off, ahead) = (seconds.abs_diff(here), seconds > here);
    if off > TOLERANCE.as_secs() {
        return Err(ProofError::Clock { seconds: off, ahead });
    }
    // Other versions are signatures by other means, sent beside this one.
    let signatures: Vec<Sha256Sum> = signatures
        .split_ascii_whitespace()
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|encoded| BASE64.decode(encoded).ok()?.try_into().ok())
        .collect();
    if signatures.is_empty() {
        let wanted = "v1, and the base64 of an HMAC-SHA256; several with blanks in between";
        return Err(ProofError::Malformed { header: "webhook-signature", wanted });
    }
    Ok(Proof::Message { id, timestamp, signatures })
}

fn required<'a>(header: &Header<'a>, name: &'static str, hint: &'static str) -> Result<&'a str, ProofError> {
    header(name).ok_or(ProofError::Missing { header: name, hint })
}

/// Digits alone, as another text of the same number would be another signed text.
fn seconds_since_1970(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn delivery_id<'a>(header: &'static str, id: &'a str) -> Result<&'a str, ProofError> {
    let valid = (1..=MAX_DELIVERY_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if valid {
        return Ok(id);
    }
    Err(ProofError::Malformed { header, wanted: "1 to 128 visible characters" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of the vector of Standard Webhooks.
    const THEN: u64 = 1_614_265_330;

    const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn secret(kind: Kind, text: &str) -> WebhookSecret {
        WebhookSecret::parse(kind, text, "secret".into()).unwrap()
    }

    fn claim<'a>(kind: Kind, headers: &'a [(&str, &str)], now: u64) -> Result<Claim<'a>, ProofError> {
        let header = |name: &str| {
            headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
        };
        Claim::read(kind, &header, at(now))
    }

    fn standard(timestamp: &'static str, signature: &'static str) -> [(&'static str, &'static str); 3] {
        [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", timestamp),
            ("webhook-signature", signature),
        ]
    }

    #[test]
    fn the_vector_of_github_is_believed_and_nothing_else() {
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = [("X-Hub-Signature-256", signature)];
        let claim = claim(Kind::Github, &headers, THEN).unwrap();
        let secret = |text| secret(Kind::Github, text);
        let right = secret("It's a Secret to Everybody");
        assert!(bool::from(claim.proves(&right, b"Hello, World!")));
        assert!(!bool::from(claim.proves(&right, b"Hello, World")));
        assert!(!bool::from(claim.proves(&secret("It's a secret to Everybody"), b"Hello, World!")));
    }

    #[test]
    fn the_vector_of_standard_webhooks_is_believed_also_among_others() {
        let right = secret(Kind::Standard, WHSEC);
        let several = "v1a,AAAA v1,bm90IGl0 v1,AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= \
                       v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        for signature in [SIGNATURE, several] {
            let headers = standard("1614265330", signature);
            let claim = claim(Kind::Standard, &headers, THEN).unwrap();
            assert!(bool::from(claim.proves(&right, BODY)), "{signature}");
            assert!(!bool::from(claim.proves(&right, b"{}")));
            assert_eq!(claim.delivery, Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
        }
        let other_time = standard("1614265331", SIGNATURE);
        assert!(!bool::from(claim(Kind::Standard, &other_time, THEN).unwrap().proves(&right, BODY)));
    }

    #[test]
    fn the_time_may_be_five_minutes_off_and_not_a_second_more() {
        let headers = standard("1614265330", SIGNATURE);
        for now in [THEN - 300, THEN, THEN + 300] {
            assert!(claim(Kind::Standard, &headers, now).is_ok(), "{now}");
        }
        let error = claim(Kind::Standard, &headers, THEN + 301).unwrap_err();
        assert_eq!(error, ProofError::Clock { seconds: 301, ahead: false });
        assert!(error.to_string().contains("301 seconds behind this relay's clock"), "{error}");
        let error = claim(Kind::Standard, &headers, THEN - 301).unwrap_err();
        assert_eq!(error, ProofError::Clock { seconds: 301, ahead: true });
    }

    #[test]
    fn gitlab_is_believed_by_either_token_but_not_by_one_in_place_of_the_other() {
        let (token, signing) = (secret(Kind::Gitlab, "a token of gitlab"), secret(Kind::Gitlab, WHSEC));
        let shown = [("X-Gitlab-Token", "a token of gitlab"), ("Idempotency-Key", "a-b")];
        let claim_of_token = claim(Kind::Gitlab, &shown, THEN).unwrap();
        assert!(bool::from(claim_of_token.proves(&token, BODY)));
        assert!(!bool::from(claim_of_token.proves(&signing, BODY)));
        assert_eq!(claim_of_token.delivery, Some("a-b"));

        let signed = standard("1614265330", SIGNATURE);
        let claim_of_signature = claim(Kind::Gitlab, &signed, THEN).unwrap();
        assert!(bool::from(claim_of_signature.proves(&signing, BODY)));
        assert!(!bool::from(claim_of_signature.proves(&token, BODY)));

        let leaked = [("X-Gitlab-Token", WHSEC)];
        assert!(!bool::from(claim(Kind::Gitlab, &leaked, THEN).unwrap().proves(&signing, BODY)));
    }

    #[test]
    fn what_is_missing_or_cannot_be_is_refused_by_name() {
        let long = "x".repeat(129);
        let none: &[(&str, &str)] = &[];
        let cases = [
            (Kind::Github, none, "X-Hub-Signature-256 was not sent"),
            (Kind::Github, &[("x-hub-signature-256", "757107")], "X-Hub-Signature-256 must be"),
            (Kind::Github, &[("x-hub-signature-256", "sha256=757107")], "X-Hub-Signature-256 must be"),
            (Kind::Github, &[("x-hub-signature", "sha1=00")], "X-Hub-Signature-256 was not sent"),
            (Kind::Gitlab, none, "X-Gitlab-Token or webhook-signature was not sent"),
            (Kind::Gitlab, &[("X-Gitlab-Token", "t"), ("Idempotency-Key", &long)], "Idempotency-Key must be"),
            (Kind::Standard, &[("webhook-id", "a")], "webhook-timestamp was not sent"),
            (Kind::Standard, &standard("+1614265330", SIGNATURE), "webhook-timestamp must be"),
            (Kind::Standard, &standard("1614265330", "v1a,AAAA"), "webhook-signature must be"),
            (Kind::Standard, &standard("1614265330", "v1,????"), "webhook-signature must be"),
        ];
        for (kind, headers, part) in cases {
            let error = claim(kind, headers, THEN).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_secret_that_is_too_short_or_not_base64_is_refused_without_being_repeated() {
        for (kind, text) in [
            (Kind::Github, "hunter2"),
            (Kind::Gitlab, "hunter2"),
            (Kind::Gitlab, "whsec_hunter2!"),
            (Kind::Standard, "hunter2?"),
            (Kind::Standard, "whsec_aHVudGVyMg=="),
        ] {
            let error = WebhookSecret::parse(kind, text, "secret".into()).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert_eq!(format!("{:?}", secret(Kind::Standard, WHSEC)), "WebhookSecret(secret)");
    }
}
