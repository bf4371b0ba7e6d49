//! A keys file. Input: its content.

use std::time::{Duration, SystemTime};

use refresh_relay::access::{Denied, KeyRing, MIN_SECRET_CHARS, secret_digest};
use refresh_relay::room::RoomId;

/// As the seeds have it.
const SECRET: &str = "a secret of enough length";

pub fn check(input: &[u8]) {
    let ring = match KeyRing::parse(input) {
        Ok(ring) => ring,
        Err(problems) => {
            assert!(!problems.is_empty());
            return assert!(!super::holds_secret(input, SECRET) || !problems.contains(SECRET), "{problems}");
        }
    };
    let file: toml::Table = std::str::from_utf8(input).expect("text").parse().expect("TOML");
    let entries = file["key"].as_array().expect("a list of keys");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    assert_eq!(ring.find(&secret_digest(b"a secret that no file holds"), now), Err(Denied::Unknown));
    for entry in entries {
        // Each key is found by its secret, or not valid now; what it may is what its entry says.
        let Some(secret) = entry.get("secret").and_then(toml::Value::as_str).map(str::trim) else { continue };
        assert!(secret.chars().count() >= MIN_SECRET_CHARS);
        let id = entry["id"].as_str().expect("an id");
        match ring.find(&secret_digest(secret.as_bytes()), now) {
            Ok(grant) => {
                assert_eq!(grant.publisher.as_str(), id);
                let may_read = entry.get("may_read").and_then(toml::Value::as_bool).unwrap_or(true);
                assert_eq!(grant.may_read, may_read);
                for room in ["featurevisor", "shop-1", "a"] {
                    let patterns =
                        entry["rooms"].as_array().expect("rooms").iter().filter_map(toml::Value::as_str);
                    let room = RoomId::parse(room, 256).expect("a room");
                    let covered = { patterns }.any(|pattern| matches(pattern, room.as_str()));
                    assert_eq!(grant.publish_to(&room).is_ok(), covered, "{room}");
                    assert_eq!(grant.read(&room).is_ok(), covered && may_read, "{room}");
                }
            }
            Err(Denied::Expired(publisher) | Denied::NotYet(publisher)) => {
                assert_eq!(publisher.as_str(), id);
                assert!(entry.get("expires").or(entry.get("not_before")).is_some());
            }
            Err(denied) => panic!("{denied}"),
        }
    }
}

fn matches(pattern: &str, room: &str) -> bool {
    match pattern.split_once('*') {
        Some((beginning, rest)) => rest.is_empty() && room.starts_with(beginning),
        None => room == pattern,
    }
}
