//! A file with the rules for tokens of CI systems. Input: its content.

use refresh_relay::access::token::Rules;

pub fn check(input: &[u8]) {
    match Rules::parse(input) {
        Ok(rules) => assert!(rules.sources().count() > 0),
        Err(problems) => assert!(!problems.is_empty()),
    }
}
