//! How frames get onto the socket and off it: the actix-ws wire. The only file that knows.
//!
//! A session's channel holds 32 messages and its `send` waits when they are queued; here nothing waits, everything
//! is polled.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, Item, Message, MessageStream, ProtocolError, Session};
use bytes::Bytes;
use futures_util::Sink;
use tokio::time::timeout;

use crate::close::CloseReason;
use crate::hub::{Frame, Wire, WireClosed};

/// How long a close frame may take to get into a busy session. The client is given up on then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The outgoing half.
pub struct ActixWire {
    session: RefCell<Session>,
}

/// The incoming half.
pub struct Incoming {
    stream: MessageStream,
    max_message_bytes: usize,
    /// Bytes of the fragmented message that is coming in.
    fragments: usize,
}

/// What a client said. Its text and binary messages mean nothing here.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Ping(Bytes),
    Pong,
    Data,
    Close,
}

/// Answers the handshake; the response ends when the wire does.
pub fn accept(
    request: &HttpRequest,
    payload: web::Payload,
    subprotocols: &[String],
    max_message_bytes: usize,
) -> actix_web::Result<(HttpResponse, ActixWire, Incoming)> {
    let subprotocols: Vec<&str> = subprotocols.iter().map(String::as_str).collect();
    let (response, session, stream) = actix_ws::handle_with_protocols(request, payload, &subprotocols)?;
    let stream = stream.max_frame_size(max_message_bytes);
    let wire = ActixWire { session: RefCell::new(session) };
    Ok((response, wire, Incoming { stream, max_message_bytes, fragments: 0 }))
}

impl Wire for ActixWire {
    fn poll_send(&self, cx: &mut Context<'_>, frame: &Frame) -> Poll<Result<(), WireClosed>> {
        self.poll_message(cx, || Message::Text(frame.text().clone()))
    }
}

impl ActixWire {
    pub fn poll_ping(&self, cx: &mut Context<'_>) -> Poll<Result<(), WireClosed>> {
        self.poll_message(cx, || Message::Ping(Bytes::new()))
    }

    pub fn poll_pong(&self, cx: &mut Context<'_>, payload: &Bytes) -> Poll<Result<(), WireClosed>> {
        self.poll_message(cx, || Message::Pong(payload.clone()))
    }

    /// Sends the close frame. actix-http flushes it, and reads on for `client_disconnect_timeout` at most, so that
    /// the frame is not lost to a reset.
    pub async fn close(&self, reason: CloseReason) {
        let description = Some(reason.text().to_owned()).filter(|text| !text.is_empty());
        let frame = actix_ws::CloseReason { code: CloseCode::from(reason.code()), description };
        let session = self.session.borrow().clone();
        // Neither a closed nor a stuck session can be told anything more.
        let _closed_or_stuck = timeout(CLOSE_TIMEOUT, session.close(Some(frame))).await;
    }

    fn poll_message(
        &self,
        cx: &mut Context<'_>,
        message: impl FnOnce() -> Message,
    ) -> Poll<Result<(), WireClosed>> {
        let mut session = self.session.borrow_mut();
        let mut session = Pin::new(&mut *session);
        match session.as_mut().poll_ready(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(session.start_send(message()).map_err(|_| WireClosed)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(WireClosed)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Incoming {
    /// The next thing the client says; None when its connection ended. After an error the stream is of no use.
    pub async fn next(&mut self) -> Option<Result<Heard, CloseReason>> {
        let message = match self.stream.recv().await? {
            Ok(message) => message,
            Err(ProtocolError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => return None,
            Err(ProtocolError::Overflow) => return Some(Err(CloseReason::TooBig)),
            Err(_) => return Some(Err(CloseReason::Protocol)),
        };
        Some(match message {
            Message::Ping(payload) => Ok(Heard::Ping(payload)),
            Message::Pong(_) => Ok(Heard::Pong),
            Message::Close(_) => Ok(Heard::Close),
            Message::Text(_) | Message::Binary(_) | Message::Nop => Ok(Heard::Data),
            Message::Continuation(item) => self.on_fragment(&item),
        })
    }

    fn on_fragment(&mut self, item: &Item) -> Result<Heard, CloseReason> {
        let (Item::FirstText(bytes) | Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes)) =
            item;
        self.fragments += bytes.len();
        if self.fragments > self.max_message_bytes {
            return Err(CloseReason::TooBig);
        }
        if matches!(item, Item::Last(_)) {
            self.fragments = 0;
        }
        Ok(Heard::Data)
    }
}
