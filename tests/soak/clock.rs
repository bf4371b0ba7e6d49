//! Time since the start of the run, by which everything is noted down.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }

    pub async fn until(&self, time: Duration) {
        sleep_until(self.0 + time).await;
    }
}

/// Seconds with three digits, for reports.
pub fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}
