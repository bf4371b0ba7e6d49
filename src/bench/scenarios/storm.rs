//! `storm`: all sockets are gone at once, and all come back at once; with a command, because the server restarted.

use std::process::{Command, Stdio};

use serde_json::json;

use super::super::BenchError;
use super::super::clock::sleep;
use super::super::outcome::OpenedAll;
use super::super::report::Figures;
use super::super::session::{SETTLE, Session, Setting};
use super::{OnFloor, Scenario, median, milliseconds};

pub static STORM: Scenario = Scenario {
    name: "storm",
    help: "All sockets drop and return at once, --repeat times; with --storm-command because the server restarts",
    publishes: false,
    wants_numbers: false,
    takes_rooms: true,
    run: Some(run),
    // The floor does not restart.
    on_floor: OnFloor::Nothing,
};

fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    let mut session = Session::start(setting, 1)?;
    session.open_all()?;
    let mut storms = Vec::new();
    for number in 1..=session.load.repeat {
        session.progress.say(&format!("storm {number} of {}", session.load.repeat));
        let (back, _) = session.measured(|session| {
            if let Some(command) = &session.load.storm_command {
                return session.return_from(|| restart(command));
            }
            session.drop_all()?;
            session.open(0.0, session.load.connections, usize::MAX)
        })?;
        if back.missing > 0 {
            return Err(back.into_error(session.load.connections));
        }
        storms.push(back);
        sleep(SETTLE);
    }
    let figures = figures(session.load.connections, &storms);
    Ok(session.finish(figures))
}

/// `all_back_ms` counts from the first connect, and where the server restarted from the first that it accepted again;
/// `all_back_since_lost_ms` from the first connection that was lost.
fn figures(sockets: usize, storms: &[OpenedAll]) -> Figures {
    let mut figures = Figures::default();
    figures.add("sockets", sockets as f64);
    figures.add("storms", storms.len() as f64);
    let since_listening = |back: &OpenedAll| Some(milliseconds(back.took));
    let since_lost = |back: &OpenedAll| back.took_since_lost.map(milliseconds);
    add_took(&mut figures, storms, "all_back", since_listening);
    add_took(&mut figures, storms, "all_back_since_lost", since_lost);
    let middle = |of: &dyn Fn(&OpenedAll) -> f64| median(storms.iter().map(of).collect());
    for (name, quantile) in [("handshake_p50_ms", 0.5), ("handshake_p99_ms", 0.99), ("handshake_max_ms", 1.0)]
    {
        figures.add(name, middle(&|back| milliseconds(back.handshakes.quantile(quantile))));
    }
    figures.add("connects_per_second", middle(&|back| back.ready as f64 / back.took.as_secs_f64()));
    figures.add("failed_attempts", storms.iter().map(|back| back.failures).sum::<usize>() as f64);
    figures.runs = storms
        .iter()
        .map(|back| {
            json!({ "all_back_ms": since_listening(back), "all_back_since_lost_ms": since_lost(back),
                "failed_attempts": back.failures })
        })
        .collect();
    figures
}

/// The middle and the worst, where there is something to tell.
fn add_took(figures: &mut Figures, storms: &[OpenedAll], name: &str, of: fn(&OpenedAll) -> Option<f64>) {
    let took: Vec<f64> = storms.iter().filter_map(of).collect();
    let worst = took.iter().copied().reduce(f64::max);
    figures.add_some(&format!("{name}_ms"), worst.map(|_| median(took)));
    figures.add_some(&format!("{name}_worst_ms"), worst);
}

/// Runs it to its end. What it prints to standard output would stand in that of the bench.
fn restart(command: &str) -> Result<(), BenchError> {
    let status = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(BenchError::StormCommand(format!("ended with {status}"))),
        Err(error) => Err(BenchError::StormCommand(format!("cannot be started: {error}"))),
    }
}
