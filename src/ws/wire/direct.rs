//! The direct wire: the TCP stream itself, taken over from actix-http once the handshake is checked.
//!
//! actix-http's dispatcher and its two buffers of 8 KiB are gone then; an idle connection holds no buffer at all.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::actix_ws::Message;
use actix_codec::Encoder;
use actix_http::body::BodySize;
use actix_http::ws::{self, Codec};
use actix_http::{ConnectionType, RequestHead, h1};
use actix_web::http::header::{self, HeaderMap};
use actix_web::rt::net::TcpStream;
use actix_web::{HttpResponse, body};
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::close_frame;
use super::decoder::{Decoder, Heard, unless_empty};
use crate::close::CloseReason;
use crate::hub::WireClosed;

/// A connection as actix-http hands it over.
pub type Framed = actix_codec::Framed<TcpStream, h1::Codec>;

/// Bytes read at a time. One buffer per worker serves all its connections, as reading never waits.
const READ: usize = 16 * 1024;

/// How long a refused client may go on sending, so that the refusal is not lost to a reset.
const REFUSED_LINGER: Duration = Duration::from_millis(500);

/// A ping without payload, unmasked (RFC 6455, section 5.5.2).
const PING: &[u8] = &[0x89, 0x00];

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

pub struct Outgoing {
    stream: Rc<TcpStream>,
    /// What is left of frames that the kernel took in part.
    rest: RefCell<BytesMut>,
}

pub struct Incoming {
    stream: Rc<TcpStream>,
    decoder: Decoder,
}

/// Answers the handshake and takes the stream over.
pub async fn accept(
    head: &RequestHead,
    mut framed: Framed,
    subprotocols: &[String],
    max_message_bytes: usize,
) -> io::Result<(super::Outgoing, super::Incoming)> {
    let mut response = ws::handshake_response(head);
    if let Some(subprotocol) = select(&head.headers, subprotocols) {
        response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, subprotocol));
    }
    let response = response.message_body(()).map_err(|error| io::Error::other(error.to_string()))?;
    // Not flushed: the connection takes its seat first, so that what is published from now on comes after the answer
    // to the handshake and is not lost.
    framed.feed((response, BodySize::None).into()).await?;
    let parts = framed.into_parts();
    let stream = Rc::new(parts.io);
    let outgoing = Outgoing { stream: Rc::clone(&stream), rest: RefCell::new(unless_empty(parts.write_buf)) };
    let incoming = Incoming { stream, decoder: Decoder::new(parts.read_buf, max_message_bytes) };
    Ok((super::Outgoing::Direct(outgoing), super::Incoming::Direct(incoming)))
}

/// Answers with a plain response instead, and closes.
pub async fn refuse(mut framed: Framed, response: HttpResponse) -> io::Result<()> {
    let (response, body) = actix_http::Response::from(response).into_parts();
    let body = body::to_bytes(body).await.map_err(|error| io::Error::other(error.to_string()))?;
    let mut response = response.set_body(());
    response.head_mut().set_connection_type(ConnectionType::Close);
    framed.send((response, BodySize::Sized(body.len() as u64)).into()).await?;
    framed.send(h1::Message::Chunk(Some(body))).await?;
    framed.send(h1::Message::Chunk(None)).await?;
    let stream = framed.into_parts().io;
    socket2::SockRef::from(&stream).shutdown(std::net::Shutdown::Write)?;
    let _ended_or_late = timeout(REFUSED_LINGER, discard(&stream)).await;
    Ok(())
}

/// The first of the offered subprotocols that is supported.
fn select<'a>(headers: &'a HeaderMap, supported: &[String]) -> Option<&'a str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|offered| offered.to_str().ok())
        .flat_map(|offered| offered.split(',').map(str::trim))
        .find(|offered| supported.iter().any(|one| one == offered))
}

impl Outgoing {
    /// Writes the frame if what came before it is written. A frame that the kernel takes in part counts as sent; its
    /// rest goes first from then on.
    pub fn poll_write(&self, cx: &mut Context<'_>, frame: &[u8]) -> Poll<Result<(), WireClosed>> {
        ready!(self.poll_flush(cx))?;
        let written = ready!(self.poll_try_write(cx, frame))?;
        if written < frame.len() {
            self.rest.borrow_mut().extend_from_slice(&frame[written..]);
        }
        Poll::Ready(Ok(()))
    }

    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), WireClosed>> {
        let mut rest = self.rest.borrow_mut();
        if rest.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !rest.is_empty() {
            let written = ready!(self.poll_try_write(cx, &rest))?;
            let _ = rest.split_to(written);
        }
        *rest = unless_empty(std::mem::take(&mut rest));
        Poll::Ready(Ok(()))
    }

    pub fn poll_ping(&self, cx: &mut Context<'_>) -> Poll<Result<(), WireClosed>> {
        self.poll_write(cx, PING)
    }

    pub fn poll_pong(&self, cx: &mut Context<'_>, payload: &Bytes) -> Poll<Result<(), WireClosed>> {
        self.poll_write(cx, &encode(Message::Pong(payload.clone()))?)
    }

    /// Resolves when the kernel has the whole frame.
    pub async fn close(&self, reason: CloseReason) -> Result<(), WireClosed> {
        let frame = encode(Message::Close(Some(close_frame(reason))))?;
        poll_fn(|cx| self.poll_write(cx, &frame)).await?;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// The client sees the end of the connection. What it still sends can be read.
    pub fn finish(&self) {
        // Fails when the client is gone already.
        let _gone = socket2::SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write);
    }

    /// Past the runtime's own note of whether the socket takes anything, which is a cache miss for each socket of a
    /// broadcast (0.2 of 8 us); only one that takes nothing is left to the runtime, which then wakes its task.
    fn poll_try_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, WireClosed>> {
        match socket2::SockRef::from(&*self.stream).send(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written.map_err(|_| WireClosed)),
        }
        loop {
            match self.stream.try_write(bytes) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_write_ready(cx)).map_err(|_| WireClosed)?;
                }
                Err(_) => return Poll::Ready(Err(WireClosed)),
            }
        }
    }
}

fn encode(message: Message) -> Result<BytesMut, WireClosed> {
    let mut bytes = BytesMut::new();
    Codec::new().encode(message, &mut bytes).map_err(|_| WireClosed)?;
    Ok(bytes)
}

impl Incoming {
    pub async fn next(&mut self) -> Option<Result<Heard, CloseReason>> {
        loop {
            if let Some(heard) = self.decoder.decode() {
                return Some(heard);
            }
            if read(&self.stream, |bytes| self.decoder.push(bytes)).await? == 0 {
                return None;
            }
        }
    }

    /// Resolves once the client has answered our close frame, or is gone. What it sends after an error is read and
    /// dropped until it is gone: bytes left unread would turn the end of the connection into a reset, and the client
    /// might never see our close frame.
    pub async fn until_close(&mut self) {
        while let Some(Ok(heard)) = self.next().await {
            if heard == Heard::Close {
                return;
            }
            consume_budget().await;
        }
    }
}

/// Waits until something can be read, and hands it over. 0 at the end, None after an error.
async fn read(stream: &TcpStream, mut take: impl FnMut(&[u8])) -> Option<usize> {
    loop {
        poll_fn(|cx| stream.poll_read_ready(cx)).await.ok()?;
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let count = stream.try_read(scratch)?;
            take(&scratch[..count]);
            Ok::<_, io::Error>(count)
        });
        match read {
            Ok(count) => return Some(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

async fn discard(stream: &TcpStream) {
    while read(stream, |_| ()).await.is_some_and(|count| count > 0) {}
}
