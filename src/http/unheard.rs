//! Counts what ends before it is a request: such things come from anyone on the Internet, so they are not logged.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::error::{DispatchError, ParseError};

use crate::metrics::{BadRequest, Metrics};

/// By so much can actix-http's clock be behind, and its timeout be early.
const CLOCK_LAG: Duration = Duration::from_millis(500);

/// Goes with a connection, and notes when it ends without a request although it had the time for one.
pub struct Unheard {
    since: Instant,
    head_timeout: Duration,
    heard: Cell<bool>,
    metrics: Arc<Metrics>,
}

impl Unheard {
    pub fn new(head_timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self { since: Instant::now(), head_timeout, heard: Cell::new(false), metrics }
    }

    /// A request's head has come.
    pub(super) fn heard(&self) {
        self.heard.set(true);
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if !self.heard.get() && self.since.elapsed() + CLOCK_LAG >= self.head_timeout {
            self.metrics.bad_request(BadRequest::HeadTimeout);
        }
    }
}

/// Counts how a connection ended, if it is a client's fault.
pub fn count(error: &DispatchError, metrics: &Metrics) {
    match error {
        DispatchError::Parse(ParseError::TooLarge) => metrics.bad_request(BadRequest::HeadTooLarge),
        DispatchError::Parse(_) => metrics.bad_request(BadRequest::Malformed),
        _ => {}
    }
}
