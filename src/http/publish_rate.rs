//! How often one key may publish, on this node.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::room::Publisher;

/// So many publish requests per second and key. There are only as many counters as keys.
pub struct PublishRate(Option<DefaultKeyedRateLimiter<Publisher>>);

impl PublishRate {
    /// 0 = no limit.
    pub fn new(per_second: u32) -> Self {
        Self(NonZeroU32::new(per_second).map(|rate| RateLimiter::keyed(Quota::per_second(rate))))
    }

    /// Counts a request with that key.
    pub fn allows(&self, key: &Publisher) -> bool {
        self.0.as_ref().is_none_or(|limiter| limiter.check_key(key).is_ok())
    }
}
