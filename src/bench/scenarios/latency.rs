//! `latency`: from the intended start of a publish to its arrival, at a fixed rate of publishes.

use std::time::Duration;

use super::super::BenchError;
use super::super::histogram::Latencies;
use super::super::outcome::Outcome;
use super::super::report::Figures;
use super::super::session::{Session, Setting};
use super::{OnFloor, Scenario, at_rate, milliseconds, per_delivery};

/// Publishes per second where none are asked for.
const RATE: f64 = 100.0;
/// Answers take a while; a start that waits for a free connection is late, and counts as such.
const PUBLISHERS: usize = 8;
const LEAD: Duration = Duration::from_millis(20);
const WARM_UP: Duration = Duration::from_secs(1);

pub static LATENCY: Scenario = Scenario {
    name: "latency",
    help: "Publish to arrival at --rate publishes per second (100), from the intended start, over \
           all nodes",
    publishes: true,
    wants_numbers: true,
    takes_rooms: true,
    run: Some(run),
    on_floor: OnFloor::Behind(run),
};

fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    run_at(setting, setting.load.rate.unwrap_or(RATE), PUBLISHERS)
}

pub fn run_at(setting: &Setting<'_>, rate: f64, publishers: usize) -> Result<Figures, BenchError> {
    let mut session = Session::start(setting, publishers)?;
    session.open_all()?;
    let (outcome, cpu) = publish_at(&mut session, rate)?;
    let mut figures = Figures::default();
    figures.add("sockets", session.load.connections as f64);
    add_outcome(&mut figures, &outcome, session.load.rooms);
    figures.add_some("cpu_us_per_delivery", per_delivery(cpu, outcome.counted.deliveries));
    figures.shortfall = outcome.shortfall();
    Ok(session.finish(figures))
}

/// For `--duration`, after a warm-up that is not counted.
pub fn publish_at(session: &mut Session<'_>, rate: f64) -> Result<(Outcome, Option<Duration>), BenchError> {
    session.progress.say("warming up");
    let (publishes, interval) = at_rate(rate, WARM_UP.min(session.load.duration));
    session.publish(publishes, interval, LEAD)?;
    session.progress.say("publishing at the rate");
    let (publishes, interval) = at_rate(rate, session.load.duration);
    session.measured(|session| session.publish(publishes, interval, LEAD))
}

fn add_outcome(figures: &mut Figures, outcome: &Outcome, rooms: usize) {
    let start = outcome.schedule.first;
    let seconds = outcome.counted.last.unwrap_or(start).since(start).as_secs_f64();
    let publishes = outcome.schedule.publishes;
    figures.add("publishes", publishes as f64);
    figures.add("deliveries", outcome.counted.deliveries as f64);
    // Of several publishes that a server has for a socket it may send the newest alone: it says the same.
    let wanted = publishes as f64 * outcome.counted.sockets as f64 / rooms.max(1) as f64;
    figures.add("conflated", (wanted - outcome.counted.deliveries as f64).max(0.0));
    figures.add("publishes_per_second", publishes as f64 / seconds);
    figures.add("deliveries_per_second", outcome.counted.deliveries as f64 / seconds);
    add_quantiles(figures, "", &outcome.latency);
    figures.add("answer_p50_ms", milliseconds(outcome.published.answers.quantile(0.5)));
    figures.add("answer_p99_ms", milliseconds(outcome.published.answers.quantile(0.99)));
    figures.add("start_late_p99_ms", milliseconds(outcome.published.late.quantile(0.99)));
}

pub fn add_quantiles(figures: &mut Figures, prefix: &str, latency: &Latencies) {
    for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        figures.add(format!("{prefix}{name}_ms"), milliseconds(latency.quantile(quantile)));
    }
}
