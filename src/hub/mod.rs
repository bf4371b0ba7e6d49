//! Who is connected here: the hub hands each publication once to every worker's shard, a shard to each outbox of the
//! room.
//!
//! It knows neither Redis nor HTTP; a socket is to it whatever implements [`Wire`].

mod delivery;
mod frame;
mod heartbeat;
mod mailbox;
mod outbox;
mod shard;

use std::cell::RefCell;
use std::rc::{self, Rc};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

pub use self::delivery::Delivery;
pub use self::frame::{Frame, Refresh};
pub use self::heartbeat::HeartbeatSettings;
use self::mailbox::{Mail, Mailbox};
pub use self::outbox::{Outbox, Pushed, Wire, WireClosed};
pub use self::shard::{Seat, Shard};
use crate::close::CloseReason;
use crate::metrics::Metrics;

pub struct Hub {
    /// Each is owned by its shard and gone with it.
    mailboxes: Mutex<Vec<Weak<Mailbox>>>,
    heartbeat: HeartbeatSettings,
    metrics: Arc<Metrics>,
}

thread_local! {
    /// The shards of this thread, one per hub: actix-web calls the application factory several times per worker, and
    /// several hubs can share a process.
    static SHARDS: RefCell<Vec<(Arc<Hub>, rc::Weak<Shard>)>> = const { RefCell::new(Vec::new()) };
}

impl Hub {
    pub fn new(heartbeat: HeartbeatSettings, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { mailboxes: Mutex::default(), heartbeat, metrics })
    }

    /// The shard of the calling worker thread, started on first use. Needs a `LocalSet` around.
    pub fn shard(self: &Arc<Self>) -> Rc<Shard> {
        SHARDS.with_borrow_mut(|shards| {
            shards.retain(|(_, shard)| shard.strong_count() > 0);
            let mine = shards.iter().find(|(hub, _)| Arc::ptr_eq(hub, self));
            if let Some(shard) = mine.and_then(|(_, shard)| shard.upgrade()) {
                return shard;
            }
            let mailbox = Arc::new(Mailbox::default());
            self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&mailbox));
            let shard = Shard::start(mailbox, self.heartbeat, Arc::clone(&self.metrics));
            shards.push((Arc::clone(self), Rc::downgrade(&shard)));
            shard
        })
    }

    /// Hands the publication to every socket of its room. The delivery reports when all workers are through.
    pub fn broadcast(&self, delivery: Delivery) {
        self.put_all(&Mail::Deliver(Arc::new(delivery)));
    }

    /// Tells every connection to fetch again, evenly over `spread`.
    pub fn refresh_all(&self, spread: Duration) {
        self.put_all(&Mail::RefreshAll { spread });
    }

    /// Closes every connection, evenly over `spread`, and from now on every new one at once.
    pub fn close_all(&self, spread: Duration, reason: CloseReason) {
        self.put_all(&Mail::CloseAll { spread, reason });
    }

    fn put_all(&self, mail: &Mail) {
        for mailbox in self.live_mailboxes() {
            mailbox.put(mail.clone());
        }
    }

    /// Collected before use: the last one to drop a mailbox reports its deliveries, which may come back here.
    fn live_mailboxes(&self) -> Vec<Arc<Mailbox>> {
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|mailbox| mailbox.strong_count() > 0);
        mailboxes.iter().filter_map(Weak::upgrade).collect()
    }
}
