//! Who may publish.
//!
//! It is given what a caller shows and answers who that is and for which rooms; it knows neither HTTP nor the node.

mod keys;
mod scope;
pub mod webhook;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;

pub use self::keys::{KeyRing, MIN_SECRET_CHARS, generate_secret, secret_digest};
pub use self::scope::{RoomPattern, RoomScope};
use crate::config::{BadSettings, Problem, PublishSettings, Secret};
use crate::metrics::WatchedFile;
use crate::reload::{Reloaded, Reloads};
use crate::room::{Publisher, RoomId};

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

/// Everyone who may publish.
pub struct Access {
    /// The key that stands in the settings themselves.
    given: KeyRing,
    from_files: Vec<Arc<Reloaded<KeyRing>>>,
}

impl Access {
    /// Reads the files that the settings name, and has them watched. `made` is the key of a node that has no other.
    ///
    /// An error names every file that is no good.
    pub fn new(
        settings: &PublishSettings,
        made: Option<&str>,
        reloads: &mut Reloads,
    ) -> Result<Self, BadSettings> {
        let mut problems = Vec::new();
        let mut watch = |name, key, file: Option<&Path>, parse: fn(&[u8]) -> Result<KeyRing, String>| {
            let file = file?;
            let ring = Reloaded::load(name, vec![file.to_owned()], move |contents| parse(&contents[0]));
            let ring = ring.map_err(|message| problems.push(Problem::in_file(key, file, message))).ok()?;
            reloads.add(&ring);
            Some(ring)
        };
        let secret = settings.secret.as_ref();
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
                settings.keys_file.as_deref(),
                KeyRing::parse,
            ),
        ];
        if !problems.is_empty() {
            return Err(BadSettings(problems));
        }
        let given = secret.filter(|secret| secret.file().is_none()).map(Secret::expose);
        Ok(Self {
            given: given.or(made).map(KeyRing::single).unwrap_or_default(),
            from_files: from_files.into_iter().flatten().collect(),
        })
    }

    /// Who shows this, if anyone. Takes as long for a wrong key as for a right one.
    pub fn publisher(&self, shown: &[u8]) -> Result<Grant, Denied> {
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
