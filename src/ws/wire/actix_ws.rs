//! The actix-ws wire.
//!
//! A session's channel holds 32 messages and its `send` waits when they are queued; here it is polled.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::actix_ws::{Message, Session};
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev, web};
use bytes::{Bytes, BytesMut};
use futures_util::{Sink, StreamExt};

use super::close_frame;
use super::decoder::{Decoder, Heard};
use crate::close::CloseReason;
use crate::hub::{Frame, WireClosed};

pub struct Outgoing {
    session: RefCell<Session>,
}

/// Reads the payload itself: the library's stream of messages holds a frame of any length before it refuses it.
pub struct Incoming {
    payload: web::Payload,
    decoder: Decoder,
}

/// Answers the handshake; the response ends when the wire does.
pub fn accept(
    request: &HttpRequest,
    payload: web::Payload,
    subprotocols: &[String],
    max_message_bytes: usize,
) -> actix_web::Result<(HttpResponse, super::Outgoing, super::Incoming)> {
    let subprotocols: Vec<&str> = subprotocols.iter().map(String::as_str).collect();
    let (response, session, _) =
        ::actix_ws::handle_with_protocols(request, nothing(request)?, &subprotocols)?;
    let outgoing = Outgoing { session: RefCell::new(session) };
    let incoming = Incoming { payload, decoder: Decoder::new(BytesMut::new(), max_message_bytes) };
    Ok((response, super::Outgoing::ActixWs(outgoing), super::Incoming::ActixWs(incoming)))
}

fn nothing(request: &HttpRequest) -> actix_web::Result<web::Payload> {
    web::Payload::from_request(request, &mut dev::Payload::None).into_inner()
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
        loop {
            if let Some(heard) = self.decoder.decode() {
                return Some(heard);
            }
            self.decoder.push(&self.payload.next().await?.ok()?);
        }
    }
}
