//! The one pending slot of a connection.
//!
//! Invariant: at most one frame waits, the newest. A socket that takes frames is written at once and its slot stays
//! empty; one that does not keeps the newest frame until its task can write it. So a stuck client costs one slot.
//! The outbox lives on its worker's thread: no locks.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::frame::Frame;
use crate::close::CloseReason;
use crate::room::Position;

/// How a frame gets onto a socket. The hub knows no more of a socket than this.
pub trait Wire {
    /// Hands the frame to the socket, or arranges for a wake-up when it may take one again.
    fn poll_send(&self, cx: &mut Context<'_>, frame: &Frame) -> Poll<Result<(), WireClosed>>;

    /// Ready when nothing is left of what was handed over.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), WireClosed>>;

    /// Hands a ping to the socket, as [`Wire::poll_send`] does a frame.
    fn poll_ping(&self, cx: &mut Context<'_>) -> Poll<Result<(), WireClosed>>;
}

/// The socket takes no more frames; its task is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireClosed;

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The socket took it.
    Sent,
    /// The socket is busy; the frame waits in the empty slot.
    Queued,
    /// The socket is busy; the frame took the place of an older one.
    Conflated,
    /// This connection was told of that position before.
    Known,
    /// The socket is gone.
    Closed,
}

/// Sized wires coerce to `Outbox<dyn Wire>`, so a shard holds connections of every wire.
///
/// In this order, what a delivery looks at stands together: of ten thousand outboxes none is in the cache.
#[repr(C)]
pub struct Outbox<W: Wire + ?Sized> {
    blocked_since: Cell<Option<Instant>>,
    /// The heartbeat's second in which a frame was heard last, and how many were in it.
    heard_at: Cell<u32>,
    heard: Cell<u32>,
    close: Cell<Option<CloseReason>>,
    wake: Notify,
    slot: RefCell<Option<Frame>>,
    /// The newest position pushed; keeps a replay or a reconcile from telling twice.
    told: Cell<Option<Position>>,
    wire: W,
}

impl<W: Wire> Outbox<W> {
    pub fn new(wire: W) -> Self {
        Self {
            blocked_since: Cell::new(None),
            heard_at: Cell::new(0),
            heard: Cell::new(0),
            close: Cell::new(None),
            wake: Notify::new(),
            slot: RefCell::new(None),
            told: Cell::new(None),
            wire,
        }
    }

    pub fn wire(&self) -> &W {
        &self.wire
    }
}

impl<W: Wire + ?Sized> Outbox<W> {
    /// Sends the frame now, or keeps it as the one that waits.
    ///
    /// Without a position it is always news, and what was told before counts no longer: such a refresh is pushed when
    /// the broker may have lost positions, and may give them out again.
    pub fn push(&self, position: Option<Position>, frame: &Frame) -> Pushed {
        if let (Some(told), Some(position)) = (self.told.get(), position)
            && told.covers(&position)
        {
            return Pushed::Known;
        }
        self.told.set(position);
        let mut slot = self.slot.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        if slot.is_none() {
            match self.wire.poll_send(&mut cx, frame) {
                Poll::Ready(Ok(())) => {
                    if self.wire.poll_flush(&mut cx).is_pending() {
                        self.block();
                    }
                    return Pushed::Sent;
                }
                Poll::Ready(Err(WireClosed)) => return Pushed::Closed,
                Poll::Pending => {}
            }
        }
        let replaced = slot.replace(frame.clone()).is_some();
        self.block();
        if replaced { Pushed::Conflated } else { Pushed::Queued }
    }

    /// Something waits to be written: the task polls the wire again with its own waker, as the one here was nobody's.
    fn block(&self) {
        if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(Instant::now()));
        }
        self.wake.notify_one();
    }

    /// Pings the client, if the socket takes it: one too busy for a ping has a client that reads nothing, and its
    /// silence will end it.
    pub fn ping(&self) {
        let _sent_or_busy = self.wire.poll_ping(&mut Context::from_waker(Waker::noop()));
    }

    /// The client sent a frame in that second of the heartbeat. Answers how many that makes in it.
    pub fn hear(&self, now: u32) -> u32 {
        let before = if self.heard_at.replace(now) == now { self.heard.get() } else { 0 };
        self.heard.set(before.saturating_add(1));
        self.heard.get()
    }

    /// The second in which the client was heard last; 0 if it never was.
    pub fn heard_at(&self) -> u32 {
        self.heard_at.get()
    }

    /// Asks the connection's task to close. The first reason given stands.
    pub fn ask_to_close(&self, reason: CloseReason) {
        if self.close.get().is_none() {
            self.close.set(Some(reason));
            self.wake.notify_one();
        }
    }

    /// The reason to close, once one was given.
    pub fn asked_to_close(&self) -> Option<CloseReason> {
        self.close.get()
    }

    /// Resolves after a push that has to wait and after a request to close.
    pub fn changed(&self) -> Notified<'_> {
        self.wake.notified()
    }

    /// Since when something could not be written.
    pub fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since.get()
    }

    /// Writes what waits. Ready with `true` if the waiting frame went out.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<bool, WireClosed>> {
        let mut slot = self.slot.borrow_mut();
        let mut sent = false;
        if let Some(frame) = slot.as_ref() {
            ready!(self.wire.poll_send(cx, frame))?;
            *slot = None;
            sent = true;
            // What is left of it is waited for in the next call, as this one has something to tell.
            if self.wire.poll_flush(cx).is_pending() {
                return Poll::Ready(Ok(sent));
            }
        } else {
            ready!(self.wire.poll_flush(cx))?;
        }
        self.blocked_since.set(None);
        Poll::Ready(Ok(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Epoch;

    #[derive(Default)]
    struct TestWire {
        busy: Cell<bool>,
        written: RefCell<Vec<Frame>>,
    }

    impl Wire for TestWire {
        fn poll_send(&self, _: &mut Context<'_>, frame: &Frame) -> Poll<Result<(), WireClosed>> {
            if self.busy.get() {
                return Poll::Pending;
            }
            self.written.borrow_mut().push(frame.clone());
            Poll::Ready(Ok(()))
        }

        fn poll_flush(&self, _: &mut Context<'_>) -> Poll<Result<(), WireClosed>> {
            Poll::Ready(Ok(()))
        }

        fn poll_ping(&self, _: &mut Context<'_>) -> Poll<Result<(), WireClosed>> {
            Poll::Ready(Ok(()))
        }
    }

    fn flush(outbox: &Outbox<TestWire>) -> Poll<Result<bool, WireClosed>> {
        outbox.poll_flush(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_busy_socket_keeps_one_frame_the_newest() {
        let frame = |revision: &str| Frame::refresh(crate::room::Revision::parse(revision).ok().as_ref());
        let epoch = Epoch::random();
        let at = |generation| Some(Position { epoch, generation });
        let outbox = Outbox::new(TestWire::default());
        assert_eq!(outbox.push(at(1), &frame("1")), Pushed::Sent);
        assert_eq!(outbox.push(at(1), &frame("1")), Pushed::Known);
        outbox.wire().busy.set(true);
        assert_eq!(outbox.push(at(2), &frame("2")), Pushed::Queued);
        assert_eq!(outbox.push(at(3), &frame("3")), Pushed::Conflated);
        assert!(outbox.blocked_since().is_some());
        assert!(flush(&outbox).is_pending());
        outbox.wire().busy.set(false);
        assert_eq!(flush(&outbox), Poll::Ready(Ok(true)));
        assert_eq!(flush(&outbox), Poll::Ready(Ok(false)));
        assert!(outbox.blocked_since().is_none());
        assert_eq!(*outbox.wire().written.borrow(), [frame("1"), frame("3")]);
    }

    #[test]
    fn the_first_reason_to_close_stands() {
        let outbox = Outbox::new(TestWire::default());
        outbox.ask_to_close(CloseReason::Drain);
        outbox.ask_to_close(CloseReason::Slow);
        assert_eq!(outbox.asked_to_close(), Some(CloseReason::Drain));
    }
}
