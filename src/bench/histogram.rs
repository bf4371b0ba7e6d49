//! Latencies: recorded in each process, carried as `HdrHistogram`'s V2 form in base64, merged and never averaged.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

use super::clock::nanoseconds;

/// Two minutes: beyond every deadline here.
const HIGHEST: u64 = 120_000_000_000;
/// One part in a thousand.
const SIGNIFICANT_DIGITS: u8 = 3;

/// A histogram of durations in nanoseconds.
pub struct Latencies(Histogram<u64>);

/// The same as text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Packed(String);

#[derive(Debug, thiserror::Error)]
#[error("a histogram could not be {step}: {reason}")]
pub struct HistogramError {
    step: &'static str,
    reason: String,
}

impl HistogramError {
    fn new(step: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { step, reason: reason.to_string() }
    }
}

impl Latencies {
    pub fn new() -> Result<Self, HistogramError> {
        Histogram::new_with_bounds(1, HIGHEST, SIGNIFICANT_DIGITS)
            .map(Self)
            .map_err(|error| HistogramError::new("made", error))
    }

    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(nanoseconds(latency).max(1));
    }

    pub fn clear(&mut self) {
        self.0.reset();
    }

    pub fn pack(&self) -> Result<Packed, HistogramError> {
        if self.0.is_empty() {
            return Ok(Packed::default());
        }
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&self.0, &mut bytes)
            .map_err(|error| HistogramError::new("written", error))?;
        Ok(Packed(STANDARD.encode(bytes)))
    }

    pub fn add(&mut self, packed: &Packed) -> Result<(), HistogramError> {
        if packed.0.is_empty() {
            return Ok(());
        }
        let bytes = STANDARD.decode(&packed.0).map_err(|error| HistogramError::new("decoded", error))?;
        let other: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| HistogramError::new("read", error))?;
        self.0.add(&other).map_err(|error| HistogramError::new("merged", error))
    }

    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Packed>) -> Result<Self, HistogramError> {
        let mut all = Self::new()?;
        for part in parts {
            all.add(part)?;
        }
        Ok(all)
    }

    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }
}
