//! A request's path, and the room it names. Input: the path.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use refresh_relay::http::path::Target;
use refresh_relay::room::{RoomError, RoomId};

const LIMIT: usize = 64;

pub fn check(input: &[u8]) {
    let Ok(path) = std::str::from_utf8(input) else { return };
    match Target::parse(path) {
        Target::Party { room } => party(path, room),
        Target::UnknownParty(party) => {
            assert!(!party.is_empty() && party != "main" && !party.contains('/'), "{party:?}");
        }
        Target::Room(name) => v1(path, name.as_deref(), ""),
        Target::Refresh(name) => v1(path, name.as_deref(), "/refresh"),
        Target::Webhook { room, kind } => v1(path, room.as_deref(), &format!("/webhooks/{kind}")),
        Target::UnknownV1 => assert_eq!(path.split('/').nth(1), Some("v1")),
        Target::Unknown => {}
    }
    room(path);
}

/// A room is the same by both of its paths, and whatever stands behind it.
fn party(path: &str, room: &str) {
    assert!(!room.is_empty() && !room.contains('/') && path.contains(room), "{room:?}");
    for same in [format!("/party/{room}"), format!("/parties/main/{room}"), format!("/party/{room}/a/b")] {
        assert_eq!(Target::parse(&same), Target::Party { room });
    }
}

/// A name is what percent-decoding gives, and encoded anew leads to the same place.
fn v1(path: &str, name: Option<&str>, behind: &str) {
    let encoded =
        path.strip_prefix("/v1/rooms/").or_else(|| path.split_once("/v1/rooms/").map(|(_, rest)| rest));
    let encoded = encoded.and_then(|rest| rest.strip_suffix(behind)).expect("this path was read as a room's");
    let decoded = percent_decode_str(encoded).decode_utf8().ok();
    assert_eq!(decoded.as_deref(), name);
    let Some(name) = name else { return };
    let again = format!("/v1/rooms/{}{behind}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    let room_again = Some(name.to_owned().into());
    let expected = match behind.split('/').collect::<Vec<_>>().as_slice() {
        ["", "refresh"] => Target::Refresh(room_again),
        ["", "webhooks", kind] => Target::Webhook { room: room_again, kind },
        _ => Target::Room(room_again),
    };
    assert_eq!(Target::parse(&again), expected);
    room(name);
}

/// What is taken as a room is kept as it is, and nothing else is taken.
fn room(name: &str) {
    let control = name.chars().any(char::is_control);
    match RoomId::parse(name, LIMIT) {
        Ok(room) => {
            assert!(!name.is_empty() && name.len() <= LIMIT && !control, "{name:?}");
            assert_eq!((room.as_str(), room.to_string().as_str()), (name, name));
            assert_eq!(RoomId::parse(room.as_str(), LIMIT), Ok(room.clone()));
            let json = serde_json::to_string(&room).expect("a room can be written");
            assert_eq!(serde_json::from_str::<RoomId>(&json).expect("and read"), room);
        }
        Err(RoomError::Empty) => assert!(name.is_empty()),
        Err(RoomError::TooLong { bytes, limit }) => assert!(bytes == name.len() && bytes > limit),
        Err(RoomError::ControlCharacter) => assert!(control, "{name:?}"),
        Err(RoomError::NotUtf8) => panic!("a text is UTF-8"),
    }
}
