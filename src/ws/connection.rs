//! One task per connection: it hears the client, keeps the heartbeat, and writes what the outbox could not send at
//! once. It never waits for a write while it should be reading.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};

use super::admission::Permit;
use super::wire::{Heard, Incoming, Outgoing};
use crate::close::CloseReason;
use crate::config::WebsocketSettings;
use crate::hub::{Outbox, WireClosed};
use crate::metrics::{Metrics, Outcome};
use crate::node::Membership;

pub struct Connection {
    pub outbox: Rc<Outbox<Outgoing>>,
    pub incoming: Incoming,
    pub membership: Membership,
    pub permit: Permit,
    /// When the client's leave to listen ends.
    pub expires_at: Option<Instant>,
    pub settings: Arc<WebsocketSettings>,
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
    /// Serves the client until one of the two closes.
    pub async fn run(mut self) {
        // A panic in here ends this connection, and no other.
        let served = AssertUnwindSafe(self.serve()).catch_unwind().await;
        let end = served.unwrap_or(End::Close(CloseReason::Error));
        // Out of the room first: nothing is pushed after the close frame.
        drop(self.membership);
        match end {
            End::Close(reason) => {
                self.metrics.closed(reason);
                self.outbox.wire().close(reason, &mut self.incoming).await;
            }
            End::Gone => self.metrics.closed(CloseReason::Client),
        }
        drop(self.permit);
    }

    async fn serve(&mut self) -> End {
        let outbox = Rc::clone(&self.outbox);
        // The answer to the handshake, on the direct wire.
        if poll_fn(|cx| outbox.poll_flush(cx)).await == Err(WireClosed) {
            return End::Gone;
        }
        let mut heartbeat = Heartbeat::start(&self.settings, self.expires_at);
        let mut frames = FrameRate::start(self.settings.max_frames_per_second);
        // A pong that a busy session did not take at once. Of several pings only the newest needs an answer (RFC
        // 6455, section 5.5.3), so one place is enough.
        let mut pong: Option<Bytes> = None;
        loop {
            if let Some(reason) = outbox.asked_to_close() {
                return End::Close(reason);
            }
            let written = tokio::select! {
                heard = self.incoming.next() => {
                    let now = Instant::now();
                    heartbeat.heard(now);
                    if matches!(heard, Some(Ok(_))) && !frames.allow_one(now) {
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
                () = sleep_until(heartbeat.due) => match heartbeat.beat(&outbox, &self.settings) {
                    Ok(()) => Ok(()),
                    Err(reason) => return End::Close(reason),
                },
            };
            if written == Err(WireClosed) {
                return End::Gone;
            }
        }
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

/// When to ping, and when to end it.
struct Heartbeat {
    expires_at: Option<Instant>,
    heard_at: Instant,
    next_ping: Instant,
    /// The next moment at which something may have to be done.
    due: Instant,
}

impl Heartbeat {
    fn start(settings: &WebsocketSettings, expires_at: Option<Instant>) -> Self {
        let now = Instant::now();
        // The first ping comes early, by chance: clients that connected together are not pinged together.
        let next_ping = now + settings.ping_interval.mul_f64(rand::random_range(0.5..=1.0));
        let due = expires_at.map_or(next_ping, |expires_at| expires_at.min(next_ping));
        Self { expires_at, heard_at: now, next_ping, due }
    }

    fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// Pings if it is time; an error says why to close.
    fn beat(&mut self, outbox: &Outbox<Outgoing>, settings: &WebsocketSettings) -> Result<(), CloseReason> {
        let now = Instant::now();
        if self.expires_at.is_some_and(|expires_at| now >= expires_at) {
            return Err(CloseReason::Expired);
        }
        let limit = settings.silence_limit();
        if now >= self.heard_at + limit {
            return Err(CloseReason::PingTimeout);
        }
        let blocked_until = outbox.blocked_since().map(|since| Instant::from_std(since) + limit);
        if blocked_until.is_some_and(|until| now >= until) {
            return Err(CloseReason::Slow);
        }
        if now >= self.next_ping {
            // A session too busy for a ping has a client that reads nothing; its silence will end it.
            let _sent_or_busy = outbox.wire().poll_ping(&mut now_or_never());
            self.next_ping = now + settings.ping_interval;
        }
        self.due = self.next_ping.min(self.heard_at + limit);
        for earlier in [blocked_until, self.expires_at].into_iter().flatten() {
            self.due = self.due.min(earlier);
        }
        Ok(())
    }
}

/// Counts a client's frames, second by second from the first on. Across the end of a second, twice the limit can pass.
struct FrameRate {
    /// 0 = no limit.
    limit: u32,
    second: Instant,
    count: u32,
}

impl FrameRate {
    fn start(limit: u32) -> Self {
        Self { limit, second: Instant::now(), count: 0 }
    }

    /// Whether one more is within the limit.
    fn allow_one(&mut self, now: Instant) -> bool {
        if self.limit == 0 {
            return true;
        }
        if now >= self.second + Duration::from_secs(1) {
            (self.second, self.count) = (now, 0);
        }
        self.count += 1;
        self.count <= self.limit
    }
}
