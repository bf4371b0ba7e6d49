//! What a request's path addresses on the public listener.
//!
//! Read off the raw path, as PartyKit does: its rooms are not percent-decoded, and `//party/x` is not `/party/x`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Who is meant by a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/party/<room>[/...]` or `/parties/main/<room>[/...]`; the room as it stands.
    Party {
        room: &'a str,
    },
    /// `/parties/<other>/<room>[/...]`.
    UnknownParty(&'a str),
    /// `/v1/rooms/<room>`; None if the name is not UTF-8 once percent-decoded.
    Room(Option<Cow<'a, str>>),
    /// `/v1/rooms/<room>/refresh`.
    Refresh(Option<Cow<'a, str>>),
    /// `/v1/rooms/<room>/webhooks/<kind>`.
    Webhook {
        room: Option<Cow<'a, str>>,
        kind: &'a str,
    },
    /// Anything else below `/v1`.
    UnknownV1,
    Unknown,
}

impl<'a> Target<'a> {
    pub fn parse(path: &'a str) -> Self {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match *segments.as_slice() {
            ["party", room, ..] | ["parties", "main", room, ..] if !room.is_empty() => Self::Party { room },
            ["parties", party, room, ..] if !party.is_empty() && !room.is_empty() => {
                Self::UnknownParty(party)
            }
            ["v1", "rooms", room] => Self::Room(decode(room)),
            ["v1", "rooms", room, "refresh"] => Self::Refresh(decode(room)),
            ["v1", "rooms", room, "webhooks", kind] => Self::Webhook { room: decode(room), kind },
            ["v1", ..] => Self::UnknownV1,
            _ => Self::Unknown,
        }
    }
}

fn decode(room: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(room).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_address_what_the_contract_says() {
        let party = Target::Party { room: "r%20m" };
        let decoded = |name: &'static str| Some(Cow::Borrowed(name));
        for (path, target) in [
            ("/party/r%20m", &party),
            ("/party/r%20m/", &party),
            ("/party/r%20m/a/b", &party),
            ("/parties/main/r%20m", &party),
            ("/parties/nope/r", &Target::UnknownParty("nope")),
            ("/parties/nope", &Target::Unknown),
            ("/parties/main/", &Target::Unknown),
            ("/party/", &Target::Unknown),
            ("//party/r", &Target::Unknown),
            ("/Party/r", &Target::Unknown),
            ("/", &Target::Unknown),
            ("/v1/rooms/r%20m/refresh", &Target::Refresh(decoded("r m"))),
            ("/v1/rooms/a%2Fb", &Target::Room(decoded("a/b"))),
            ("/v1/rooms/%ff", &Target::Room(None)),
            ("/v1/rooms/r/refresh/", &Target::UnknownV1),
            ("/v1/rooms/r%20m/webhooks/github", &Target::Webhook { room: decoded("r m"), kind: "github" }),
            ("/v1/rooms/r/webhooks", &Target::UnknownV1),
            ("/v1", &Target::UnknownV1),
            ("/v1x", &Target::Unknown),
        ] {
            assert_eq!(&Target::parse(path), target, "{path}");
        }
    }
}
