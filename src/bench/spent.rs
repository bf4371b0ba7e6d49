//! What the generator itself used while something was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use super::outcome::Outcome;
use super::protocol::Delivered;
use super::report::Figures;

/// CPU of the generator in all measured windows.
#[derive(Default)]
pub struct Spent {
    elapsed: Duration,
    deliveries: u64,
    by_process: Vec<Duration>,
    /// The time in which a generator process wanted a CPU and had none.
    waited: Vec<Duration>,
    window: Window,
}

/// The window that is open.
#[derive(Default)]
struct Window {
    delivered: u64,
    /// The time in which nothing was to be done yet.
    idle: Duration,
    /// The CPU of processes that only stayed awake.
    awake: BTreeMap<u32, Duration>,
}

impl Spent {
    pub fn open_window(&mut self) {
        self.window = Window::default();
    }

    /// So long nothing is to be done.
    pub fn idle(&mut self, time: Duration) {
        self.window.idle += time;
    }

    pub fn delivered(&mut self, counted: &[Delivered], outcome: &Outcome) {
        self.window.delivered += outcome.counted.deliveries;
        for Delivered { pid, awake, .. } in counted {
            *self.window.awake.entry(*pid).or_default() += *awake;
        }
    }

    /// The CPU with which that process only stayed awake.
    pub fn awake(&self, pid: u32) -> Duration {
        self.window.awake.get(&pid).copied().unwrap_or_default()
    }

    pub fn close_window(&mut self, elapsed: Duration, by_process: &[Duration], waited: &[Duration]) {
        self.elapsed += elapsed.saturating_sub(self.window.idle);
        self.deliveries += self.window.delivered;
        for (sums, parts) in [(&mut self.by_process, by_process), (&mut self.waited, waited)] {
            sums.resize(parts.len(), Duration::ZERO);
            sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += *part);
        }
    }

    /// `processes` are those that hold sockets; the coordinator is not one of them.
    pub fn tell(&self, figures: &mut Figures, processes: usize) {
        let elapsed = self.elapsed.as_secs_f64();
        if elapsed <= 0.0 {
            return;
        }
        let shares = |times: &[Duration]| times.iter().map(|time| time.as_secs_f64() / elapsed).collect();
        figures.generator_cpu_shares = shares(&self.by_process);
        figures.generator_wait_shares = shares(&self.waited);
        if self.deliveries > 0 {
            let crew = self.by_process.iter().take(processes).sum::<Duration>();
            let each = crew.as_secs_f64() * 1e6 / self.deliveries as f64;
            figures.add("generator_us_of_cpu_per_delivery", each);
        }
    }
}
