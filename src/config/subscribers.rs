//! Who may listen: the settings of listeners' tokens.

use std::path::PathBuf;

use url::Url;

use super::parse;
use super::reader::Reader;
use super::secret::Secret;

#[derive(Debug, Clone)]
pub struct SubscriberSettings {
    /// What listeners' tokens are verified with; None = anyone may listen.
    pub keys: Option<SubscriberKeys>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub rooms_claim: String,
}

#[derive(Debug, Clone)]
pub enum SubscriberKeys {
    /// Shared with whoever makes the tokens.
    Secret(Secret),
    /// Public keys in PEM.
    File(PathBuf),
    /// A JWK Set.
    Jwks(Url),
}

/// The settings that say where keys come from.
const SOURCES: [&str; 4] = [
    "subscribers.hs256_secret",
    "subscribers.hs256_secret_file",
    "subscribers.public_keys_file",
    "subscribers.jwks_url",
];

pub fn read(from: &mut Reader) -> SubscriberSettings {
    let given = SOURCES.into_iter().filter(|key| from.origin(key).is_some()).collect::<Vec<_>>();
    let required = from.text("subscribers.tokens", tokens);
    let secret = from.secret(SOURCES[0], SOURCES[1]).map(SubscriberKeys::Secret);
    let file = from.optional_text(SOURCES[2], parse::path).map(SubscriberKeys::File);
    let jwks = from.optional_text(SOURCES[3], parse::secure_url).map(SubscriberKeys::Jwks);
    let kinds = [secret.is_some(), file.is_some(), jwks.is_some()].into_iter().filter(|given| *given).count();
    if kinds > 1 {
        let message = format!("set one of {}", given.join(", "));
        from.problem("subscribers", None, message);
    }
    if required && given.is_empty() {
        let message = format!("tokens cannot be verified without a key; set one of {}", SOURCES.join(", "));
        from.problem("subscribers.tokens", None, message);
    }
    SubscriberSettings {
        keys: secret.or(file).or(jwks).filter(|_| required),
        issuer: from.optional_text("subscribers.issuer", parse::name),
        audience: from.optional_text("subscribers.audience", parse::name),
        rooms_claim: from.text("subscribers.rooms_claim", parse::name),
    }
}

/// Whether tokens are required.
fn tokens(text: &str) -> Result<bool, String> {
    match text {
        "off" => Ok(false),
        "required" => Ok(true),
        _ => Err(format!("must be off or required, not {text:?}")),
    }
}
