//! `connect`: the ramp.

use super::super::BenchError;
use super::super::outcome::OpenedAll;
use super::super::report::Figures;
use super::super::session::{Session, Setting};
use super::{OnFloor, Scenario, microseconds, milliseconds};

pub static CONNECT: Scenario = Scenario {
    name: "connect",
    help: "Connects all sockets: connects per second, handshake latency, failures",
    publishes: false,
    wants_numbers: false,
    takes_rooms: true,
    run: Some(run),
    on_floor: OnFloor::Behind(run),
};

fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    let mut session = Session::start(setting, 1)?;
    let mut figures = Figures::default();
    let (opened, cpu) = session.measured(|session| session.open(0.0, session.load.in_flight, 0))?;
    if opened.ready == 0 {
        return Err(opened.into_error(session.load.connections));
    }
    add_handshakes(&mut figures, &opened);
    figures.add_some("cpu_us_per_connect", cpu.map(|cpu| microseconds(cpu) / opened.ready as f64));
    if opened.missing > 0 {
        let reason = opened.first_failure.unwrap_or_default();
        figures.shortfall = Some(format!("{} sockets are missing: {reason}", opened.missing));
    }
    Ok(session.finish(figures))
}

pub fn add_handshakes(figures: &mut Figures, opened: &OpenedAll) {
    figures.add("connected", opened.ready as f64);
    figures.add("failures", opened.failures as f64);
    figures.add("took_ms", milliseconds(opened.took));
    figures.add("connects_per_second", opened.ready as f64 / opened.took.as_secs_f64());
    for (name, quantile) in [("handshake_p50_ms", 0.5), ("handshake_p99_ms", 0.99)] {
        figures.add(name, milliseconds(opened.handshakes.quantile(quantile)));
    }
    figures.add("handshake_max_ms", milliseconds(opened.handshakes.max()));
}
