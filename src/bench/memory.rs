//! The server's memory over a load that comes again and again: what stays after each round tells a leak from a warm-up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::clock::sleep;
use super::processes::{ProcessError, Processes};
use super::report::Figures;

const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// Bytes resident.
pub struct Memory {
    server: Processes,
    before: u64,
    rounds: Vec<Round>,
}

pub struct Round {
    pub peak: u64,
    pub after: u64,
}

impl Memory {
    pub fn start(server: Processes) -> Result<Self, ProcessError> {
        let before = server.resident_roughly()?;
        Ok(Self { server, before, rounds: Vec::new() })
    }

    /// Does that and reads all the while; then gives the server so long to settle.
    pub fn round<T>(&mut self, settle: Duration, work: impl FnOnce() -> T) -> Result<T, ProcessError> {
        let (result, peak) = self.peak_during(work);
        sleep(settle);
        let after = self.server.resident_roughly()?;
        self.rounds.push(Round { peak: peak.max(after), after });
        Ok(result)
    }

    fn peak_during<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sampler = scope.spawn(|| {
                let mut peak = 0;
                while !over.load(Ordering::Relaxed) {
                    // A server that is gone is noticed by its sockets.
                    peak = self.server.resident_roughly().unwrap_or(0).max(peak);
                    sleep(SAMPLE_EVERY);
                }
                peak
            });
            let result = work();
            over.store(true, Ordering::Relaxed);
            (result, sampler.join().unwrap_or(0))
        })
    }

    pub fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    pub fn add_to(&self, figures: &mut Figures) {
        let (Some(first), Some(last)) = (self.rounds.first(), self.rounds.last()) else { return };
        let peak = self.rounds.iter().map(|round| round.peak).max().unwrap_or(0);
        figures.add("rss_before_bytes", self.before as f64);
        figures.add("rss_peak_bytes", peak as f64);
        figures.add("rss_peak_growth_percent", growth(self.before, peak));
        figures.add("rss_after_bytes", last.after as f64);
        figures.add("rss_growth_percent", growth(self.before, last.after));
        if self.rounds.len() > 1 {
            for (number, round) in (1..).zip(&self.rounds) {
                figures.add(format!("rss_after_round_{number}_bytes"), round.after as f64);
            }
            figures.add("rss_growth_after_first_percent", growth(first.after, last.after));
        }
        figures.memory_source = Some("status");
    }
}

fn growth(before: u64, after: u64) -> f64 {
    (after as f64 / before as f64 - 1.0) * 100.0
}
