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

/// How long target and floor are published to by turns.
const TURN: Duration = Duration::from_secs(1);

pub static SUSTAINED: Scenario = Scenario {
    name: "sustained",
    help: "Broadcast after broadcast for --duration, each when the last is everywhere, or at \
           --rate: deliveries per second",
    publishes: true,
    wants_numbers: false,
    takes_rooms: false,
    run: Some(run),
    on_floor: OnFloor::InTurns(run_in_turns),
};

fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    match setting.load.rate {
        Some(rate) => latency::run_at(setting, rate, PUBLISHERS),
        None => back_to_back(setting, 1, 1),
    }
}

fn run_in_turns(target: &Setting<'_>, floor: &Setting<'_>) -> Result<(Figures, Figures), BenchError> {
    if target.load.rate.is_some() {
        return Ok((run(target)?, run(floor)?));
    }
    let mut on_target = Stretch::start(target, 1, 1)?;
    let mut on_floor = Stretch::start(floor, 1, 1)?;
    let mut left = target.load.duration;
    while !left.is_zero() {
        let turn = left.min(TURN);
        on_target.go_on(turn)?;
        on_floor.go_on(turn)?;
        left -= turn;
    }
    Ok((on_target.finish(), on_floor.finish()))
}

/// For `--duration`, again and again a round of so many publishes, by so many connections.
pub fn back_to_back(setting: &Setting<'_>, round: u64, publishers: usize) -> Result<Figures, BenchError> {
    let mut stretch = Stretch::start(setting, round, publishers)?;
    stretch.go_on(setting.load.duration)?;
    Ok(stretch.finish())
}

/// Broadcast after broadcast to one server.
struct Stretch<'a> {
    session: Session<'a>,
    round: u64,
    publishes: u64,
    deliveries: u64,
    took: Duration,
    cpu: Option<Duration>,
}

impl<'a> Stretch<'a> {
    fn start(setting: &Setting<'a>, round: u64, publishers: usize) -> Result<Self, BenchError> {
        let mut session = Session::start(setting, publishers)?;
        session.open_all()?;
        session.publish(round, Duration::ZERO, LEAD)?.require()?;
        Ok(Self { session, round, publishes: 0, deliveries: 0, took: Duration::ZERO, cpu: None })
    }

    fn go_on(&mut self, duration: Duration) -> Result<(), BenchError> {
        let round = self.round;
        self.session.progress.say("broadcasting");
        let ((rounds, deliveries, took), cpu) = self.session.measured(|session| {
            let start = Moment::now();
            let end = start.plus(duration);
            let (mut rounds, mut deliveries) = (0, 0);
            while !end.is_over() {
                deliveries += session.publish(round, Duration::ZERO, LEAD)?.require()?.counted.deliveries;
                rounds += 1;
            }
            Ok((rounds, deliveries, Moment::now().since(start)))
        })?;
        self.publishes += rounds * round;
        self.deliveries += deliveries;
        self.took += took;
        self.cpu = cpu.map(|cpu| self.cpu.unwrap_or_default() + cpu);
        Ok(())
    }

    fn finish(self) -> Figures {
        let mut figures = Figures::default();
        figures.add("sockets", self.session.load.connections as f64);
        figures.add("publishes", self.publishes as f64);
        figures.add("deliveries", self.deliveries as f64);
        let seconds = self.took.as_secs_f64();
        figures.add("publishes_per_second", self.publishes as f64 / seconds);
        figures.add("deliveries_per_second", self.deliveries as f64 / seconds);
        figures.add_some("cpu_us_per_delivery", per_delivery(self.cpu, self.deliveries));
        figures.add_some("cpu_cores", self.cpu.map(|cpu| microseconds(cpu) / seconds / 1e6));
        self.session.finish(figures)
    }
}
