//! One task per connection: it hears the client, and writes what the outbox could not send at once. The heartbeat is
//! the hub's. It never waits for a write while it should be reading.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::task::coop::consume_budget;

use super::admission::Permit;
use super::wire::{Heard, Incoming, Outgoing};
use crate::close::CloseReason;
use crate::hub::{Outbox, WireClosed};
use crate::metrics::{Metrics, Outcome};
use crate::node::Membership;

pub struct Connection {
    pub outbox: Rc<Outbox<Outgoing>>,
    pub incoming: Incoming,
    pub membership: Membership,
    pub permit: Permit,
    /// Frames that the client may send per second; 0 = no limit.
    pub frame_limit: u32,
    pub metrics: Arc<Metrics>,
}

/// How a connection came to its end.
enum End {
    /// There is someone to say goodbye to.
    Close(CloseReason),
    /// The client's TCP connection is gone.
    Gone,
}

impl Connection {
    /// Serves the client until one of the two closes, in a task of its own on this worker.
    pub fn spawn(mut self) {
        // As a block, and not an async function, which would hold `self` twice.
        actix_web::rt::spawn(async move {
            // A panic in here ends this connection, and no other.
            let served = AssertUnwindSafe(self.serve()).catch_unwind().await;
            let end = served.unwrap_or(End::Close(CloseReason::Error));
            // Out of the room first: nothing is pushed after the close frame.
            drop(self.membership);
            match end {
                End::Close(reason) => {
                    self.metrics.closed(reason);
                    // Boxed, as it needs more room than all that comes before it.
                    Box::pin(self.outbox.wire().close(reason, &mut self.incoming)).await;
                }
                End::Gone => self.metrics.closed(CloseReason::Client),
            }
            drop(self.permit);
        });
    }

    async fn serve(&mut self) -> End {
        let outbox = Rc::clone(&self.outbox);
        // The answer to the handshake, on the direct wire.
        if poll_fn(|cx| outbox.poll_flush(cx)).await == Err(WireClosed) {
            return End::Gone;
        }
        // A pong that a busy session did not take at once. Of several pings only the newest needs an answer (RFC
        // 6455, section 5.5.3), so one place is enough.
        let mut pong: Option<Bytes> = None;
        loop {
            if let Some(reason) = outbox.asked_to_close() {
                return End::Close(reason);
            }
            let written = tokio::select! {
                heard = self.incoming.next() => {
                    if matches!(heard, Some(Ok(_))) && !self.may_go_on(outbox.hear(self.membership.now())) {
                        return End::Close(CloseReason::Rate);
                    }
                    match heard {
                        None => return End::Gone,
                        Some(Err(reason)) => return End::Close(reason),
                        Some(Ok(Heard::Close)) => return End::Close(CloseReason::Client),
                        Some(Ok(Heard::Ping(payload))) => {
                            let sent = outbox.wire().poll_pong(&mut now_or_never(), &payload);
                            pong = sent.is_pending().then_some(payload);
                        }
                        Some(Ok(Heard::Pong | Heard::Data)) => {}
                    }
                    // Of frames that are there already none waits for anything: a flood would have the worker for itself.
                    consume_budget().await;
                    Ok(())
                }
                () = outbox.changed() => Ok(()),
                flushed = poll_fn(|cx| outbox.poll_flush(cx)), if outbox.blocked_since().is_some() => {
                    self.metrics.delivered(Outcome::Sent, u64::from(flushed == Ok(true)));
                    flushed.map(drop)
                }
                sent = poll_fn(|cx| poll_pong(&outbox, cx, pong.as_ref())), if pong.is_some() => {
                    pong = None;
                    sent
                }
            };
            if written == Err(WireClosed) {
                return End::Gone;
            }
        }
    }

    /// Whether a client may send so many frames in a second.
    fn may_go_on(&self, frames: u32) -> bool {
        self.frame_limit == 0 || frames <= self.frame_limit
    }
}

fn poll_pong(
    outbox: &Outbox<Outgoing>,
    cx: &mut Context<'_>,
    payload: Option<&Bytes>,
) -> Poll<Result<(), WireClosed>> {
    payload.map_or(Poll::Ready(Ok(())), |payload| outbox.wire().poll_pong(cx, payload))
}

/// To try once, without a wake-up later.
fn now_or_never() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
