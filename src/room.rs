//! The values that travel: which room, which position, which publication.
//!
//! Pure values that are valid once they exist. Nothing here does I/O or knows a socket.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The name of a room, the unit of subscription. Cheap to clone; case-sensitive.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoomId(Arc<str>);

/// Why a text is not the name of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    #[error("the room name is empty")]
    Empty,
    #[error("the room name is {bytes} bytes long, the limit is {limit} (rooms.max_name_bytes)")]
    TooLong { bytes: usize, limit: usize },
    #[error("the room name contains a control character")]
    ControlCharacter,
    #[error("the room name is not valid UTF-8 after percent-decoding")]
    NotUtf8,
}

impl RoomId {
    /// Takes a name from outside: 1 to `limit` bytes of UTF-8 without control characters.
    pub fn parse(name: &str, limit: usize) -> Result<Self, RoomError> {
        if name.is_empty() {
            return Err(RoomError::Empty);
        }
        if name.len() > limit {
            return Err(RoomError::TooLong { bytes: name.len(), limit });
        }
        if name.chars().any(char::is_control) {
            return Err(RoomError::ControlCharacter);
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// Tells one life of a room's counter from the next: when Redis lost a room's head, counting starts again in a new epoch.
///
/// Six base-36 digits, picked at random by whoever publishes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u32);

const EPOCH_DIGITS: usize = 6;

impl Epoch {
    pub fn random() -> Self {
        // From 36^5 on, a number has six digits; 36^6 - 1 still fits 32 bits.
        Self(rand::random_range(36_u32.pow(5)..36_u32.pow(6)))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0_u8; EPOCH_DIGITS];
        let mut rest = self.0;
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
        }
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

/// Where a room stands: how many publications it has seen in its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    pub epoch: Epoch,
    /// Counts the publications of the epoch, from 1.
    pub generation: u64,
}

impl Position {
    /// Whether who stands at `other` must be told of `self`. Epochs have no order: another epoch is always news.
    pub fn is_news_to(&self, other: &Self) -> bool {
        self.epoch != other.epoch || self.generation > other.generation
    }

    /// Whether who has been told of `self` has thereby been told of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.generation >= other.generation
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.generation)
    }
}

/// A text is not a position such as `k3v9x2-42`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a position such as \"k3v9x2-42\"")]
pub struct PositionError(String);

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PositionError(text.to_owned());
        let (epoch, generation) = text.split_once('-').ok_or_else(error)?;
        if epoch.len() != EPOCH_DIGITS {
            return Err(error());
        }
        Ok(Self {
            epoch: Epoch(u32::from_str_radix(epoch, 36).map_err(|_| error())?),
            generation: generation.parse().map_err(|_| error())?,
        })
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What the publisher calls this state of the datafile. Opaque to the relay; handed to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision(Arc<str>);

/// A text is not a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a revision has 1 to {} characters and no control characters", Revision::MAX_CHARS)]
pub struct RevisionError;

impl Revision {
    pub const MAX_CHARS: usize = 128;

    pub fn parse(text: &str) -> Result<Self, RevisionError> {
        let valid = !text.is_empty()
            && text.chars().count() <= Self::MAX_CHARS
            && !text.chars().any(char::is_control);
        if valid { Ok(Self(text.into())) } else { Err(RevisionError) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who published: the id of a key or of a rule, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Publisher(Arc<str>);

/// A text is not the id of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {} letters, digits or ._:/@- characters", Publisher::MAX_BYTES)]
pub struct PublisherError;

impl Publisher {
    pub const MAX_BYTES: usize = 128;

    pub fn parse(id: &str) -> Result<Self, PublisherError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@-".contains(&byte);
        let valid = (1..=Self::MAX_BYTES).contains(&id.len()) && id.bytes().all(plain);
        if valid { Ok(Self(id.into())) } else { Err(PublisherError) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whoever shows the one key that the settings have.
impl Default for Publisher {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A moment on the broker's clock, in microseconds since 1970-01-01T00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment on this machine's clock.
    pub fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2026-11-22T12:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last moment with a year of four digits, which is as far as RFC 3339 goes.
        const LAST: u64 = 253_402_300_799_999_999;
        let moment = UNIX_EPOCH + Duration::from_micros(self.0.min(LAST));
        humantime::format_rfc3339_millis(moment).fmt(f)
    }
}

/// One refresh: a room stands at a new position. A room's *head* is the newest one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    pub room: RoomId,
    pub position: Position,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_by: Option<Publisher>,
    pub published_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_from_what_it_prints() {
        for _ in 0..1000 {
            let position = Position { epoch: Epoch::random(), generation: rand::random() };
            assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }
    }

    #[test]
    fn what_is_not_a_position_is_refused() {
        for text in ["", "-", "k3v9x2", "k3v9x2-", "k3v9x-1", "k3v9x2-x", "k3v9x!-1", "zzzzzzz-1"] {
            assert!(text.parse::<Position>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn another_epoch_is_news_whatever_its_generation() {
        let (a, b) = (Epoch(36_u32.pow(5)), Epoch(36_u32.pow(5) + 1));
        let at = |epoch, generation| Position { epoch, generation };
        assert!(at(a, 2).is_news_to(&at(a, 1)));
        assert!(!at(a, 1).is_news_to(&at(a, 1)));
        assert!(at(b, 1).is_news_to(&at(a, 9)));
        assert!(at(a, 2).covers(&at(a, 1)));
        assert!(!at(b, 9).covers(&at(a, 1)));
    }

    #[test]
    fn a_timestamp_prints_as_rfc_3339_with_milliseconds() {
        let text = Timestamp::from_micros(1_795_348_800_123_456).to_string();
        assert_eq!(text, "2026-11-22T12:00:00.123Z");
    }
}
