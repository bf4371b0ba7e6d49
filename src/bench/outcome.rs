//! What the processes of the generator report, put together: histograms are merged, never averaged.

use std::fmt::Write;
use std::time::Duration;

use super::BenchError;
use super::clock::Moment;
use super::counted::Counted;
use super::histogram::Latencies;
use super::protocol::{Delivered, Opened, Schedule};
use super::publisher::Published;

/// All processes' openings together.
pub struct OpenedAll {
    pub ready: usize,
    pub missing: usize,
    pub failures: usize,
    pub first_failure: Option<String>,
    /// From the beginning of the first to the end of the last.
    pub took: Duration,
    /// From the first that the server took away to the end of the last.
    pub took_since_lost: Option<Duration>,
    pub handshakes: Latencies,
}

/// What became of the publishes of one schedule.
pub struct Outcome {
    pub schedule: Schedule,
    pub counted: Counted,
    pub closed: usize,
    pub latency: Latencies,
    pub published: Published,
    first_frame: Option<String>,
    first_closure: Option<String>,
}

/// A flood and its end.
pub struct Flood {
    pub flooding: Published,
    /// When the last publish started.
    pub last: Moment,
    pub outcome: Outcome,
}

impl OpenedAll {
    pub fn merged(all: Vec<Opened>) -> Result<Self, BenchError> {
        let handshakes = Latencies::merged(all.iter().map(|opened| &opened.handshakes))?;
        let start = all.iter().map(|opened| opened.start).min().unwrap_or_else(Moment::now);
        let end = all.iter().map(|opened| opened.end).max().unwrap_or(start);
        Ok(Self {
            ready: all.iter().map(|opened| opened.ready).sum(),
            missing: all.iter().map(|opened| opened.missing).sum(),
            failures: all.iter().map(|opened| opened.failures).sum(),
            took: end.since(start),
            took_since_lost: all
                .iter()
                .filter_map(|opened| opened.first_lost)
                .min()
                .map(|lost| end.since(lost)),
            handshakes,
            first_failure: all.into_iter().find_map(|opened| opened.first_failure),
        })
    }

    pub fn into_error(self, wanted: usize) -> BenchError {
        BenchError::NotConnected {
            missing: self.missing,
            wanted,
            reason: self.first_failure.unwrap_or_default(),
        }
    }
}

impl Outcome {
    pub fn new(
        schedule: Schedule,
        delivered: &[Delivered],
        published: Published,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            schedule,
            counted: Counted::merged(delivered.iter().map(|part| &part.counted)),
            closed: delivered.iter().map(|part| part.closed).sum(),
            latency: Latencies::merged(delivered.iter().map(|part| &part.latency))?,
            published,
            first_frame: delivered.iter().find_map(|part| part.first_frame.clone()),
            first_closure: delivered.iter().find_map(|part| part.first_closure.clone()),
        })
    }

    /// An error unless every socket has every publish.
    pub fn require(self) -> Result<Self, BenchError> {
        match self.shortfall() {
            Some(shortfall) => Err(BenchError::Undelivered(shortfall)),
            None => Ok(self),
        }
    }

    /// A sentence when not every socket has the last publish.
    pub fn shortfall(&self) -> Option<String> {
        let Counted { deliveries, sockets, complete, .. } = self.counted;
        let lacking = sockets - complete;
        if lacking == 0 {
            return None;
        }
        let mut sentence = format!(
            "{lacking} of {sockets} sockets never had all of {} publishes: {deliveries} deliveries were counted",
            self.schedule.publishes
        );
        // Writing to a string cannot fail.
        if let Some(closure) = &self.first_closure {
            let _ = write!(sentence, "; {} sockets were lost, the first because {closure}", self.closed);
        }
        if deliveries == 0 {
            let frame = self.first_frame.as_deref().unwrap_or("none at all");
            let _ = write!(
                sentence,
                "; --delivery-marker stands in no frame; the first frame that came: {frame}"
            );
        }
        Some(sentence)
    }
}
