//! `idle`: what a socket costs that is told nothing.

use super::super::BenchError;
use super::super::clock::{Moment, sleep};
use super::super::report::Figures;
use super::super::session::{Session, Setting};
use super::{OnFloor, Scenario, microseconds};

pub static IDLE: Scenario = Scenario {
    name: "idle",
    help: "Holds them for --duration: memory per socket, CPU per second and socket. Wants \
           --server-pid of a fresh server: one that had sockets before keeps their memory",
    publishes: false,
    wants_numbers: false,
    takes_rooms: true,
    run: Some(run),
    // Bare writes hold nothing.
    on_floor: OnFloor::Nothing,
};

fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    let Some(server) = setting.server.clone() else { return Err(BenchError::NeedsServer("idle")) };
    let mut session = Session::start(setting, 1)?;
    let mut figures = Figures::default();
    let (before, source) = server.resident()?;
    session.open_all()?;
    let connections = session.load.connections as f64;
    session.progress.say("holding the sockets");
    let start = Moment::now();
    let ((), used) = session.measured(|session| {
        sleep(session.load.duration);
        Ok(())
    })?;
    let held = Moment::now().since(start);
    let (after, _) = server.resident()?;
    figures.memory_source = Some(source);
    figures.add("sockets", connections);
    figures.add("rss_before_bytes", before as f64);
    figures.add("rss_after_bytes", after as f64);
    figures.add("rss_bytes_per_socket", (after as f64 - before as f64) / connections);
    figures.add("held_seconds", held.as_secs_f64());
    let used = used.map(|used| microseconds(used) / held.as_secs_f64() / connections);
    figures.add_some("cpu_us_per_second_and_socket", used);
    let (lost, reason) = session.drop_all()?;
    if lost > 0 {
        figures.shortfall = Some(format!("{lost} sockets did not last: {}", reason.unwrap_or_default()));
    }
    Ok(session.finish(figures))
}
