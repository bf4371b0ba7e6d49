//! The connections of one worker, by room. Lives on that worker's thread and is touched by no other: no locks.
//!
//! Delivering is a plain loop over the room's outboxes; it awaits nothing, so no socket holds up another.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use slab::Slab;
use tokio::task::{spawn_local, unconstrained, yield_now};

use super::delivery::Delivery;
use super::frame::{Frame, Refresh};
use super::heartbeat::{Heartbeat, HeartbeatSettings};
use super::mailbox::{Mail, Mailbox};
use super::outbox::{Outbox, Pushed, Wire};
use crate::close::CloseReason;
use crate::metrics::{Metrics, Outcome};
use crate::room::RoomId;

/// An outbox as the shard sees it: whatever wire stands behind.
type AnyOutbox = Rc<Outbox<dyn Wire>>;

/// Slices a spread action is cut into are this far apart.
const SPREAD_STEP: Duration = Duration::from_millis(100);

/// Sockets written in one go, about a millisecond's work: then the worker looks after its other tasks, so that a
/// publish need not wait for the broadcast of another one to end.
const SLICE: usize = 256;

pub struct Shard {
    rooms: RefCell<HashMap<RoomId, Slab<AnyOutbox>>>,
    /// Set once all are asked to close: who joins now is asked at once.
    closing: Cell<Option<CloseReason>>,
    heartbeat: Heartbeat,
    mailbox: Arc<Mailbox>,
    metrics: Arc<Metrics>,
}

/// A connection's place in its room on a shard.
#[derive(Debug)]
pub struct Seat {
    room: RoomId,
    key: usize,
    heartbeat_key: usize,
}

impl Shard {
    pub(super) fn start(
        mailbox: Arc<Mailbox>,
        heartbeat: HeartbeatSettings,
        metrics: Arc<Metrics>,
    ) -> Rc<Self> {
        let shard = Rc::new(Self {
            rooms: RefCell::default(),
            closing: Cell::new(None),
            heartbeat: Heartbeat::new(heartbeat),
            mailbox,
            metrics,
        });
        // Tokio's cooperative budget would answer Pending to all sends after the first 128 of a loop.
        let running = spawn_local(unconstrained(Rc::clone(&shard).run()));
        spawn_local(async move {
            if running.await.is_err_and(|error| error.is_panic()) {
                // Without its shard a worker would keep sockets that nobody tells anything. Better none.
                tracing::error!("a worker's shard panicked, the process ends");
                std::process::abort();
            }
        });
        shard
    }

    /// The second of the heartbeat that it is.
    pub fn now(&self) -> u32 {
        self.heartbeat.now()
    }

    pub fn join(&self, room: &RoomId, outbox: AnyOutbox, expires_at: Option<Instant>) -> Seat {
        if let Some(reason) = self.closing.get() {
            outbox.ask_to_close(reason);
        }
        let heartbeat_key = self.heartbeat.add(Rc::clone(&outbox), expires_at);
        let mut rooms = self.rooms.borrow_mut();
        let key = match rooms.get_mut(room) {
            Some(members) => members.insert(outbox),
            None => rooms.entry(room.clone()).or_default().insert(outbox),
        };
        Seat { room: room.clone(), key, heartbeat_key }
    }

    pub fn leave(&self, seat: &Seat) {
        self.heartbeat.remove(seat.heartbeat_key);
        let mut rooms = self.rooms.borrow_mut();
        if let Some(members) = rooms.get_mut(&seat.room) {
            members.try_remove(seat.key);
            if members.is_empty() {
                rooms.remove(&seat.room);
            }
        }
    }

    async fn run(self: Rc<Self>) {
        tokio::join!(self.run_mail(), self.heartbeat.run());
    }

    async fn run_mail(self: &Rc<Self>) {
        loop {
            for mail in self.mailbox.take().await {
                match mail {
                    Mail::Deliver(delivery) => {
                        self.deliver(&delivery).await;
                        drop(delivery);
                    }
                    Mail::RefreshAll { spread } => {
                        let metrics = Arc::clone(&self.metrics);
                        let frame = Frame::refresh(None);
                        self.for_each_spread(spread, move |outbox| {
                            count(&metrics, Outcome::Sent, [outbox.push(None, &frame)]);
                        });
                    }
                    Mail::CloseAll { spread, reason } => {
                        self.closing.set(Some(reason));
                        self.for_each_spread(spread, move |outbox| outbox.ask_to_close(reason));
                    }
                }
            }
        }
    }

    /// Pushes slice by slice. Who joins or leaves meanwhile is told by the room's head, or needs to be told nothing.
    async fn deliver(&self, delivery: &Delivery) {
        let mut slices = (0_usize..).step_by(SLICE);
        while slices.next().is_some_and(|first| self.deliver_slice(delivery, first)) {
            // The wires' own tasks, woken by the loop, write before this one goes on: a confirmation says what was
            // done, not what will be.
            yield_now().await;
        }
    }

    /// Pushes to the places of one slice. False if there are none.
    fn deliver_slice(&self, delivery: &Delivery, first: usize) -> bool {
        let rooms = self.rooms.borrow();
        let Refresh { publication, frame } = &*delivery.refresh;
        let Some(members) = rooms.get(&publication.room).filter(|members| first < members.capacity()) else {
            return false;
        };
        let outboxes = (first..members.capacity().min(first + SLICE)).filter_map(|key| members.get(key));
        let pushes = outboxes.map(|outbox| outbox.push(Some(publication.position), frame));
        delivery.add_connections(count(&self.metrics, delivery.outcome, pushes));
        true
    }

    /// Acts on every connection of now, in random order, in even slices over `window`.
    fn for_each_spread(&self, window: Duration, act: impl Fn(&Outbox<dyn Wire>) + 'static) {
        // Weak, as who leaves in between must not be kept: an outbox holds its socket.
        let mut outboxes: Vec<Weak<Outbox<dyn Wire>>> = self
            .rooms
            .borrow()
            .values()
            .flat_map(|members| members.iter().map(|(_, outbox)| Rc::downgrade(outbox)))
            .collect();
        outboxes.shuffle(&mut rand::rng());
        let slices = usize::try_from(window.as_millis() / SPREAD_STEP.as_millis()).unwrap_or(1).max(1);
        let pause = window.div_f64(f64::from(u32::try_from(slices).unwrap_or(u32::MAX)));
        spawn_local(unconstrained(async move {
            let mut done = 0;
            for slice in 1..=slices {
                // A random moment within the slice's time, so that workers and nodes do not act in step.
                let before = pause.mul_f64(rand::random_range(0.0..=1.0));
                tokio::time::sleep(before).await;
                let upto = outboxes.len() * slice / slices;
                for outbox in outboxes[done..upto].iter().filter_map(Weak::upgrade) {
                    act(&outbox);
                }
                done = upto;
                tokio::time::sleep(pause.saturating_sub(before)).await;
            }
        }));
    }
}

/// Counts what became of the pushes; answers how many connections have been handed the publication.
fn count(metrics: &Metrics, outcome: Outcome, pushes: impl IntoIterator<Item = Pushed>) -> usize {
    let (mut reached, mut sent, mut conflated) = (0, 0, 0);
    for pushed in pushes {
        match pushed {
            Pushed::Sent => sent += 1,
            Pushed::Conflated => conflated += 1,
            Pushed::Queued | Pushed::Known => {}
            Pushed::Closed => continue,
        }
        reached += 1;
    }
    metrics.delivered(outcome, sent);
    metrics.delivered(Outcome::Conflated, conflated);
    reached
}
