//! Which rooms a key is for. Input: a pattern, then on the second line a room.

use refresh_relay::access::{RoomPattern, RoomScope};
use refresh_relay::room::RoomId;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, ""));
    let stars = pattern.matches('*').count();
    let Ok(parsed) = RoomPattern::parse(pattern) else {
        let plain = !pattern.is_empty() && !pattern.chars().any(char::is_control);
        assert!(!plain || stars > usize::from(pattern.ends_with('*')), "{pattern:?} is a pattern");
        return;
    };
    assert!(stars == 0 || (stars == 1 && pattern.ends_with('*')), "{pattern:?} is no pattern");
    let scope = RoomScope::new(vec![parsed]);
    let beginning = pattern.trim_end_matches('*');
    for name in [name, beginning, &format!("{beginning}x"), &format!("x{beginning}")] {
        let Ok(room) = RoomId::parse(name, 256) else { continue };
        let covered = if stars == 1 { name.starts_with(beginning) } else { name == pattern };
        assert_eq!(scope.covers(&room), covered, "{pattern:?} {name:?}");
        assert!(RoomScope::all().covers(&room) && !RoomScope::default().covers(&room));
    }
}
