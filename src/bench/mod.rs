//! A load generator that measures WebSocket servers from outside, this relay as any other.
//!
//! It must be far cheaper than what it measures: raw non-blocking sockets, one epoll loop a process (`generator`), nothing
//! allocated for a delivery. The coordinator (`session`) tells those processes what to do, publishes over connections of its
//! own, and reads what the server's processes cost. Latencies count from the intended start, and histograms are merged, never
//! averaged. The `floor` is what bare writes cost on the same machine in the same run; figures are given as ratios to it.
//!
//! Nothing here knows the relay: a server is what [`target::Target`] says of it. Only `cli` calls it.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures are counts and times far below 2^52, told with a few digits"
)]

mod churn;
mod clock;
mod connection;
mod counted;
mod crew;
mod floor;
mod frames;
mod generator;
mod handshake;
mod histogram;
mod load;
mod memory;
mod opening;
mod outcome;
mod processes;
mod progress;
mod protocol;
mod publisher;
mod report;
mod scenarios;
mod session;
mod spent;
mod target;
mod window;

pub use floor::{MARKER as REFRESH_MARKER, serve as serve_floor};
pub use generator::run as run_generator;
pub use load::Load;
pub use report::Report;
pub use scenarios::{ALL as SCENARIOS, Scenario};
pub use target::{Publishing, Sockets, Target, TargetError, endpoint, header, ping_reply};

use std::num::NonZeroUsize;

use floor::FloorServer;
use processes::Processes;
use progress::Progress;
use scenarios::OnFloor;
use serde_json::json;
use session::Setting;

/// One run of the bench.
pub struct Bench {
    pub scenario: &'static Scenario,
    /// None for a scenario that needs no server.
    pub target: Option<Target>,
    pub load: Load,
    /// The server's processes; their children count too.
    pub server_pids: Vec<u32>,
    /// Where the floor's process runs, as `taskset -c` takes it.
    pub server_cpus: Option<String>,
    /// None: as many as there are `server_cpus`, or one.
    pub floor_threads: Option<NonZeroUsize>,
    /// Whether to run the floor beside the target.
    pub with_floor: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{missing} of {wanted} sockets did not come about: {reason}")]
    NotConnected { missing: usize, wanted: usize, reason: String },
    #[error("{0}")]
    Undelivered(String),
    #[error("the scenario {0} measures the server's processes: name one with --server-pid")]
    NeedsServer(&'static str),
    #[error("the scenario {0} needs an address to connect to: --url, or --ws-url")]
    NeedsTarget(&'static str),
    #[error("the scenario {0} publishes: say where with --url, or --publish-url")]
    NeedsPublish(&'static str),
    #[error("the scenario {0} publishes to one room: leave out --rooms")]
    OneRoom(&'static str),
    #[error(
        "only {answered} of {wanted} publishes were answered in time: the server does not keep up with that --rate, or \
         more --publishers are needed"
    )]
    TooSlow { answered: u64, wanted: u64 },
    #[error("the command of --storm-command {0}")]
    StormCommand(String),
    #[error(
        "the floor server cannot be started ({0}); --server-cpus needs the program taskset, --no-floor does without"
    )]
    Floor(std::io::Error),
    #[error(transparent)]
    Crew(#[from] crew::CrewError),
    #[error(transparent)]
    Publish(#[from] publisher::PublishError),
    #[error(transparent)]
    Process(#[from] processes::ProcessError),
    #[error(transparent)]
    Histogram(#[from] histogram::HistogramError),
}

impl Bench {
    pub fn run(&self) -> Result<Report, BenchError> {
        let progress = Progress::new();
        let scenario = self.scenario;
        if self.load.rooms > 1 && !scenario.takes_rooms {
            return Err(BenchError::OneRoom(scenario.name));
        }
        let (target, figures, floor) = match (scenario.run, &scenario.on_floor) {
            (Some(_), OnFloor::InTurns(run)) if self.with_floor => {
                let both = |target: &Setting<'_>| self.at_floor(&progress, |floor| run(target, floor));
                let (target, (figures, floor)) = self.at_target(&progress, both)?;
                (target, figures, Some(floor))
            }
            (Some(run), OnFloor::Behind(on_floor)) if self.with_floor => {
                let (target, figures) = self.at_target(&progress, run)?;
                (target, figures, Some(self.at_floor(&progress, on_floor)?))
            }
            (Some(run), _) => {
                let (target, figures) = self.at_target(&progress, run)?;
                (target, figures, None)
            }
            (None, OnFloor::Behind(on_floor)) => {
                ("bare writes".to_owned(), self.at_floor(&progress, on_floor)?, None)
            }
            (None, _) => return Err(BenchError::NeedsTarget(scenario.name)),
        };
        Ok(Report { scenario: scenario.name.to_owned(), target, settings: self.settings(), figures, floor })
    }

    /// What was found, and where.
    fn at_target<T>(
        &self,
        progress: &Progress,
        run: impl FnOnce(&Setting<'_>) -> Result<T, BenchError>,
    ) -> Result<(String, T), BenchError> {
        let name = self.scenario.name;
        let Some(target) = &self.target else { return Err(BenchError::NeedsTarget(name)) };
        if self.scenario.publishes && target.publishing.endpoints.is_empty() {
            return Err(BenchError::NeedsPublish(name));
        }
        let server = (!self.server_pids.is_empty()).then(|| Processes::new(self.server_pids.clone()));
        let server = server.transpose()?;
        let setting = Setting { target, load: &self.load, server, floor_threads: None, progress };
        let names: Vec<_> = target.sockets.endpoints.iter().map(|endpoint| endpoint.host.as_str()).collect();
        Ok((names.join(", "), run(&setting)?))
    }

    /// The same load on bare writes, in a process that is measured apart as a server's is.
    fn at_floor<T>(
        &self,
        progress: &Progress,
        run: impl FnOnce(&Setting<'_>) -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        let floor =
            FloorServer::start(self.server_cpus.as_deref(), self.floor_threads).map_err(BenchError::Floor)?;
        let target = floor.target();
        let server = Some(Processes::new(vec![floor.pid()])?);
        let load = Load { storm_command: None, rounds: 1, ..self.load.clone() };
        run(&Setting { target: &target, load: &load, server, floor_threads: Some(floor.threads()), progress })
    }

    fn settings(&self) -> serde_json::Value {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        json!({
            "load": self.load,
            "server_pids": self.server_pids,
            "server_cpus": self.server_cpus,
            "cores_of_the_bench": cores,
        })
    }
}
