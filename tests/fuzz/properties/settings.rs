//! Settings. Input: the text of the file, and after a line `===` the environment, one `NAME=value` on a line.

use std::io::Write;

use refresh_relay::config::{Loaded, load};
use tempfile::NamedTempFile;

/// Never to be seen again.
const CANARY: &str = "c4n4ry-5ecret";

pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (file_text, environment) = text.split_once("===\n").unwrap_or((&text, ""));
    if file_text.contains("_file") || environment.to_uppercase().contains("_FILE") {
        // Which files there are, and what they hold, is not for the input to say.
        return;
    }
    let mut environment: Vec<(String, String)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for name in ["RELAY_PUBLISH__SECRET", "RELAY_REDIS__PASSWORD"] {
        environment.push((name.to_owned(), CANARY.to_owned()));
    }
    match load_text(file_text, environment) {
        Ok(loaded) => {
            assert!(!loaded.effective.contains(CANARY) && !format!("{loaded:?}").contains(CANARY));
            // What is in force, given as a file, is in force.
            let again = load_text(&loaded.effective, Vec::new()).expect("effective settings are settings");
            assert_eq!(again.effective, loaded.effective);
        }
        Err(problems) => {
            assert!(!problems.is_empty() && !problems.contains(CANARY), "{problems}");
        }
    }
}

fn load_text(text: &str, environment: Vec<(String, String)>) -> Result<Loaded, String> {
    let mut file = NamedTempFile::with_suffix(".toml").expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    load(Some(file.path()), environment).map_err(|error| error.to_string())
}
