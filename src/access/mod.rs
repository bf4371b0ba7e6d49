//! Who may publish, and who may listen.
//!
//! It is given what a caller shows and answers who that is and for which rooms; it knows neither HTTP nor the node.

mod constant_time;
mod file;
mod keys;
pub mod token;
pub mod webhook;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;

pub use self::keys::{KeyRing, MIN_SECRET_CHARS, generate_secret, secret_digest};
pub use self::token::{Issuers, JwksStatus, Leave, Source, TokenError, fetch};
use self::token::{Oidc, Subscribers, Token};
use crate::config::{BadSettings, Problem, Secret, Settings};
use crate::metrics::WatchedFile;
use crate::reload::{Reloaded, Reloads};
use crate::room::{Publisher, RoomId};
pub use crate::scope::{RoomPattern, RoomScope};

/// What a caller may do, once it is known who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub publisher: Publisher,
    pub rooms: RoomScope,
    /// Whether it may ask where a room stands.
    pub may_read: bool,
}

/// Why there is no grant, or why a grant is not enough.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denied {
    #[error("no publish key of this relay was shown")]
    Unknown,
    #[error("the key {0} has expired")]
    Expired(Publisher),
    #[error("the key {0} is not valid yet")]
    NotYet(Publisher),
    #[error("the key {publisher} is not for the room {room:?}")]
    Room { publisher: Publisher, room: RoomId },
    #[error("the key {0} may publish, but not read")]
    MayNotRead(Publisher),
    #[error("no token was shown")]
    NoToken,
    #[error("the token is no good: {0}")]
    Token(#[from] TokenError),
    #[error("the token is of an issuer that is not known here")]
    UnknownIssuer,
    #[error("the issuer's keys cannot be had now, so the token cannot be judged")]
    IssuerUnavailable,
    #[error("the token is good, but fulfils no rule of this relay")]
    NoRule,
    #[error("the token is good, but not for this room")]
    NotThisRoom,
}

/// What a denial comes to, for whoever answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialKind {
    /// Nobody known.
    Unauthorized,
    /// Somebody known, who may not.
    Forbidden,
    /// It cannot be said now.
    Unavailable,
}

impl Denied {
    pub const fn kind(&self) -> DenialKind {
        match self {
            Self::Unknown
            | Self::Expired(_)
            | Self::NotYet(_)
            | Self::NoToken
            | Self::Token(_)
            | Self::UnknownIssuer => DenialKind::Unauthorized,
            Self::Room { .. } | Self::MayNotRead(_) | Self::NoRule | Self::NotThisRoom => {
                DenialKind::Forbidden
            }
            Self::IssuerUnavailable => DenialKind::Unavailable,
        }
    }
}

impl Grant {
    /// Whether the caller may publish to the room.
    pub fn publish_to(&self, room: &RoomId) -> Result<(), Denied> {
        if self.rooms.covers(room) {
            return Ok(());
        }
        Err(Denied::Room { publisher: self.publisher.clone(), room: room.clone() })
    }

    /// Whether the caller may ask where the room stands.
    pub fn read(&self, room: &RoomId) -> Result<(), Denied> {
        if !self.may_read {
            return Err(Denied::MayNotRead(self.publisher.clone()));
        }
        self.publish_to(room)
    }
}

/// What follows `Bearer` in the value of an `Authorization` header (RFC 6750), without blanks around it.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, credential) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| credential.trim_ascii())
}

/// Everyone who may publish, and who may listen.
pub struct Access {
    /// The key that stands in the settings themselves.
    given: KeyRing,
    from_files: Vec<Arc<Reloaded<KeyRing>>>,
    oidc: Option<Oidc>,
    /// None = anyone may listen.
    subscribers: Option<Subscribers>,
}

impl Access {
    /// Reads the files that the settings name, and has them watched. `made` is the key of a node that has no other.
    ///
    /// An error names every file that is no good.
    pub fn new(
        settings: &Settings,
        made: Option<&str>,
        issuers: &Arc<Issuers>,
        reloads: &mut Reloads,
    ) -> Result<Self, BadSettings> {
        let publish = &settings.publish;
        let mut problems = Vec::new();
        let mut watch = |name, key, file: Option<&Path>, parse: fn(&[u8]) -> Result<KeyRing, String>| {
            let file = file?;
            let ring = Reloaded::load(name, vec![file.to_owned()], move |contents| parse(&contents[0]));
            let ring = ring.map_err(|message| problems.push(Problem::in_file(key, file, message))).ok()?;
            reloads.add(&ring);
            Some(ring)
        };
        let secret = publish.secret.as_ref();
        let from_files = [
            watch(
                WatchedFile::PublishSecret,
                "publish.secret_file",
                secret.and_then(Secret::file),
                KeyRing::parse_single,
            ),
            watch(
                WatchedFile::PublishKeys,
                "publish.keys_file",
                publish.keys_file.as_deref(),
                KeyRing::parse,
            ),
        ];
        let oidc = publish.oidc_file.as_deref().map(|file| Oidc::new(file, issuers, reloads));
        let oidc = oidc.transpose().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let subscribers = Subscribers::new(&settings.subscribers, issuers, reloads);
        let subscribers = subscribers.unwrap_or_else(|bad| {
            problems.extend(bad.0);
            None
        });
        if !problems.is_empty() {
            return Err(BadSettings(problems));
        }
        let given = secret.filter(|secret| secret.file().is_none()).map(Secret::expose);
        Ok(Self {
            given: given.or(made).map(KeyRing::single).unwrap_or_default(),
            from_files: from_files.into_iter().flatten().collect(),
            oidc,
            subscribers,
        })
    }

    /// Who shows this, if anyone: a key, or a token of a CI system.
    pub async fn publisher(&self, shown: &[u8]) -> Result<Grant, Denied> {
        match (&self.oidc, std::str::from_utf8(shown)) {
            (Some(oidc), Ok(text)) if Token::is_one(text) => oidc.grant(text).await,
            _ => self.key(shown),
        }
    }

    /// Whose keys must be fetched to judge tokens.
    pub fn sources(&self) -> HashSet<Source> {
        let mut sources = self.oidc.as_ref().map(Oidc::sources).unwrap_or_default();
        sources.extend(self.subscribers.as_ref().and_then(Subscribers::source).cloned());
        sources
    }

    /// Whether who shows this may listen in the room, and until when.
    pub async fn listener(&self, shown: Option<&str>, room: &RoomId) -> Result<Leave, Denied> {
        match &self.subscribers {
            Some(subscribers) => subscribers.admit(shown, room).await,
            None => Ok(Leave { until: None }),
        }
    }

    /// Takes as long for a wrong key as for a right one.
    fn key(&self, shown: &[u8]) -> Result<Grant, Denied> {
        let digest = secret_digest(shown);
        let now = SystemTime::now();
        let mut found = self.given.find(&digest, now);
        for ring in &self.from_files {
            let other = ring.current().find(&digest, now);
            if found == Err(Denied::Unknown) {
                found = other;
            }
        }
        found
    }
}
