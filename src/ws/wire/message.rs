//! What a client's messages are held to: a size, and UTF-8 where they say that they are text.
//!
//! Nothing is kept of a message. It may come in fragments, and a fragment may end within a character.

use ::actix_ws::Item;

use super::decoder::Heard;
use crate::close::CloseReason;

/// The message that is coming in.
#[derive(Default)]
pub struct Incomplete {
    so_far: usize,
    text: Option<Text>,
}

/// Text up to now: the bytes of a character of which the rest is still to come.
#[derive(Default)]
struct Text {
    begun: Vec<u8>,
}

impl Incomplete {
    /// An error as soon as the message cannot become a good one of at most `limit` bytes any more.
    pub fn add(&mut self, fragment: &Item, limit: usize) -> Result<(), CloseReason> {
        if let Item::FirstText(_) = fragment {
            self.text = Some(Text::default());
        }
        let (Item::FirstText(bytes) | Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes)) =
            fragment;
        self.so_far += bytes.len();
        if self.so_far > limit {
            return Err(CloseReason::TooBig);
        }
        self.text.as_mut().map_or(Ok(()), |text| text.add(bytes))
    }

    /// After its last fragment.
    pub fn end(self) -> Result<(), CloseReason> {
        self.text.map_or(Ok(()), Text::end)
    }
}

/// A message of text in one piece.
pub fn check_text(bytes: &[u8]) -> Result<Heard, CloseReason> {
    std::str::from_utf8(bytes).map(|_| Heard::Data).map_err(|_| CloseReason::NotText)
}

impl Text {
    fn add(&mut self, mut bytes: &[u8]) -> Result<(), CloseReason> {
        while !self.begun.is_empty()
            && let Some((first, rest)) = bytes.split_first()
        {
            let mut character = std::mem::take(&mut self.begun);
            character.push(*first);
            self.begun = unfinished(&character)?.to_vec();
            bytes = rest;
        }
        if self.begun.is_empty() {
            self.begun = unfinished(bytes)?.to_vec();
        }
        Ok(())
    }

    fn end(self) -> Result<(), CloseReason> {
        if self.begun.is_empty() { Ok(()) } else { Err(CloseReason::NotText) }
    }
}

/// The beginning of a character at the end of what is good text otherwise.
fn unfinished(bytes: &[u8]) -> Result<&[u8], CloseReason> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(&[]),
        Err(error) if error.error_len().is_none() => Ok(&bytes[error.valid_up_to()..]),
        Err(_) => Err(CloseReason::NotText),
    }
}
