//! What is counted of Redis.

use std::time::{Duration, UNIX_EPOCH};

use prometheus::{Gauge, Histogram, IntCounterVec, IntGauge, IntGaugeVec};

use super::labels::Loss;
use super::maker::Maker;
use crate::config::RedisMode;

/// What is counted of the link to Redis.
pub struct RedisMetrics {
    pub link_up: IntGauge,
    probe: Histogram,
    last_probe: Gauge,
    mode: IntGaugeVec,
    reconnects: IntCounterVec,
}

impl RedisMetrics {
    pub(super) fn new(make: &Maker) -> prometheus::Result<Self> {
        let modes = RedisMode::ALL.map(RedisMode::label);
        Ok(Self {
            link_up: make.gauge(
                "relay_redis_link_up",
                "1 while the link to Redis is proven; 0 on the memory broker, which has none.",
            )?,
            probe: make.histogram("relay_redis_probe_seconds", "Round trip of a probe through Redis.")?,
            last_probe: make.register(Gauge::new(
                "relay_redis_last_probe_timestamp_seconds",
                "When a probe last came back, seconds since 1970; 0 = never.",
            )?)?,
            mode: make.gauges(
                "relay_redis_mode",
                "1 for the way Redis is run; all 0 on the memory broker.",
                ("mode", &modes),
            )?,
            reconnects: make.children(
                "relay_redis_reconnects_total",
                "Times the link to Redis was lost and built again, by cause.",
                &[("cause", Loss::LABELS)],
            )?,
        })
    }

    /// A probe came back just now.
    pub fn probed(&self, round_trip: Duration) {
        self.probe.observe(round_trip.as_secs_f64());
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        self.last_probe.set(now.as_secs_f64());
    }

    pub fn set_mode(&self, mode: RedisMode) {
        self.mode.with_label_values(&[mode.label()]).set(1);
    }

    pub fn lost(&self, cause: Loss) {
        self.reconnects.with_label_values(&[cause.label()]).inc();
    }
}
