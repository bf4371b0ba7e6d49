//! `churn`: sockets come and go at `--rate` while those that stay are told things; against the same in peace.

use std::time::Duration;

use super::super::BenchError;
use super::super::clock::Moment;
use super::super::report::Figures;
use super::super::session::{Session, Setting};
use super::latency::{add_quantiles, publish_at};
use super::{OnFloor, Scenario};

/// Arrivals per second where none are asked for.
const RATE: f64 = 1000.0;
const PUBLISHERS: usize = 4;
const LIFETIME: Duration = Duration::from_secs(1);

pub static CHURN: Scenario = Scenario {
    name: "churn",
    help: "Sockets come and go at --rate per second (1000) beside --connections that are told \
           things at --publish-rate",
    publishes: true,
    wants_numbers: true,
    takes_rooms: false,
    run: Some(run),
    on_floor: OnFloor::Behind(run),
};

fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    let mut session = Session::start(setting, PUBLISHERS)?;
    session.open_all()?;
    let rate = session.load.rate.unwrap_or(RATE);
    let publish_rate = session.load.publish_rate;
    let (quiet, _) = publish_at(&mut session, publish_rate)?;
    session.progress.say("sockets come and go");
    session.churn(rate, LIFETIME)?;
    let start = Moment::now();
    let (busy, _) = publish_at(&mut session, publish_rate)?;
    let seconds = Moment::now().since(start).as_secs_f64();
    let churned = session.end_churn()?;
    let opened: u64 = churned.iter().map(|part| part.opened).sum();
    let failed: u64 = churned.iter().map(|part| part.failed).sum();
    let mut figures = Figures::default();
    figures.add("sockets", session.load.connections as f64);
    figures.add("churned", opened as f64);
    figures.add("churn_failed", failed as f64);
    figures.add("churned_per_second", opened as f64 / seconds);
    figures.add("deliveries", (quiet.counted.deliveries + busy.counted.deliveries) as f64);
    add_quantiles(&mut figures, "quiet_", &quiet.latency);
    add_quantiles(&mut figures, "churn_", &busy.latency);
    figures.shortfall = quiet.shortfall().or_else(|| busy.shortfall());
    if failed > 0 {
        let reason = churned.into_iter().find_map(|part| part.first_failure).unwrap_or_default();
        figures.shortfall = Some(format!("{failed} of the sockets that come and go failed: {reason}"));
    }
    Ok(session.finish(figures))
}
