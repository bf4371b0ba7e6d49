//! What must hold for bytes from outside, whatever they are. Each module has one function that panics if it does not.
//!
//! The fuzz targets call them with what libFuzzer makes up; the test `hostile_input` with the seeds and changes of them.

pub mod client_close;
pub mod client_frames;
pub mod client_messages;
pub mod forwarded_for;
pub mod keys_file;
pub mod oidc_rules;
pub mod origins;
pub mod paths;
pub mod publish_bodies;
pub mod publish_keys;
pub mod publish_parameters;
pub mod redis_messages;
pub mod room_patterns;
pub mod settings;
pub mod token_keys;
pub mod tokens;
pub mod webhooks;
pub mod webhooks_file;

/// A target: its name, its property, and the longest input that is of use.
pub struct Target {
    pub name: &'static str,
    pub check: fn(&[u8]),
    pub max_bytes: usize,
}

pub const ALL: &[Target] = &[
    Target { name: "client_close", check: client_close::check, max_bytes: 200 },
    Target { name: "client_frames", check: client_frames::check, max_bytes: 600 },
    Target { name: "client_messages", check: client_messages::check, max_bytes: 600 },
    Target { name: "forwarded_for", check: forwarded_for::check, max_bytes: 300 },
    Target { name: "keys_file", check: keys_file::check, max_bytes: 800 },
    Target { name: "oidc_rules", check: oidc_rules::check, max_bytes: 800 },
    Target { name: "origins", check: origins::check, max_bytes: 200 },
    Target { name: "paths", check: paths::check, max_bytes: 400 },
    Target { name: "publish_bodies", check: publish_bodies::check, max_bytes: 600 },
    Target { name: "publish_keys", check: publish_keys::check, max_bytes: 300 },
    Target { name: "publish_parameters", check: publish_parameters::check, max_bytes: 300 },
    Target { name: "redis_messages", check: redis_messages::check, max_bytes: 600 },
    Target { name: "room_patterns", check: room_patterns::check, max_bytes: 200 },
    Target { name: "settings", check: settings::check, max_bytes: 400 },
    Target { name: "token_keys", check: token_keys::check, max_bytes: 1000 },
    Target { name: "tokens", check: tokens::check, max_bytes: 800 },
    Target { name: "webhooks", check: webhooks::check, max_bytes: 500 },
    Target { name: "webhooks_file", check: webhooks_file::check, max_bytes: 800 },
];

/// The lines of an input that stands for several values.
pub fn lines(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|byte| *byte == b'\n')
}

/// The header lines of a request; those that HTTP has no place for are left out.
pub fn headers(name: &'static str, values: &[&[u8]]) -> actix_web::http::header::HeaderMap {
    use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
    let mut headers = HeaderMap::new();
    for value in values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

/// Whether a file has this secret where secrets stand, once, and nowhere else: then no error may repeat it.
pub fn holds_secret(file: &[u8], secret: &str) -> bool {
    let Ok(text) = std::str::from_utf8(file) else { return false };
    let plain = text.matches(secret).count() == 1 && !text.contains(['\'', '\\']) && !text.contains("\"\"\"");
    plain && text.lines().any(|line| line.trim() == format!("secret = {secret:?}"))
}
