//! `broadcast`: one publish to all sockets, when nothing else goes on, so many times.

use std::time::Duration;

use serde_json::json;

use super::super::BenchError;
use super::super::clock::{Moment, sleep};
use super::super::outcome::Outcome;
use super::super::report::Figures;
use super::super::session::{Session, Setting};
use super::{OnFloor, Scenario, median, microseconds, milliseconds};

/// From the order to count until the publish: all is quiet by then.
const LEAD: Duration = Duration::from_millis(20);
/// Between two repetitions.
const PAUSE: Duration = Duration::from_millis(200);

/// One repetition.
struct Broadcast {
    first: f64,
    median: f64,
    last: f64,
    answer: f64,
    answer_after_last: f64,
    per_second: f64,
    cpu: Option<f64>,
    deliveries: u64,
}

pub static BROADCAST: Scenario = Scenario {
    name: "broadcast",
    help: "One publish to all sockets, --repeat times: first, median and last socket, CPU per \
           delivery",
    publishes: true,
    wants_numbers: false,
    takes_rooms: false,
    run: Some(run),
    on_floor: OnFloor::InTurns(run_in_turns),
};

pub fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    let mut series = Series::start(setting)?;
    for number in 1..=setting.load.repeat {
        series.broadcast(number)?;
    }
    Ok(series.finish())
}

fn run_in_turns(target: &Setting<'_>, floor: &Setting<'_>) -> Result<(Figures, Figures), BenchError> {
    let mut on_target = Series::start(target)?;
    let mut on_floor = Series::start(floor)?;
    for number in 1..=target.load.repeat {
        on_target.broadcast(number)?;
        on_floor.broadcast(number)?;
    }
    Ok((on_target.finish(), on_floor.finish()))
}

/// One server's broadcasts.
struct Series<'a> {
    session: Session<'a>,
    broadcasts: Vec<Broadcast>,
}

impl<'a> Series<'a> {
    fn start(setting: &Setting<'a>) -> Result<Self, BenchError> {
        let mut session = Session::start(setting, 1)?;
        session.open_all()?;
        // The first one warms up: its connection is new, and so are the paths through the code.
        session.publish(1, Duration::ZERO, LEAD)?.require()?;
        Ok(Self { session, broadcasts: Vec::new() })
    }

    fn broadcast(&mut self, number: usize) -> Result<(), BenchError> {
        let session = &mut self.session;
        session.progress.say(&format!("broadcast {number} of {}", session.load.repeat));
        sleep(PAUSE);
        let (outcome, cpu) = session.measured(|session| session.publish(1, Duration::ZERO, LEAD))?;
        self.broadcasts.push(one(&outcome.require()?, cpu));
        Ok(())
    }

    fn finish(self) -> Figures {
        let Self { session, broadcasts } = self;
        let mut figures = Figures::default();
        figures.add("sockets", session.load.connections as f64);
        figures.add("broadcasts", broadcasts.len() as f64);
        let deliveries: u64 = broadcasts.iter().map(|broadcast| broadcast.deliveries).sum();
        figures.add("deliveries", deliveries as f64);
        let mut add = |name: &str, of: fn(&Broadcast) -> f64| {
            figures.add(name, median(broadcasts.iter().map(of).collect()));
        };
        add("first_ms", |broadcast| broadcast.first);
        add("median_ms", |broadcast| broadcast.median);
        add("last_ms", |broadcast| broadcast.last);
        add("answer_ms", |broadcast| broadcast.answer);
        add("answer_after_last_ms", |broadcast| broadcast.answer_after_last);
        add("deliveries_per_second", |broadcast| broadcast.per_second);
        if broadcasts.iter().all(|broadcast| broadcast.cpu.is_some()) {
            add("cpu_us_per_delivery", |broadcast| broadcast.cpu.unwrap_or(f64::NAN));
        }
        figures.runs = broadcasts
            .iter()
            .map(|run| {
                json!({ "first_ms": run.first, "median_ms": run.median, "last_ms": run.last, "answer_ms": run.answer,
                    "deliveries": run.deliveries, "cpu_us_per_delivery": run.cpu })
            })
            .collect();
        session.finish(figures)
    }
}

fn one(outcome: &Outcome, cpu: Option<Duration>) -> Broadcast {
    let start = outcome.schedule.first;
    let since_start = |moment: Option<Moment>| milliseconds(moment.unwrap_or(start).since(start));
    let last = since_start(outcome.counted.last);
    let answer = since_start(outcome.published.last_answer);
    Broadcast {
        first: since_start(outcome.counted.first),
        median: milliseconds(outcome.latency.quantile(0.5)),
        last,
        answer,
        answer_after_last: answer - last,
        per_second: outcome.counted.deliveries as f64 / last * 1e3,
        cpu: cpu.map(|cpu| microseconds(cpu) / outcome.counted.deliveries as f64),
        deliveries: outcome.counted.deliveries,
    }
}
