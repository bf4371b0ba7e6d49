//! From a client's bytes to what it said, the same for both wires. Knows no socket, and never waits.
//!
//! It holds no more than one frame of the allowed size that is still coming in, whatever length the frame's header
//! claims, and nothing at all between frames or after an error.

use ::actix_ws::ProtocolError;
use actix_codec::Decoder as _;
use actix_http::ws::{Codec, Frame, Item};
use bytes::{Bytes, BytesMut};

use super::message::{Incomplete, check_text};
use crate::close::CloseReason;

/// What stands before the payload at most: two bytes, an eight-byte length, a mask (RFC 6455, section 5.2).
pub const MAX_HEADER: usize = 14;

/// What a client said. Its text and binary messages mean nothing here.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Ping(Bytes),
    Pong,
    Data,
    Close,
}

pub struct Decoder {
    /// A frame that has come in part; empty, and without memory, most of the time.
    partial: BytesMut,
    codec: Codec,
    /// `websocket.max_message_bytes`
    limit: usize,
    /// One that comes in fragments, while it does.
    message: Option<Box<Incomplete>>,
    failed: bool,
}

impl Decoder {
    /// `received` is what came behind the handshake; `max_message_bytes` holds for frames and for messages of several.
    pub fn new(received: BytesMut, max_message_bytes: usize) -> Self {
        Self {
            partial: unless_empty(received),
            codec: Codec::new().max_size(max_message_bytes),
            limit: max_message_bytes,
            message: None,
            failed: false,
        }
    }

    /// Takes what was read. After an error it is dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.failed {
            self.partial.extend_from_slice(bytes);
        }
    }

    /// The next thing the client said; None until more bytes come. After an error there is no more.
    pub fn decode(&mut self) -> Option<Result<Heard, CloseReason>> {
        if self.failed {
            return None;
        }
        let heard = match self.codec.decode(&mut self.partial) {
            Ok(Some(frame)) => self.heard(frame),
            // The codec would wait for all of a frame before it looks at its length.
            Ok(None) if self.partial.len() > self.limit + MAX_HEADER => Err(CloseReason::TooBig),
            Ok(None) => {
                self.partial = unless_empty(std::mem::take(&mut self.partial));
                return None;
            }
            Err(error) => Err(close_reason(&error)),
        };
        if heard.is_err() {
            self.failed = true;
            self.partial = BytesMut::new();
            self.message = None;
        }
        Some(heard)
    }

    /// Bytes of a frame that is not complete.
    pub fn held(&self) -> usize {
        self.partial.len()
    }

    fn heard(&mut self, frame: Frame) -> Result<Heard, CloseReason> {
        match frame {
            Frame::Ping(payload) => Ok(Heard::Ping(payload)),
            Frame::Pong(_) => Ok(Heard::Pong),
            Frame::Close(_) => Ok(Heard::Close),
            Frame::Text(text) => check_text(&text),
            Frame::Binary(_) => Ok(Heard::Data),
            Frame::Continuation(item) => self.continued(&item),
        }
    }

    fn continued(&mut self, item: &Item) -> Result<Heard, CloseReason> {
        let message = self.message.get_or_insert_default();
        message.add(item, self.limit)?;
        if let Item::Last(_) = item
            && let Some(message) = self.message.take()
        {
            message.end()?;
        }
        Ok(Heard::Data)
    }
}

/// Gives the memory of an empty buffer back: of 8 KiB, half would stay resident for the connection's life.
pub fn unless_empty(buffer: BytesMut) -> BytesMut {
    if buffer.is_empty() { BytesMut::new() } else { buffer }
}

fn close_reason(error: &ProtocolError) -> CloseReason {
    match error {
        ProtocolError::Overflow => CloseReason::TooBig,
        _ => CloseReason::Protocol,
    }
}
