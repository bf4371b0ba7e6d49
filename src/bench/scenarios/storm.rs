//! `storm`: all sockets are gone at once, and all come back at once; with a command, because the server restarted.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::super::BenchError;
use super::super::clock::{Moment, sleep};
use super::super::outcome::OpenedAll;
use super::super::report::Figures;
use super::super::session::{SETTLE, Session, Setting};
use super::{median, milliseconds};

/// How often to see whether the server accepts again.
const PROBE_EVERY: Duration = Duration::from_millis(2);
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

pub fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    let mut session = Session::start(setting, 1)?;
    session.open_all()?;
    let mut storms = Vec::new();
    for number in 1..=session.load.repeat {
        session.progress.say(&format!("storm {number} of {}", session.load.repeat));
        if let Some(command) = &session.load.storm_command {
            restart(command)?;
        }
        session.drop_all()?;
        if session.load.storm_command.is_some() {
            let addresses = setting.target.websockets.iter().map(|endpoint| endpoint.address);
            until_accepting(addresses, session.load.timeout)?;
        }
        let (back, _) = session.measured(|session| session.open(0.0, session.load.connections, true))?;
        if back.missing > 0 {
            return Err(back.into_error(session.load.connections));
        }
        storms.push(back);
        sleep(SETTLE);
    }
    let figures = figures(session.load.connections, &storms);
    Ok(session.finish(figures))
}

fn figures(sockets: usize, storms: &[OpenedAll]) -> Figures {
    let mut figures = Figures::default();
    figures.add("sockets", sockets as f64);
    figures.add("storms", storms.len() as f64);
    let middle = |of: &dyn Fn(&OpenedAll) -> f64| median(storms.iter().map(of).collect());
    let took = |back: &OpenedAll| milliseconds(back.took);
    figures.add("all_back_ms", middle(&took));
    figures.add("all_back_worst_ms", storms.iter().map(took).fold(0.0, f64::max));
    for (name, quantile) in [("handshake_p50_ms", 0.5), ("handshake_p99_ms", 0.99), ("handshake_max_ms", 1.0)]
    {
        figures.add(name, middle(&|back| milliseconds(back.handshakes.quantile(quantile))));
    }
    figures.add("connects_per_second", middle(&|back| back.ready as f64 / back.took.as_secs_f64()));
    figures.add("failed_attempts", storms.iter().map(|back| back.failures).sum::<usize>() as f64);
    figures.runs = storms
        .iter()
        .map(|back| json!({ "all_back_ms": took(back), "failed_attempts": back.failures }))
        .collect();
    figures
}

/// Runs it to its end.
fn restart(command: &str) -> Result<(), BenchError> {
    let status = Command::new("sh").args(["-c", command]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(BenchError::StormCommand(format!("ended with {status}"))),
        Err(error) => Err(BenchError::StormCommand(format!("cannot be started: {error}"))),
    }
}

fn until_accepting(addresses: impl Iterator<Item = SocketAddr>, timeout: Duration) -> Result<(), BenchError> {
    let deadline = Moment::now().plus(timeout);
    for address in addresses {
        while TcpStream::connect_timeout(&address, PROBE_TIMEOUT).is_err() {
            if deadline.is_over() {
                return Err(BenchError::StormCommand(format!("left nobody who accepts on {address}")));
            }
            sleep(PROBE_EVERY);
        }
    }
    Ok(())
}
