//! What was published and what was answered, and when nothing could have been.

use super::clock::Clock;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// One publish, with all its repetitions. Its revision is its number.
#[derive(Debug, Clone)]
pub struct Publication {
    pub number: usize,
    pub room: usize,
    /// The node that answered last.
    pub node: usize,
    /// When the first request was about to be sent.
    pub began: Duration,
    /// When the last request was about to be sent.
    pub asked: Duration,
    /// When it was answered for the last time, whatever the answer was.
    pub answered: Option<Duration>,
    pub status: u16,
    pub requests: usize,
    pub answer: String,
    /// On `/v1` only.
    pub position: Option<(String, u64)>,
    pub connections: u64,
}

impl Publication {
    /// When it was answered 2xx.
    pub fn acknowledged(&self) -> Option<Duration> {
        self.answered.filter(|_| (200..300).contains(&self.status))
    }
}

/// A time in which that node, or every one, cannot have had an answer from Redis.
#[derive(Debug, Clone)]
struct Dark {
    node: Option<usize>,
    from: Duration,
    to: Option<Duration>,
}

#[derive(Default)]
pub struct Ledger {
    publications: Mutex<Vec<Publication>>,
    dark: Mutex<Vec<Dark>>,
    /// Node, and from when to when it was frozen.
    frozen: Mutex<Vec<(usize, Duration, Duration)>>,
}

impl Ledger {
    pub fn publications(&self) -> MutexGuard<'_, Vec<Publication>> {
        self.publications.lock().expect("not poisoned")
    }

    /// Enters a publish that is about to be asked for; answers its number.
    pub fn open(&self, room: usize, node: usize, now: Duration) -> usize {
        let mut publications = self.publications();
        let number = publications.len();
        publications.push(Publication {
            number,
            room,
            node,
            began: now,
            asked: now,
            answered: None,
            status: 0,
            requests: 0,
            answer: String::new(),
            position: None,
            connections: 0,
        });
        number
    }

    pub fn dark(&self, node: Option<usize>, clock: &Clock) -> usize {
        let mut dark = self.dark.lock().expect("not poisoned");
        dark.push(Dark { node, from: clock.now(), to: None });
        dark.len() - 1
    }

    pub fn light(&self, number: usize, clock: &Clock) {
        self.dark.lock().expect("not poisoned")[number].to = Some(clock.now());
    }

    /// Whether that node was cut off from Redis for all of that time.
    pub fn was_dark(&self, node: usize, from: Duration, to: Duration) -> bool {
        let dark = self.dark.lock().expect("not poisoned");
        dark.iter().any(|dark| {
            dark.node.is_none_or(|dark| dark == node)
                && dark.from <= from
                && dark.to.is_none_or(|end| to <= end)
        })
    }

    pub fn frozen(&self, node: usize, from: Duration, to: Duration) {
        self.frozen.lock().expect("not poisoned").push((node, from, to));
    }

    /// Until when the node may have taken a socket for open that ended at `ended`: a frozen one notices when it thaws.
    pub fn noticed(&self, node: usize, ended: Duration) -> Duration {
        let frozen = self.frozen.lock().expect("not poisoned");
        let thawed =
            frozen.iter().filter(|(frozen, from, to)| *frozen == node && *from <= ended && ended <= *to);
        thawed.map(|(_, _, to)| *to).max().unwrap_or(ended)
    }
}
