//! A webhooks file. Input: its content.

use std::path::Path;

use refresh_relay::access::webhook::{Webhooks, secret_files};

const SECRET: &str = "a secret of enough length";

pub fn check(input: &[u8]) {
    let named = secret_files(input);
    let text = String::from_utf8_lossy(input);
    for path in named.iter().filter_map(|path| Path::to_str(path)) {
        let told = path.chars().all(|c| c.is_ascii_graphic()) && !text.contains('\\');
        assert!(!told || text.contains(path), "{path} stands nowhere");
    }
    // Each file it names holds a secret of its own.
    let secrets = (0..named.len()).map(|number| format!("secret number {number} of a file\n").into_bytes());
    let contents: Vec<Vec<u8>> = std::iter::once(input.to_vec()).chain(secrets).collect();
    if let Err(problems) = Webhooks::parse(&contents) {
        assert!(!problems.is_empty());
        assert!(text.contains(" of a file") || !problems.contains(" of a file"), "{problems}");
        assert!(!super::holds_secret(input, SECRET) || !problems.contains(SECRET), "{problems}");
    }
}
