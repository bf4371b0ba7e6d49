//! One file per scenario: what it does to the target, and which figures it gives.

mod broadcast;
mod churn;
mod connect;
mod flood;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Connect,
    Idle,
    Broadcast,
    Sustained,
    Rooms,
    Latency,
    Stuck,
    Storm,
    Churn,
    Flood,
    Floor,
}

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Idle => "idle",
            Self::Broadcast => "broadcast",
            Self::Sustained => "sustained",
            Self::Rooms => "rooms",
            Self::Latency => "latency",
            Self::Stuck => "stuck",
            Self::Storm => "storm",
            Self::Churn => "churn",
            Self::Flood => "flood",
            Self::Floor => "floor",
        }
    }

    pub fn publishes(self) -> bool {
        !matches!(self, Self::Connect | Self::Idle | Self::Storm)
    }

    /// Whether a delivery must tell which publish it belongs to, where the server can say it: publishes that overlap may
    /// come as one.
    pub fn wants_numbers(self) -> bool {
        matches!(self, Self::Latency | Self::Stuck | Self::Churn | Self::Flood)
    }

    pub fn takes_rooms(self) -> bool {
        matches!(self, Self::Rooms | Self::Latency | Self::Connect | Self::Idle | Self::Storm)
    }

    /// What runs against the floor to compare with; None where it would say nothing.
    pub fn on_floor(self) -> Option<Self> {
        match self {
            Self::Idle | Self::Storm | Self::Floor => None,
            // Nobody can write every publish of a flood to every socket.
            Self::Flood => Some(Self::Broadcast),
            other => Some(other),
        }
    }

    pub fn run(self, setting: &Setting<'_>) -> Result<Figures, BenchError> {
        match self {
            Self::Connect => connect::run(setting),
            Self::Idle => idle::run(setting),
            Self::Broadcast | Self::Floor => broadcast::run(setting),
            Self::Sustained => sustained::run(setting),
            Self::Rooms => rooms::run(setting),
            Self::Latency => latency::run(setting),
            Self::Stuck => stuck::run(setting),
            Self::Storm => storm::run(setting),
            Self::Churn => churn::run(setting),
            Self::Flood => flood::run(setting),
        }
    }
}

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
