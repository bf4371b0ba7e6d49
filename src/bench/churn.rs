//! Sockets that come and go beside those that are measured.

use std::collections::VecDeque;
use std::time::Duration;

use super::clock::Moment;
use super::protocol::{Churned, Churning};

pub struct Churn {
    wanted: Churning,
    start: Moment,
    begun: u64,
    /// When to close which slot: all live equally long, so the oldest is the first.
    leaving: VecDeque<(Moment, usize)>,
    free: Vec<usize>,
    /// The first slot that nobody used.
    next: usize,
    pub done: Churned,
}

impl Churn {
    pub fn new(wanted: Churning, first_slot: usize) -> Self {
        Self {
            wanted,
            start: Moment::now(),
            begun: 0,
            leaving: VecDeque::new(),
            free: Vec::new(),
            next: first_slot,
            done: Churned { opened: 0, failed: 0, first_failure: None },
        }
    }

    /// A slot whose time is over.
    pub fn leaving(&mut self) -> Option<usize> {
        let (due, slot) = *self.leaving.front()?;
        if !due.is_over() {
            return None;
        }
        self.leaving.pop_front();
        self.free.push(slot);
        Some(slot)
    }

    /// A slot to open, and the number of its socket.
    pub fn arriving(&mut self) -> Option<(usize, usize)> {
        let due = self.start.plus(Duration::from_secs_f64(self.begun as f64 / self.wanted.rate));
        if !due.is_over() {
            return None;
        }
        self.begun += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.leaving.push_back((Moment::now().plus(self.wanted.lifetime), slot));
        Some((slot, usize::try_from(self.begun).unwrap_or(0)))
    }

    pub fn on_ready(&mut self) {
        self.done.opened += 1;
    }

    pub fn on_failure(&mut self, reason: String) {
        self.done.failed += 1;
        self.done.first_failure.get_or_insert(reason);
    }
}
