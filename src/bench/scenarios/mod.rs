//! One file per scenario: what it is called, what it does to the target, and which figures it gives.

mod broadcast;
mod churn;
mod connect;
mod flood;
mod floor;
mod idle;
mod latency;
mod rooms;
mod storm;
mod stuck;
mod sustained;

use std::time::Duration;

use super::BenchError;
use super::report::Figures;
use super::session::Setting;

/// What there is to know of a scenario; a new one has its own file, and a place in `ALL`.
pub struct Scenario {
    pub name: &'static str,
    /// What it does, and which options it looks at.
    pub help: &'static str,
    pub publishes: bool,
    /// Whether a delivery must tell which publish it belongs to, where the server can say it: publishes that overlap may
    /// come as one.
    pub wants_numbers: bool,
    pub takes_rooms: bool,
    /// None: it needs no server.
    pub run: Option<Run>,
    pub on_floor: OnFloor,
}

pub type Run = fn(&Setting<'_>) -> Result<Figures, BenchError>;
/// The target, and the floor.
pub type RunBoth = fn(&Setting<'_>, &Setting<'_>) -> Result<(Figures, Figures), BenchError>;

/// What runs against the floor, to compare with.
pub enum OnFloor {
    /// It would say nothing.
    Nothing,
    /// That, when the target's run is over.
    Behind(Run),
    /// Both at once, by turns, and this gives the figures of both: what changes on the machine meanwhile strikes both alike.
    InTurns(RunBoth),
}

/// In the order in which they are told.
pub static ALL: &[&Scenario] = &[
    &connect::CONNECT,
    &idle::IDLE,
    &broadcast::BROADCAST,
    &sustained::SUSTAINED,
    &rooms::ROOMS,
    &latency::LATENCY,
    &stuck::STUCK,
    &storm::STORM,
    &churn::CHURN,
    &flood::FLOOD,
    &floor::FLOOR,
];

/// How many publishes at that rate fit into that time, one at least, and what lies between two.
fn at_rate(rate: f64, duration: Duration) -> (u64, Duration) {
    let interval = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
    let publishes = duration.as_nanos().div_ceil(interval.as_nanos().max(1)).max(1);
    (u64::try_from(publishes).unwrap_or(u64::MAX), interval)
}

/// Microseconds of CPU.
fn per_delivery(cpu: Option<Duration>, deliveries: u64) -> Option<f64> {
    cpu.filter(|_| deliveries > 0).map(|cpu| microseconds(cpu) / deliveries as f64)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The middle one, or the mean of the two in the middle; NaN for none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
