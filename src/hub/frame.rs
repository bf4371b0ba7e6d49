//! The text frame a publication becomes, encoded once and shared by every socket it goes to.

use bytestring::ByteString;
use serde::Serialize;

use crate::room::{Publication, Revision};

/// A publication with its frame.
#[derive(Debug)]
pub struct Refresh {
    pub publication: Publication,
    pub frame: Frame,
}

impl From<Publication> for Refresh {
    fn from(publication: Publication) -> Self {
        Self { frame: Frame::refresh(publication.revision.as_ref()), publication }
    }
}

/// A frame's text. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(ByteString);

/// The JSON of a frame with a revision.
#[derive(Serialize)]
#[serde(tag = "type", rename = "refresh")]
struct Text<'a> {
    revision: &'a str,
}

impl Frame {
    /// `{"type":"refresh"}` to the byte, as PartyKit's guide sends it; with a revision that stands beside it.
    pub fn refresh(revision: Option<&Revision>) -> Self {
        let with_revision = revision.and_then(|revision| {
            // Two strings serialize without fail; were it otherwise, the bare refresh says all that matters.
            serde_json::to_string(&Text { revision: revision.as_str() }).ok()
        });
        Self(with_revision.map_or(ByteString::from_static(r#"{"type":"refresh"}"#), ByteString::from))
    }

    pub fn text(&self) -> &ByteString {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_without_a_revision_is_the_eighteen_bytes_of_the_guide() {
        assert_eq!(&**Frame::refresh(None).text(), r#"{"type":"refresh"}"#);
    }

    #[test]
    fn a_revision_is_escaped_into_the_frame() {
        let revision = Revision::parse(r#"a"b"#).unwrap();
        assert_eq!(&**Frame::refresh(Some(&revision)).text(), r#"{"type":"refresh","revision":"a\"b"}"#);
    }
}
