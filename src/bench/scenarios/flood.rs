//! `flood`: far more publishes into one room than its sockets can be told of; memory must stay flat, and the last state
//! must be everywhere soon after the last publish.

use std::time::Duration;

use serde_json::json;

use super::super::BenchError;
use super::super::memory::Memory;
use super::super::outcome::Flood;
use super::super::report::Figures;
use super::super::session::{Session, Setting};
use super::{OnFloor, Scenario, at_rate, broadcast, median, milliseconds, per_delivery};

/// Publishes per second where none are asked for.
const RATE: f64 = 5000.0;
/// An answer that waits for the sockets takes as long as a broadcast: so many under way reach the rate all the same.
const PUBLISHERS: usize = 512;
/// What the server gives back once the flood is over, it has given back by then.
const SETTLE: Duration = Duration::from_secs(3);

pub static FLOOD: Scenario = Scenario {
    name: "flood",
    help: "--rate publishes per second (5000) into one room, --rounds times: memory, and when the \
           last state is everywhere",
    publishes: true,
    wants_numbers: true,
    takes_rooms: false,
    run: Some(run),
    // Nobody can write every publish of a flood to every socket.
    on_floor: OnFloor::Behind(broadcast::run),
};

struct Round {
    flood: Flood,
    cpu: Option<Duration>,
}

fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    let mut session = Session::start(setting, PUBLISHERS)?;
    session.open_all()?;
    session.publish(1, Duration::ZERO, Duration::from_millis(20))?.require()?;
    let load = session.load;
    let (publishes, interval) = at_rate(load.rate.unwrap_or(RATE), load.duration);
    let mut memory = session.server.clone().map(Memory::start).transpose()?;
    let mut rounds = Vec::with_capacity(load.rounds);
    for number in 1..=load.rounds {
        session.progress.say(&format!("flood {number} of {}", load.rounds));
        let mut flood = || session.measured(|session| session.flood(publishes, interval));
        let (flood, cpu) = match &mut memory {
            Some(memory) => memory.round(SETTLE.min(load.duration), flood)??,
            None => flood()?,
        };
        rounds.push(Round { flood, cpu });
    }
    let mut figures = Figures::default();
    figures.add("sockets", load.connections as f64);
    add_rounds(&mut figures, &rounds);
    if let Some(memory) = &memory {
        memory.add_to(&mut figures);
    }
    figures.runs = rounds.iter().enumerate().map(|(at, round)| told(round, memory.as_ref(), at)).collect();
    figures.shortfall = rounds.iter().find_map(|round| round.flood.outcome.shortfall());
    Ok(session.finish(figures))
}

impl Round {
    fn seconds(&self) -> f64 {
        let last = self.flood.flooding.last_answer.unwrap_or(self.flood.last);
        last.since(self.flood.outcome.schedule.first).as_secs_f64()
    }

    fn deliveries(&self) -> f64 {
        self.flood.outcome.counted.deliveries as f64
    }

    fn answered(&self) -> f64 {
        self.flood.flooding.answered as f64
    }

    /// From the last publish.
    fn everywhere(&self) -> Option<f64> {
        let completed = self.flood.outcome.counted.completed?;
        Some(milliseconds(completed.since(self.flood.last)))
    }
}

/// Counts are those of all rounds together, all else is the middle one's.
fn add_rounds(figures: &mut Figures, rounds: &[Round]) {
    let sum = |of: fn(&Round) -> f64| rounds.iter().map(of).sum();
    figures.add("publishes", sum(|round| round.answered() + 1.0));
    figures.add("deliveries", sum(Round::deliveries));
    let mut add = |name: &str, of: &dyn Fn(&Round) -> Option<f64>| {
        let values: Option<Vec<f64>> = rounds.iter().map(of).collect();
        figures.add_some(name, values.map(median));
    };
    let answer = |round: &Round, quantile| milliseconds(round.flood.flooding.answers.quantile(quantile));
    add("publishes_per_second", &|round| Some(round.answered() / round.seconds()));
    add("deliveries_per_second", &|round| Some(round.deliveries() / round.seconds()));
    add("answer_p50_ms", &|round| Some(answer(round, 0.5)));
    add("answer_p99_ms", &|round| Some(answer(round, 0.99)));
    add("last_state_everywhere_ms", &Round::everywhere);
    add("cpu_us_per_delivery", &|round| per_delivery(round.cpu, round.flood.outcome.counted.deliveries));
}

fn told(round: &Round, memory: Option<&Memory>, at: usize) -> serde_json::Value {
    let memory = memory.and_then(|memory| memory.rounds().get(at));
    json!({
        "publishes_per_second": round.answered() / round.seconds(),
        "deliveries": round.deliveries(),
        "last_state_everywhere_ms": round.everywhere(),
        "rss_peak_bytes": memory.map(|memory| memory.peak),
        "rss_after_bytes": memory.map(|memory| memory.after),
    })
}
