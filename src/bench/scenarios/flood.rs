//! `flood`: far more publishes into one room than its sockets can be told of; memory must stay flat, and the last state
//! must be everywhere soon after the last publish.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::BenchError;
use super::super::clock::sleep;
use super::super::processes::Processes;
use super::super::report::Figures;
use super::super::session::{Session, Setting};
use super::{at_rate, milliseconds, per_delivery};

/// Publishes per second where none are asked for.
const RATE: f64 = 5000.0;
/// An answer that waits for the sockets takes as long as a broadcast: so many under way reach the rate all the same.
const PUBLISHERS: usize = 512;
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

pub fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    let mut session = Session::start(setting, PUBLISHERS)?;
    session.open_all()?;
    session.publish(1, Duration::ZERO, Duration::from_millis(20))?.require()?;
    session.progress.say("flooding");
    let (publishes, interval) = at_rate(session.load.rate.unwrap_or(RATE), session.load.duration);
    let server = session.server.clone();
    let before = server.as_ref().map(Processes::resident_roughly).transpose()?;
    let (flooded, memory) =
        sampled(server.as_ref(), || session.measured(|session| session.flood(publishes, interval)));
    let (flood, cpu) = flooded?;
    let outcome = &flood.outcome;
    let mut figures = Figures::default();
    figures.add("sockets", session.load.connections as f64);
    figures.add("publishes", flood.flooding.answered as f64 + 1.0);
    let took = flood.flooding.last_answer.unwrap_or(flood.last).since(outcome.schedule.first).as_secs_f64();
    figures.add("publishes_per_second", flood.flooding.answered as f64 / took);
    figures.add("deliveries", outcome.count as f64);
    figures.add("deliveries_per_second", outcome.count as f64 / took);
    figures.add("answer_p50_ms", milliseconds(flood.flooding.answers.quantile(0.5)));
    figures.add("answer_p99_ms", milliseconds(flood.flooding.answers.quantile(0.99)));
    let everywhere = outcome.completed.map(|completed| milliseconds(completed.since(flood.last)));
    figures.add_some("last_state_everywhere_ms", everywhere);
    figures.add_some("cpu_us_per_delivery", per_delivery(cpu, outcome.count));
    if let (Some(before), Some(server)) = (before, &server) {
        let (least, most) = memory;
        figures.add("rss_before_bytes", before as f64);
        figures.add("rss_min_bytes", least.min(before) as f64);
        figures.add("rss_max_bytes", most as f64);
        figures.add("rss_after_bytes", server.resident_roughly()? as f64);
        figures.memory_source = Some("status");
    }
    figures.shortfall = outcome.shortfall();
    Ok(session.finish(figures))
}

/// Does that, and reads the server's memory all the while: its least and its most.
fn sampled<T>(server: Option<&Processes>, work: impl FnOnce() -> T) -> (T, (u64, u64)) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let (mut least, mut most) = (u64::MAX, 0);
            while let Some(server) = server.filter(|_| !over.load(Ordering::Relaxed)) {
                // A server that is gone is noticed by its sockets.
                let now = server.resident_roughly().unwrap_or(0);
                (least, most) = (now.min(least), now.max(most));
                sleep(SAMPLE_EVERY);
            }
            (least, most)
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        (result, sampler.join().unwrap_or((0, 0)))
    })
}
