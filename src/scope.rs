//! Which rooms a permission covers.

use crate::room::RoomId;

/// A room by its exact name, rooms by what their names begin with (`shop-*`), or all rooms (`*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomPattern {
    Exact(String),
    Prefix(String),
}

impl RoomPattern {
    /// An error says what a pattern looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, make): (&str, fn(String) -> Self) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, Self::Prefix),
            None => (text, Self::Exact),
        };
        if text.is_empty() || name.contains('*') || name.chars().any(char::is_control) {
            return Err(format!(
                "must be a room such as featurevisor, a beginning such as shop-*, or *; not {text:?}"
            ));
        }
        Ok(make(name.to_owned()))
    }

    fn covers(&self, room: &str) -> bool {
        match self {
            Self::Exact(name) => room == name,
            Self::Prefix(prefix) => room.starts_with(prefix.as_str()),
        }
    }
}

/// The rooms that any of some patterns covers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomScope(Vec<RoomPattern>);

impl RoomScope {
    pub fn new(patterns: Vec<RoomPattern>) -> Self {
        Self(patterns)
    }

    pub fn all() -> Self {
        Self(vec![RoomPattern::Prefix(String::new())])
    }

    pub fn covers(&self, room: &RoomId) -> bool {
        self.0.iter().any(|pattern| pattern.covers(room.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_what_one_of_its_patterns_covers() {
        let scope = |patterns: &[&str]| {
            RoomScope::new(patterns.iter().map(|text| RoomPattern::parse(text).unwrap()).collect())
        };
        let room = |name| RoomId::parse(name, 256).unwrap();
        assert!(RoomScope::all().covers(&room("any")));
        assert!(scope(&["other", "shop-*"]).covers(&room("shop-")));
        assert!(scope(&["other", "shop-*"]).covers(&room("other")));
        for name in ["shop", "Shop-1", "others", "xshop-1"] {
            assert!(!scope(&["other", "shop-*"]).covers(&room(name)), "{name}");
        }
        assert!(!RoomScope::default().covers(&room("any")));
    }

    #[test]
    fn a_pattern_with_an_inner_star_is_refused() {
        for text in ["", "a*b", "*a", "**", "a\n"] {
            assert!(RoomPattern::parse(text).is_err(), "{text:?}");
        }
    }
}
