//! `sustained`: broadcast after broadcast; the next begins when the last one is everywhere, or at `--rate`.

use std::time::Duration;

use super::super::BenchError;
use super::super::clock::Moment;
use super::super::report::Figures;
use super::super::session::{Session, Setting};
use super::{OnFloor, Scenario, latency, microseconds, per_delivery};

/// From the order to count until the publish: what the order takes.
const LEAD: Duration = Duration::from_micros(300);
/// A publish at a rate may overlap the one before.
const PUBLISHERS: usize = 4;

/// What a stretch of broadcasts came to.
#[derive(Default)]
pub struct Stretch {
    pub publishes: u64,
    pub deliveries: u64,
    pub took: Duration,
}

pub static SUSTAINED: Scenario = Scenario {
    name: "sustained",
    help: "Broadcast after broadcast for --duration, each when the last is everywhere, or at \
           --rate: deliveries per second",
    publishes: true,
    wants_numbers: false,
    takes_rooms: false,
    run: Some(run),
    on_floor: OnFloor::Behind(run),
};

fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    match setting.load.rate {
        Some(rate) => latency::run_at(setting, rate, PUBLISHERS),
        None => back_to_back(setting, 1, 1),
    }
}

/// For `--duration`, again and again a round of so many publishes, by so many connections.
pub fn back_to_back(setting: &Setting<'_>, round: u64, publishers: usize) -> Result<Figures, BenchError> {
    let mut session = Session::start(setting, publishers)?;
    session.open_all()?;
    session.publish(round, Duration::ZERO, LEAD)?.require()?;
    session.progress.say("broadcasting");
    let (stretch, cpu) = session.measured(|session| {
        let start = Moment::now();
        let end = start.plus(session.load.duration);
        let mut stretch = Stretch::default();
        while !end.is_over() {
            let outcome = session.publish(round, Duration::ZERO, LEAD)?.require()?;
            stretch.publishes += round;
            stretch.deliveries += outcome.counted.deliveries;
        }
        stretch.took = Moment::now().since(start);
        Ok(stretch)
    })?;
    let mut figures = Figures::default();
    figures.add("sockets", session.load.connections as f64);
    figures.add("publishes", stretch.publishes as f64);
    figures.add("deliveries", stretch.deliveries as f64);
    let seconds = stretch.took.as_secs_f64();
    figures.add("publishes_per_second", stretch.publishes as f64 / seconds);
    figures.add("deliveries_per_second", stretch.deliveries as f64 / seconds);
    figures.add_some("cpu_us_per_delivery", per_delivery(cpu, stretch.deliveries));
    figures.add_some("cpu_cores", cpu.map(|cpu| microseconds(cpu) / seconds / 1e6));
    Ok(session.finish(figures))
}
