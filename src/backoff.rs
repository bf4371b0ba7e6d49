//! Jittered delays, so that nodes and clients do not act in the same instant.

use std::time::Duration;

/// Delays that double from `first` up to `most`, each drawn from the upper half of its step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The delay before the next attempt. There is no last one.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.most);
        step.mul_f64(rand::random_range(0.5..=1.0))
    }

    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// `period` give or take a fifth, for timers that must not beat in step across nodes.
pub fn jittered(period: Duration) -> Duration {
    period.mul_f64(rand::random_range(0.8..=1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_most_and_start_again_after_a_reset() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, most);
        for _ in 0..50 {
            assert!(backoff.next_delay() <= most);
        }
        assert!(backoff.next_delay() >= most / 2);
        backoff.reset();
        assert!(backoff.next_delay() <= first);
    }
}
