//! `stuck`: some sockets never read; what the others notice of it, against the same without.

use super::super::BenchError;
use super::super::report::Figures;
use super::super::session::{Session, Setting};
use super::latency::{add_quantiles, publish_at};
use super::{OnFloor, Scenario, milliseconds};

/// Publishes per second where none are asked for.
const RATE: f64 = 10.0;
const PUBLISHERS: usize = 8;

pub static STUCK: Scenario = Scenario {
    name: "stuck",
    help: "--stuck-percent of the sockets never read: what the others notice, against the same \
           without. --rate is 10. They hold the server up only once the kernel's buffers are full: \
           raise --rate and --duration for that",
    publishes: true,
    wants_numbers: true,
    takes_rooms: false,
    run: Some(run),
    on_floor: OnFloor::Behind(run),
};

fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    let mut figures = Figures::default();
    figures.add("sockets", setting.load.connections as f64);
    let mut slowest = Vec::new();
    for (prefix, percent) in [("without_", 0.0), ("with_", setting.load.stuck_percent)] {
        let mut session = Session::start(setting, PUBLISHERS)?;
        session.open_some_stuck(percent)?;
        let (outcome, _) = publish_at(&mut session, setting.load.rate.unwrap_or(RATE))?;
        figures.add(format!("{prefix}reading_sockets"), outcome.counted.sockets as f64);
        figures.add(format!("{prefix}deliveries"), outcome.counted.deliveries as f64);
        add_quantiles(&mut figures, prefix, &outcome.latency);
        slowest.push(milliseconds(outcome.latency.quantile(0.99)));
        figures.shortfall = figures.shortfall.take().or_else(|| outcome.shortfall());
        figures = session.finish(figures);
    }
    if let [without, with] = slowest[..] {
        figures.add("p99_with_over_without", with / without);
    }
    Ok(figures)
}
