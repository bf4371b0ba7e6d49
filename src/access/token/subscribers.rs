//! Who may listen: tokens that an app's own backend makes, with the rooms in a claim.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use super::fetch::Source;
use super::jwks::{Issuers, Unavailable};
use super::keys::{KeySet, KeySetError};
use super::verify::{Claims, RequiredClaims, Token, TokenError};
use crate::access::{Denied, RoomPattern, RoomScope};
use crate::config::{BadSettings, Problem, Secret, SubscriberKeys, SubscriberSettings};
use crate::metrics::WatchedFile;
use crate::reload::{Reloaded, Reloads};
use crate::room::RoomId;

/// Where the keys of listeners' tokens come from.
enum TokenKeys {
    /// From the settings themselves.
    Given(Arc<KeySet>),
    File(Arc<Reloaded<KeySet>>),
    Fetched(Source, Arc<Issuers>),
}

/// Everyone who may listen.
pub struct Subscribers {
    keys: TokenKeys,
    required: RequiredClaims,
    /// The claim that holds the rooms.
    rooms_claim: String,
}

/// Leave to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// None = for as long as it likes.
    pub until: Option<SystemTime>,
}

impl Subscribers {
    /// None if anyone may listen. Reads the file that the settings name, and has it watched.
    pub fn new(
        settings: &SubscriberSettings,
        issuers: &Arc<Issuers>,
        reloads: &mut Reloads,
    ) -> Result<Option<Self>, BadSettings> {
        let Some(keys) = &settings.keys else { return Ok(None) };
        let keys = match keys {
            SubscriberKeys::Jwks(url) => TokenKeys::Fetched(Source::Jwks(url.clone()), Arc::clone(issuers)),
            SubscriberKeys::File(file) => watch("public_keys_file", file, KeySet::from_pem, reloads)?,
            SubscriberKeys::Secret(secret) => match secret.file() {
                Some(file) => watch("hs256_secret_file", file, KeySet::from_secrets, reloads)?,
                None => given(secret)?,
            },
        };
        let required =
            RequiredClaims { issuer: settings.issuer.clone(), audience: settings.audience.clone() };
        Ok(Some(Self { keys, required, rooms_claim: settings.rooms_claim.clone() }))
    }

    /// Whether who shows this may listen in the room.
    pub async fn admit(&self, shown: Option<&str>, room: &RoomId) -> Result<Leave, Denied> {
        let token = Token::parse(shown.ok_or(Denied::NoToken)?)?;
        let keys = match &self.keys {
            TokenKeys::Given(keys) => Arc::clone(keys),
            TokenKeys::File(keys) => keys.current(),
            TokenKeys::Fetched(source, issuers) => {
                let keys = issuers.keys(source, token.key_id()).await;
                keys.map_err(|Unavailable| Denied::IssuerUnavailable)?
            }
        };
        let claims = token.verify(&keys, &self.required)?;
        let rooms = self.rooms(&claims).ok_or_else(|| TokenError::Claim(self.rooms_claim.clone()))?;
        if rooms.covers(room) { Ok(Leave { until: claims.expires_at }) } else { Err(Denied::NotThisRoom) }
    }

    /// Whose keys it takes, if they are fetched.
    pub fn source(&self) -> Option<&Source> {
        match &self.keys {
            TokenKeys::Fetched(source, _) => Some(source),
            TokenKeys::Given(_) | TokenKeys::File(_) => None,
        }
    }

    /// None unless the claim is a pattern or a list of patterns.
    fn rooms(&self, claims: &Claims) -> Option<RoomScope> {
        let pattern = |value: &Value| RoomPattern::parse(value.as_str()?).ok();
        let patterns = match claims.get(&self.rooms_claim)? {
            Value::Array(items) => items.iter().map(pattern).collect::<Option<Vec<_>>>()?,
            one => vec![pattern(one)?],
        };
        Some(RoomScope::new(patterns))
    }
}

fn given(secret: &Secret) -> Result<TokenKeys, BadSettings> {
    let keys = KeySet::from_secrets(secret.expose()).map_err(|error| {
        let key = "subscribers.hs256_secret".to_owned();
        BadSettings(vec![Problem { key, origin: None, message: error.to_string() }])
    })?;
    Ok(TokenKeys::Given(Arc::new(keys)))
}

fn watch(
    key: &str,
    file: &Path,
    parse: fn(&str) -> Result<KeySet, KeySetError>,
    reloads: &mut Reloads,
) -> Result<TokenKeys, BadSettings> {
    let keys = Reloaded::load(WatchedFile::SubscriberKeys, vec![file.to_owned()], move |contents| {
        let text = std::str::from_utf8(&contents[0]).map_err(|_| "is not text".to_owned())?;
        parse(text).map_err(|error| error.to_string())
    });
    let keys = keys.map_err(|message| {
        BadSettings(vec![Problem::in_file(&format!("subscribers.{key}"), file, message)])
    })?;
    reloads.add(&keys);
    Ok(TokenKeys::File(keys))
}
