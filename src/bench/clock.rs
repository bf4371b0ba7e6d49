//! One clock for all processes of a run: the machine's monotonic one, which processes share, in nanoseconds.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

const NANOSECONDS: u64 = 1_000_000_000;

/// A moment that means the same in every process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment(u64);

impl Moment {
    pub fn now() -> Self {
        // The monotonic clock cannot be missing on a system that runs epoll; zero would show at once.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        Self(nanoseconds(now))
    }

    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }

    /// Zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub fn is_over(self) -> bool {
        Self::now() >= self
    }

    pub fn left(self) -> Duration {
        self.since(Self::now())
    }
}

pub fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(NANOSECONDS).saturating_add(u64::from(duration.subsec_nanos()))
}

/// Sleeps until then, as exactly as the kernel wakes a thread whose timer slack was taken away.
#[expect(clippy::disallowed_methods, reason = "the bench's threads serve nobody while they wait")]
pub fn sleep_until(moment: Moment) {
    let left = moment.left();
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

pub fn sleep(duration: Duration) {
    sleep_until(Moment::now().plus(duration));
}

/// Has the kernel wake this thread at the time that was asked for, not within 50 microseconds of it.
pub fn be_punctual() {
    // Where it is refused, starts are some microseconds late, and latencies count from the intended start all the same.
    let _ = nix::sys::prctl::set_timerslack(1);
}
