//! What is said in the same words on PartyKit's paths and on `/v1`.

/// Of a room that `rooms.allow` does not cover.
pub const ROOM_NOT_ALLOWED: &str = "This relay does not serve that room (rooms.allow).";

/// To a publisher that is over `publish.rate_per_second`.
pub const TOO_MANY: &str = "Too many publishes with this key at once, try again.";
