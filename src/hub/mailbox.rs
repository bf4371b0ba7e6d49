//! What the node's thread puts before a worker.
//!
//! Its lock is taken once per publication and worker, never per socket. Bounded by its use: the node has at most one
//! delivery per room on its way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::delivery::Delivery;
use crate::close::CloseReason;

/// An order to a worker.
#[derive(Clone)]
pub enum Mail {
    /// Hand a publication to the sockets of its room.
    Deliver(Arc<Delivery>),
    /// Refresh every socket, spread over a time.
    RefreshAll { spread: Duration },
    /// Close every socket, those still to come too, spread over a time.
    CloseAll { spread: Duration, reason: CloseReason },
}

#[derive(Default)]
pub struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    arrived: Notify,
}

impl Mailbox {
    pub fn put(&self, mail: Mail) {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
        self.arrived.notify_one();
    }

    /// Everything put since the last call, in order; waits until there is something.
    pub async fn take(&self) -> Vec<Mail> {
        loop {
            let mail = std::mem::take(&mut *self.mail.lock().unwrap_or_else(PoisonError::into_inner));
            if !mail.is_empty() {
                return mail;
            }
            self.arrived.notified().await;
        }
    }
}
