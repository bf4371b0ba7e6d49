//! The actix-ws wire.
//!
//! A session's channel holds 32 messages and its `send` waits when they are queued; here it is polled.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::actix_ws::{Message, MessageStream, ProtocolError, Session};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::Sink;

use super::{Heard, MessageLimit, close_frame, close_reason};
use crate::close::CloseReason;
use crate::hub::{Frame, WireClosed};

pub struct Outgoing {
    session: RefCell<Session>,
}

pub struct Incoming {
    stream: MessageStream,
    limit: MessageLimit,
}

/// Answers the handshake; the response ends when the wire does.
pub fn accept(
    request: &HttpRequest,
    payload: web::Payload,
    subprotocols: &[String],
    max_message_bytes: usize,
) -> actix_web::Result<(HttpResponse, super::Outgoing, super::Incoming)> {
    let subprotocols: Vec<&str> = subprotocols.iter().map(String::as_str).collect();
    let (response, session, stream) = ::actix_ws::handle_with_protocols(request, payload, &subprotocols)?;
    let stream = stream.max_frame_size(max_message_bytes);
    let outgoing = Outgoing { session: RefCell::new(session) };
    let incoming = Incoming { stream, limit: MessageLimit::new(max_message_bytes) };
    Ok((response, super::Outgoing::ActixWs(outgoing), super::Incoming::ActixWs(incoming)))
}

impl Outgoing {
    pub fn poll_send(&self, cx: &mut Context<'_>, frame: &Frame) -> Poll<Result<(), WireClosed>> {
        self.poll_message(cx, || Message::Text(frame.text().clone()))
    }

    pub fn poll_ping(&self, cx: &mut Context<'_>) -> Poll<Result<(), WireClosed>> {
        self.poll_message(cx, || Message::Ping(Bytes::new()))
    }

    pub fn poll_pong(&self, cx: &mut Context<'_>, payload: &Bytes) -> Poll<Result<(), WireClosed>> {
        self.poll_message(cx, || Message::Pong(payload.clone()))
    }

    /// Resolves when the frame is in the session; actix-http flushes it.
    pub async fn close(&self, reason: CloseReason) {
        let session = self.session.borrow().clone();
        let _closed_before = session.close(Some(close_frame(reason))).await;
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
    pub async fn next(&mut self) -> Option<Result<Heard, CloseReason>> {
        let message = match self.stream.recv().await? {
            Ok(message) => message,
            Err(ProtocolError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => return None,
            Err(error) => return Some(Err(close_reason(&error))),
        };
        Some(match message {
            Message::Ping(payload) => Ok(Heard::Ping(payload)),
            Message::Pong(_) => Ok(Heard::Pong),
            Message::Close(_) => Ok(Heard::Close),
            Message::Text(_) | Message::Binary(_) | Message::Nop => Ok(Heard::Data),
            Message::Continuation(item) => self.limit.add(&item),
        })
    }
}
