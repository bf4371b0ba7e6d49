//! The text frame a publication becomes, encoded once and shared by every socket it goes to.

use std::sync::Arc;

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

/// A frame's text, and the frame as it stands on the wire. Cloning shares both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Arc<Forms>);

#[derive(Debug, PartialEq, Eq)]
struct Forms {
    text: ByteString,
    encoded: Vec<u8>,
}

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
        let text = with_revision.map_or(ByteString::from_static(r#"{"type":"refresh"}"#), ByteString::from);
        Self(Arc::new(Forms { encoded: encode(&text), text }))
    }

    pub fn text(&self) -> &ByteString {
        &self.0.text
    }

    pub fn encoded(&self) -> &[u8] {
        &self.0.encoded
    }
}

/// A whole text frame, unmasked as a server's are (RFC 6455, section 5.2).
fn encode(text: &str) -> Vec<u8> {
    const FINAL_TEXT: u8 = 0x81;
    let mut frame = vec![FINAL_TEXT];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ ..=125), _) => frame.push(short),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((text.len() as u64).to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_without_a_revision_is_the_eighteen_bytes_of_the_guide() {
        assert_eq!(&**Frame::refresh(None).text(), r#"{"type":"refresh"}"#);
    }

    #[test]
    fn a_frame_is_encoded_with_the_shortest_length() {
        assert_eq!(Frame::refresh(None).encoded(), b"\x81\x12{\"type\":\"refresh\"}");
        let long = Frame::refresh(Revision::parse(&"x".repeat(128)).ok().as_ref());
        assert_eq!(long.encoded()[..4], [0x81, 126, 0, 160]);
        assert_eq!(&long.encoded()[4..], long.text().as_bytes());
        assert_eq!(encode(&"x".repeat(1 << 16))[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_revision_is_escaped_into_the_frame() {
        let revision = Revision::parse(r#"a"b"#).unwrap();
        assert_eq!(&**Frame::refresh(Some(&revision)).text(), r#"{"type":"refresh","revision":"a\"b"}"#);
    }
}
