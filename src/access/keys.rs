//! Publish keys: their file, and finding the one that is shown.
//!
//! Only digests of secrets are kept.

use std::collections::HashSet;
use std::time::SystemTime;

use rand::distr::{Alphanumeric, SampleString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use toml::value::Datetime;

use super::file::{from_toml, may_read};
use super::{Denied, Grant, RoomPattern, RoomScope, constant_time};
use crate::room::Publisher;

/// A secret that stands in a keys file has at least so many characters: with fewer it might be guessed.
pub const MIN_SECRET_CHARS: usize = 16;

/// Random letters and digits of a secret that the relay makes: 256 bits.
const MADE_SECRET_CHARS: usize = 43;

/// What secrets made here begin with, so that scanners of code repositories can tell a leaked one.
const MADE_SECRET_PREFIX: &str = "rrk_";

type SecretDigest = [u8; 32];

/// Keys that are valid at the same time, so that one can be replaced while both are known.
#[derive(Debug, Default)]
pub struct KeyRing(Vec<Key>);

#[derive(Debug)]
struct Key {
    digest: SecretDigest,
    grant: Grant,
    not_before: Option<SystemTime>,
    expires: Option<SystemTime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    key: Vec<KeyEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: String,
    secret: Option<String>,
    sha256: Option<String>,
    rooms: Vec<String>,
    not_before: Option<Datetime>,
    expires: Option<Datetime>,
    #[serde(default = "may_read")]
    may_read: bool,
}

/// What is kept and compared of a secret.
pub fn secret_digest(secret: &[u8]) -> SecretDigest {
    Sha256::digest(secret).into()
}

/// A new secret, from the system's cryptographic random numbers.
pub fn generate_secret() -> String {
    format!("{MADE_SECRET_PREFIX}{}", Alphanumeric.sample_string(&mut rand::rng(), MADE_SECRET_CHARS))
}

impl KeyRing {
    /// One key with the id `default`, for all rooms.
    pub fn single(secret: &str) -> Self {
        let grant = Grant { publisher: Publisher::default(), rooms: RoomScope::all(), may_read: true };
        Self(vec![Key { digest: secret_digest(secret.as_bytes()), grant, not_before: None, expires: None }])
    }

    /// The same, from the content of a file that holds nothing but the secret.
    pub fn parse_single(content: &[u8]) -> Result<Self, String> {
        match std::str::from_utf8(content).map(str::trim) {
            Ok("") => Err("is empty".to_owned()),
            Ok(secret) => Ok(Self::single(secret)),
            Err(_) => Err("is not text".to_owned()),
        }
    }

    /// From the content of a keys file. An error names every problem, and repeats no secret.
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        let file: KeysFile = from_toml(content)?;
        let mut problems = Vec::new();
        let mut keys: Vec<Key> = Vec::new();
        let mut ids = HashSet::new();
        for (index, entry) in file.key.into_iter().enumerate() {
            let name = format!("key {} ({:?})", index + 1, entry.id);
            if !ids.insert(entry.id.clone()) {
                problems.push(format!("{name}: id stands there twice"));
            }
            match entry.check() {
                Ok(key) => match keys.iter().find(|other| other.digest == key.digest) {
                    Some(other) => {
                        problems.push(format!("{name}: has the same secret as {}", other.grant.publisher));
                    }
                    None => keys.push(key),
                },
                Err(wrong) => problems.extend(wrong.into_iter().map(|wrong| format!("{name}: {wrong}"))),
            }
        }
        if keys.is_empty() && problems.is_empty() {
            problems.push("holds no [[key]]; make one with refresh-relay gen-key".to_owned());
        }
        if problems.is_empty() { Ok(Self(keys)) } else { Err(problems.join("; ")) }
    }

    /// What the key allows that has this digest. How long it takes tells nothing.
    pub fn find(&self, shown: &SecretDigest, now: SystemTime) -> Result<Grant, Denied> {
        let found = constant_time::position(&self.0, |key| key.digest.ct_eq(shown));
        let key = found.and_then(|index| self.0.get(index)).ok_or(Denied::Unknown)?;
        let publisher = || key.grant.publisher.clone();
        if key.not_before.is_some_and(|not_before| now < not_before) {
            return Err(Denied::NotYet(publisher()));
        }
        if key.expires.is_some_and(|expires| now >= expires) {
            return Err(Denied::Expired(publisher()));
        }
        Ok(key.grant.clone())
    }
}

impl KeyEntry {
    fn check(self) -> Result<Key, Vec<String>> {
        let mut problems = Vec::new();
        let mut note = |problem: String| problems.push(problem);
        let publisher = Publisher::parse(&self.id).map_err(|error| note(format!("id {error}"))).ok();
        if self.id == "default" || ["oidc:", "webhook:"].iter().any(|kind| self.id.starts_with(kind)) {
            note("id is one that the relay gives itself".to_owned());
        }
        let digest = digest(self.secret.as_deref(), self.sha256.as_deref()).map_err(&mut note).ok();
        if self.rooms.is_empty() {
            note("rooms is empty; name the rooms it may publish to, or \"*\"".to_owned());
        }
        let mut patterns = Vec::new();
        for room in &self.rooms {
            match RoomPattern::parse(room) {
                Ok(pattern) => patterns.push(pattern),
                Err(problem) => note(format!("rooms {problem}")),
            }
        }
        let mut moment = |name: &str, at: Option<Datetime>| {
            at.and_then(|at| moment(at).map_err(|problem| note(format!("{name} {problem}"))).ok())
        };
        let (not_before, expires) = (moment("not_before", self.not_before), moment("expires", self.expires));
        match (publisher, digest) {
            (Some(publisher), Some(digest)) if problems.is_empty() => {
                let grant = Grant { publisher, rooms: RoomScope::new(patterns), may_read: self.may_read };
                Ok(Key { digest, grant, not_before, expires })
            }
            _ => Err(problems),
        }
    }
}

fn digest(secret: Option<&str>, sha256: Option<&str>) -> Result<SecretDigest, String> {
    match (secret.map(str::trim), sha256) {
        (Some(secret), None) if secret.chars().count() >= MIN_SECRET_CHARS => {
            Ok(secret_digest(secret.as_bytes()))
        }
        (Some(_), None) => Err(format!(
            "secret has fewer than {MIN_SECRET_CHARS} characters; make one with refresh-relay gen-key"
        )),
        (None, Some(text)) => {
            let mut digest = SecretDigest::default();
            hex::decode_to_slice(text, &mut digest)
                .map_err(|_| "sha256 must be the 64 hexadecimal digits of the secret's SHA-256".to_owned())?;
            Ok(digest)
        }
        (Some(_), Some(_)) => Err("has both secret and sha256; give one of the two".to_owned()),
        (None, None) => Err("has neither secret nor sha256".to_owned()),
    }
}

fn moment(at: Datetime) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(&at.to_string())
        .map_err(|_| format!("must be a moment in UTC such as 2027-01-31T00:00:00Z, not {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret of enough length";

    fn entry(rest: &str) -> String {
        format!("[[key]]\nid = \"ci\"\nrooms = [\"*\"]\n{rest}\n")
    }

    fn problem(file: &str) -> String {
        KeyRing::parse(file.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_key_is_found_by_its_secret_or_by_what_has_its_digest() {
        let hash = hex::encode(secret_digest(SECRET.as_bytes()));
        for file in [entry(&format!("secret = {SECRET:?}")), entry(&format!("sha256 = {hash:?}"))] {
            let ring = KeyRing::parse(file.as_bytes()).unwrap();
            let grant = ring.find(&secret_digest(SECRET.as_bytes()), SystemTime::now()).unwrap();
            assert_eq!(grant.publisher.to_string(), "ci");
            let unknown = ring.find(&secret_digest(hash.as_bytes()), SystemTime::now());
            assert_eq!(unknown, Err(Denied::Unknown));
        }
    }

    #[test]
    fn a_key_is_valid_from_not_before_until_expires() {
        let times = "not_before = 2026-01-01T00:00:00Z\nexpires = 2027-01-01T00:00:00Z";
        let ring = KeyRing::parse(entry(&format!("secret = {SECRET:?}\n{times}")).as_bytes()).unwrap();
        let at = |text: &str| {
            ring.find(&secret_digest(SECRET.as_bytes()), humantime::parse_rfc3339(text).unwrap())
        };
        let ci = Publisher::parse("ci").unwrap();
        assert_eq!(at("2025-12-31T23:59:59Z"), Err(Denied::NotYet(ci.clone())));
        assert!(at("2026-01-01T00:00:00Z").is_ok());
        assert!(at("2026-12-31T23:59:59Z").is_ok());
        assert_eq!(at("2027-01-01T00:00:00Z"), Err(Denied::Expired(ci)));
    }

    #[test]
    fn every_problem_of_a_keys_file_is_named_and_no_secret_repeated() {
        let short = "hunter2";
        let file = format!(
            "[[key]]\nid = \"a b\"\nsecret = {short:?}\nrooms = [\"x*y\"]\nexpires = 2027-01-01\n\
             [[key]]\nid = \"c\"\nrooms = []"
        );
        let problem = problem(&file);
        for part in
            ["key 1", "id ", "fewer than 16", "rooms must", "expires must", "key 2", "neither", "empty"]
        {
            assert!(problem.contains(part), "{part}: {problem}");
        }
        assert!(!problem.contains(short));
    }

    #[test]
    fn a_line_that_is_not_toml_is_named_by_its_number_alone() {
        let problem = problem("[[key]]\nid = \"ci\"\nsecret = \"hunter2\" oops\n");
        assert!(problem.starts_with("line 3: "), "{problem}");
        assert!(!problem.contains("hunter2"));
        let unknown = super::KeyRing::parse(entry("room = \"hunter2\"").as_bytes()).unwrap_err();
        assert!(unknown.contains("unknown field `room`") && !unknown.contains("hunter2"), "{unknown}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_not_repeated() {
        for file in ["key = \"hunter2\"", &entry("secret = 1234567890123456")] {
            let problem = problem(file);
            assert!(problem.contains("must be"), "{problem}");
            assert!(!problem.contains("hunter2") && !problem.contains("123456"), "{problem}");
        }
    }

    #[test]
    fn an_id_that_the_relay_gives_itself_is_refused() {
        for id in ["default", "oidc:flags", "webhook:site"] {
            let file = entry(&format!("secret = {SECRET:?}")).replace("\"ci\"", &format!("{id:?}"));
            assert!(problem(&file).contains("gives itself"), "{id}");
        }
    }

    #[test]
    fn keys_that_could_be_taken_for_one_another_are_refused() {
        let twice = entry(&format!("secret = {SECRET:?}")).repeat(2);
        assert!(problem(&twice).contains("id stands there twice"));
        let other = twice.replacen("\"ci\"", "\"other\"", 1);
        assert!(problem(&other).contains("has the same secret as other"));
        assert!(problem("").contains("gen-key"));
    }

    #[test]
    fn a_made_secret_is_long_and_never_the_same() {
        let (a, b) = (generate_secret(), generate_secret());
        assert_ne!(a, b);
        assert!(a.starts_with("rrk_") && a.len() == 47);
    }
}
