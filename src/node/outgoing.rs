//! Confirmations on their way to other nodes.
//!
//! Only the newest per node and room is kept: it covers the older ones. So a slow Redis makes them fewer, not many.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tracing::debug;

use crate::broker::{About, Broker, Confirmation, NodeId};
use crate::room::RoomId;

/// Confirmations of positions replace each other; each count asked for is answered for itself.
type Key = (NodeId, RoomId, Option<u64>);

#[derive(Default)]
pub struct Outgoing {
    pending: Mutex<HashMap<Key, Confirmation>>,
    arrived: Notify,
}

impl Outgoing {
    pub fn put(&self, to: NodeId, confirmation: Confirmation) {
        let number = match confirmation.about {
            About::Position(_) => None,
            About::Count(number) => Some(number),
        };
        let key = (to, confirmation.room.clone(), number);
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(key, confirmation);
        self.arrived.notify_one();
    }

    /// Sends what is pending, all at once, whenever there is something.
    pub async fn run(&self, broker: &dyn Broker) {
        loop {
            self.arrived.notified().await;
            let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
            if pending.is_empty() {
                continue;
            }
            let batch = pending.into_iter().map(|((to, _, _), confirmation)| (to, confirmation)).collect();
            if let Err(error) = broker.confirm(batch).await {
                // The publishers count and report what they miss.
                debug!(%error, "confirmations not sent");
            }
        }
    }
}
