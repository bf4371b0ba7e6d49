//! Deliveries, counted: by one process, or by all together.

use serde::{Deserialize, Serialize};

use super::clock::Moment;

/// What came of the publishes of one schedule.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    pub deliveries: u64,
    pub sockets: usize,
    /// Sockets that have all they should have.
    pub complete: usize,
    pub first: Option<Moment>,
    pub last: Option<Moment>,
    /// When the last socket had the last publish.
    pub completed: Option<Moment>,
}

impl Counted {
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.deliveries += part.deliveries;
            all.sockets += part.sockets;
            all.complete += part.complete;
            all.first = [all.first, part.first].into_iter().flatten().min();
            all.last = all.last.max(part.last);
            all.completed = all.completed.max(part.completed);
        }
        all
    }
}
