//! What the fuzz targets ask of bytes from outside, asked of the seeds and of changes to them: with any toolchain, in
//! seconds, and the same each time. `run.sh` goes on from there with libFuzzer.

#![allow(clippy::expect_used, reason = "a test says by it what it counts on")]

#[path = "properties/mod.rs"]
mod properties;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use properties::Target;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Changed inputs for each target. Reading settings takes a hundred times as long as anything else.
const CHANGES: usize = 20_000;
const CHANGES_TO_SETTINGS: usize = 500;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name)
}

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let folder = folder("seeds").join(target.name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", folder.display());
    paths.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

fn check(target: &Target, input: &[u8]) {
    let checked = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    assert!(checked.is_ok(), "{} does not hold for {:?}", target.name, input.escape_ascii().to_string());
}

/// Cuts, repeats, joins and overwrites, as a fuzzer does.
fn change(seeds: &[Vec<u8>], longest: usize, random: &mut SmallRng) -> Vec<u8> {
    let mut input = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=input.len());
        let end = random.random_range(at..=input.len());
        match random.random_range(0..6) {
            0 => drop(input.drain(at..end)),
            1 => input.insert(at, random.random()),
            2 => input.insert(at, b"\n\0 ,:/-*%=&\"{}[]\xff"[random.random_range(0..17)]),
            3 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            4 => input.splice(at..at, input[at..end].to_vec()).for_each(drop),
            _ => {
                let other = &seeds[random.random_range(0..seeds.len())];
                let from = random.random_range(0..=other.len());
                input.splice(at..end, other[from..].iter().copied()).for_each(drop);
            }
        }
    }
    input.truncate(longest);
    input
}

fn holds(name: &str) {
    let target = properties::ALL.iter().find(|target| target.name == name).expect("a target");
    let seeds = seeds(target);
    for seed in &seeds {
        check(target, seed);
    }
    let mut random = SmallRng::seed_from_u64(7);
    let changes = if name == "settings" { CHANGES_TO_SETTINGS } else { CHANGES };
    for _ in 0..changes {
        check(target, &change(&seeds, target.max_bytes, &mut random));
    }
}

#[test]
fn every_target_has_its_program_and_its_seeds() {
    let manifest = fs::read_to_string(folder("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let programs =
        manifest["bin"].as_array().expect("programs").iter().map(|bin| bin["name"].as_str().expect("a name"));
    let mut programs: Vec<&str> = programs.collect();
    programs.sort_unstable();
    let names: Vec<&str> = properties::ALL.iter().map(|target| target.name).collect();
    assert_eq!(programs, names);
    for target in properties::ALL {
        assert!(seeds(target).iter().all(|seed| seed.len() <= target.max_bytes), "{}", target.name);
    }
}

#[test]
fn a_path_leads_to_one_room_and_a_room_is_kept_as_it_is() {
    holds("paths");
}

#[test]
fn a_publish_says_what_its_body_holds_and_nothing_else() {
    holds("publish_bodies");
}

#[test]
fn a_publish_waits_no_longer_than_allowed_and_its_key_is_the_one_sent() {
    holds("publish_parameters");
}

#[test]
fn a_publish_key_is_the_one_header_without_blanks() {
    holds("publish_keys");
}

#[test]
fn a_keys_file_grants_what_its_entries_say() {
    holds("keys_file");
}

#[test]
fn a_room_pattern_covers_what_it_says() {
    holds("room_patterns");
}

#[test]
fn settings_in_force_are_settings_and_show_no_secret() {
    holds("settings");
}

#[test]
fn a_webhook_is_believed_when_its_sender_signed_just_this() {
    holds("webhooks");
}

#[test]
fn a_webhooks_file_is_taken_or_its_problems_named_without_its_secrets() {
    holds("webhooks_file");
}

#[test]
fn a_token_is_good_only_with_a_signature_of_its_key_and_the_claims_expected() {
    holds("tokens");
}

#[test]
fn keys_of_issuers_are_taken_or_refused_and_verify_nothing_by_chance() {
    holds("token_keys");
}

#[test]
fn rules_for_tokens_are_taken_or_their_problems_named() {
    holds("oidc_rules");
}

#[test]
fn an_origin_below_a_domain_is_below_it_for_a_browser_too() {
    holds("origins");
}

#[test]
fn a_client_address_is_the_peer_or_stands_in_the_header_and_is_not_forged() {
    holds("forwarded_for");
}

#[test]
fn frames_mean_the_same_in_pieces_and_are_kept_only_up_to_the_limit() {
    holds("client_frames");
}

#[test]
fn text_in_fragments_is_taken_if_all_of_it_is_text() {
    holds("client_messages");
}

#[test]
fn a_close_frame_is_taken_only_as_the_protocol_allows() {
    holds("client_close");
}

#[test]
fn what_redis_hands_back_is_read_as_it_was_written() {
    holds("redis_messages");
}
