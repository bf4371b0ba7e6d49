//! How frames get onto a socket and off it. Two wires stand behind one type, and nothing else notices which.
//!
//! The direct wire owns the TCP stream and writes a frame where the hub hands it over; the actix-ws wire goes through
//! actix-web's response body, for connections that are more than a bare TCP stream. Neither waits: everything is
//! polled, so that one task can read, write and keep time.

mod actix_ws;
mod decoder;
mod direct;
mod message;

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

pub use self::actix_ws::accept as accept_actix_ws;
pub use self::decoder::{Decoder, Heard, MAX_HEADER};
pub use self::direct::{Framed, accept as accept_direct, refuse};
use crate::close::CloseReason;
use crate::hub::{Frame, Wire, WireClosed};

/// How long a close frame may take to get onto a busy socket. The client is given up on then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a client may take to answer our close frame, so that the frame is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

/// The outgoing half.
pub enum Outgoing {
    ActixWs(actix_ws::Outgoing),
    Direct(direct::Outgoing),
}

/// The incoming half.
pub enum Incoming {
    ActixWs(actix_ws::Incoming),
    Direct(direct::Incoming),
}

impl Wire for Outgoing {
    fn poll_send(&self, cx: &mut Context<'_>, frame: &Frame) -> Poll<Result<(), WireClosed>> {
        match self {
            Self::ActixWs(wire) => wire.poll_send(cx, frame),
            Self::Direct(wire) => wire.poll_write(cx, frame.encoded()),
        }
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), WireClosed>> {
        match self {
            Self::ActixWs(_) => Poll::Ready(Ok(())),
            Self::Direct(wire) => wire.poll_flush(cx),
        }
    }

    fn poll_ping(&self, cx: &mut Context<'_>) -> Poll<Result<(), WireClosed>> {
        match self {
            Self::ActixWs(wire) => wire.poll_ping(cx),
            Self::Direct(wire) => wire.poll_ping(cx),
        }
    }
}

impl Outgoing {
    pub fn poll_pong(&self, cx: &mut Context<'_>, payload: &Bytes) -> Poll<Result<(), WireClosed>> {
        match self {
            Self::ActixWs(wire) => wire.poll_pong(cx, payload),
            Self::Direct(wire) => wire.poll_pong(cx, payload),
        }
    }

    /// Sends the close frame, and lets the client answer it. Neither a closed nor a stuck socket can be told anything
    /// more.
    pub async fn close(&self, reason: CloseReason, incoming: &mut Incoming) {
        match (self, incoming) {
            (Self::Direct(wire), Incoming::Direct(incoming)) => {
                let told = timeout(CLOSE_TIMEOUT, wire.close(reason)).await == Ok(Ok(()));
                // Who closed first has nothing more to say (RFC 6455, section 7.1.1: the server ends the connection).
                if told
                    && matches!(reason, CloseReason::Protocol | CloseReason::NotText | CloseReason::TooBig)
                {
                    // Its answer could not be told from what it did wrong, so it is not waited for (section 7.1.7).
                    wire.finish();
                }
                if told && reason != CloseReason::Client {
                    let _answered_or_late = timeout(LINGER, incoming.until_close()).await;
                }
            }
            // actix-http reads on by itself, for `client_disconnect_timeout`.
            (Self::ActixWs(wire), _) => {
                let _closed_or_stuck = timeout(CLOSE_TIMEOUT, wire.close(reason)).await;
            }
            (Self::Direct(_), Incoming::ActixWs(_)) => {}
        }
    }
}

impl Incoming {
    /// The next thing the client says; None when its connection ended. After an error the stream is of no use.
    pub async fn next(&mut self) -> Option<Result<Heard, CloseReason>> {
        match self {
            Self::ActixWs(stream) => stream.next().await,
            Self::Direct(stream) => stream.next().await,
        }
    }
}

fn close_frame(reason: CloseReason) -> ::actix_ws::CloseReason {
    let description = Some(reason.text().to_owned()).filter(|text| !text.is_empty());
    ::actix_ws::CloseReason { code: reason.code().into(), description }
}
