//! `bench`: arguments of the load generator, and what it prints.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::publish::read_key;
use crate::bench::{
    self, Load, Publishing, REFRESH_MARKER, SCENARIOS, Scenario, Sockets, Target, TargetError, endpoint,
    header, ping_reply,
};

/// Open files that a generator process keeps for other things than sockets.
const RESERVED_FILES: u64 = 64;
/// So many sockets of one source address leave most of its ports to connections that have just ended.
const SOCKETS_PER_SOURCE: usize = 5000;
const SOURCES: u8 = 4;
/// From so many sockets on a second process is worth its start.
const MANY: usize = 1000;

/// What the first argument asks for: a scenario, or the work of a process that the bench starts itself.
#[derive(Clone, Copy)]
enum What {
    Scenario(&'static Scenario),
    Generator,
    FloorServer,
}

const GENERATOR: &str = "generator";
const FLOOR_SERVER: &str = "floor-server";

fn what() -> impl TypedValueParser<Value = What> {
    let named = SCENARIOS.iter().map(|scenario| PossibleValue::new(scenario.name).help(scenario.help));
    let own = [GENERATOR, FLOOR_SERVER].map(|name| PossibleValue::new(name).hide(true));
    PossibleValuesParser::new(named.chain(own)).try_map(|name| match name.as_str() {
        GENERATOR => Ok(What::Generator),
        FLOOR_SERVER => Ok(What::FloorServer),
        name => SCENARIOS
            .iter()
            .find(|scenario| scenario.name == name)
            .map(|scenario| What::Scenario(scenario))
            .ok_or_else(|| format!("there is no scenario {name}")),
    })
}

/// Loads a WebSocket server, this relay or another, and measures it.
///
/// For this relay name --url, --key-file and --room. For another server say where to connect (--ws-url), how to publish
/// (--publish-url and what belongs to it) and what marks a delivery. Only ws:// and http://: TLS is not measured.
/// Each scenario that counts deliveries also runs against the built-in floor, and gives its figures as ratios to it.
#[derive(Args)]
pub struct Bench {
    #[arg(value_parser = what(), value_name = "SCENARIO")]
    scenario: What,
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    load: LoadArguments,
    /// A process of the server, with all its children; once for each. Gives CPU and memory.
    #[arg(long, value_name = "PID", help_heading = "Measuring")]
    server_pid: Vec<u32>,
    /// The CPUs that the server runs on, as `taskset -c` takes them: the floor is put there too.
    #[arg(long, value_name = "LIST", help_heading = "Measuring")]
    server_cpus: Option<String>,
    /// Threads of the floor; by default one for each of --server-cpus, or one.
    #[arg(long, value_name = "N", help_heading = "Measuring")]
    floor_threads: Option<NonZeroUsize>,
    /// Do not run the floor beside it.
    #[arg(long, help_heading = "Measuring")]
    no_floor: bool,
    /// Run the floor beside it: the default.
    #[arg(long, conflicts_with = "no_floor", help_heading = "Measuring")]
    floor: bool,
    /// Write the result there too; - is standard output, in place of the table.
    #[arg(long, value_name = "FILE", help_heading = "Measuring")]
    json: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "Target")]
struct TargetArguments {
    /// A node of this relay, such as <http://127.0.0.1:8080>; once for each node.
    #[arg(long)]
    url: Vec<String>,
    /// Holds the publish key of this relay; - reads it from standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The room; the scenario `rooms` adds a number to it. {room} stands for it in addresses and texts.
    #[arg(long, default_value = "bench")]
    room: String,
    /// Where to connect, such as <ws://127.0.0.1:8000/connection>; sockets are spread over all.
    #[arg(long, value_name = "URL")]
    ws_url: Vec<String>,
    /// Where to publish; publishes go to them in turn. May hold what --publish-body may.
    // Help texts cannot name the placeholder of the number as it is written: clap takes it for a line break.
    #[arg(long, value_name = "URL")]
    publish_url: Vec<String>,
    /// A header of each publish; once for each.
    #[arg(long, value_name = "NAME: VALUE")]
    publish_header: Vec<String>,
    /// The method of each publish.
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    publish_method: String,
    /// The body of each publish. In braces, n stands for the publish's number, room and payload for what they say.
    #[arg(long, value_name = "TEXT")]
    publish_body: Option<String>,
    /// A header of each handshake; once for each.
    #[arg(long, value_name = "NAME: VALUE")]
    connect_header: Vec<String>,
    /// The WebSocket subprotocol to ask for.
    #[arg(long, value_name = "NAME")]
    subprotocol: Option<String>,
    /// A text to send once connected; once for each, in order.
    #[arg(long, value_name = "TEXT")]
    send: Vec<String>,
    /// A socket is ready when a frame with this has come; without it, after the handshake.
    #[arg(long, value_name = "TEXT")]
    ready_marker: Option<String>,
    /// What marks a delivery: any frame that holds it.
    #[arg(long, value_name = "TEXT", default_value = REFRESH_MARKER)]
    delivery_marker: String,
    /// What stands right before the publish's number in a delivery; without it deliveries are counted in their order.
    #[arg(long, value_name = "TEXT")]
    sequence_marker: Option<String>,
    /// Answer a text frame that is exactly PING by REPLY, such as 2=3 for Engine.IO; once for each.
    #[arg(long, value_name = "PING=REPLY")]
    ping_reply: Vec<String>,
}

#[derive(Args)]
#[command(next_help_heading = "Load")]
struct LoadArguments {
    /// Sockets to open.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    connections: usize,
    /// Processes of the generator, one thread each; by default what the sockets and the CPUs ask for.
    #[arg(long, value_name = "N")]
    processes: Option<usize>,
    /// Connect to a loopback address from so many of 127.0.0.1, 127.0.0.2, ...
    #[arg(long, value_name = "N")]
    sources: Option<u8>,
    /// How long to hold, to publish or to broadcast.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    duration: f64,
    /// Publishes per second; for `churn` arrivals per second.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// How many broadcasts, or storms.
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeat: usize,
    /// How many floods.
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: usize,
    /// Rooms that sockets and publishes are spread over.
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: usize,
    /// How many bytes the placeholder payload stands for; this relay takes up to 110 in a revision.
    #[arg(long, value_name = "N", default_value_t = 0)]
    payload_bytes: usize,
    /// Connects per second; 0 = as fast as they go.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0)]
    connect_rate: f64,
    /// Handshakes that may be under way at once.
    #[arg(long, value_name = "N", default_value_t = 256)]
    in_flight: usize,
    /// Connections that publish at the same time.
    #[arg(long, value_name = "N")]
    publishers: Option<usize>,
    /// Publishes per second while sockets come and go.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5.0)]
    publish_rate: f64,
    /// How long the last delivery may take, and all handshakes.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    timeout: f64,
    /// Sockets of a hundred that never read.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    stuck_percent: f64,
    /// Restarts the server: sockets come back by themselves, each 20 ms after it was refused. --timeout counts from its
    /// start; what it starts must outlive it.
    #[arg(long, value_name = "COMMAND")]
    storm_command: Option<String>,
}

impl Bench {
    pub fn run(&self) -> anyhow::Result<()> {
        let scenario = match self.scenario {
            What::Generator => return Ok(bench::run_generator()?),
            What::FloorServer => return Ok(bench::serve_floor(self.floor_threads)?),
            What::Scenario(scenario) => scenario,
        };
        let target = scenario.run.map(|_| self.target.target(scenario)).transpose()?.flatten();
        let bench = bench::Bench {
            scenario,
            target,
            load: self.load.load(&self.target.room)?,
            server_pids: self.server_pid.clone(),
            server_cpus: self.server_cpus.clone(),
            floor_threads: self.floor_threads,
            with_floor: self.floor || !self.no_floor,
        };
        let report = bench.run()?;
        self.print(&report)?;
        match &report.figures.shortfall {
            Some(shortfall) => bail!("{shortfall}"),
            None => Ok(()),
        }
    }

    fn print(&self, report: &bench::Report) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(&report.json())?;
        match &self.json {
            Some(path) if path.as_os_str() == "-" => println!("{json}"),
            Some(path) => {
                print!("{}", report.table());
                std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => print!("{}", report.table()),
        }
        Ok(())
    }
}

impl TargetArguments {
    /// None when nothing says where to connect.
    fn target(&self, scenario: &Scenario) -> anyhow::Result<Option<Target>> {
        let mut target = Target {
            sockets: Sockets {
                endpoints: each(&self.ws_url, |url| endpoint(url, "ws"))?,
                headers: each(&self.connect_header, header)?,
                subprotocol: self.subprotocol.clone(),
                send: self.send.clone(),
                ready_marker: self.ready_marker.clone(),
                delivery_marker: self.delivery_marker.clone(),
                sequence_marker: self.sequence_marker.clone(),
                ping_replies: each(&self.ping_reply, ping_reply)?,
            },
            publishing: Publishing {
                endpoints: each(&self.publish_url, |url| endpoint(url, "http"))?,
                method: self.publish_method.clone(),
                headers: each(&self.publish_header, header)?,
                body: self.publish_body.clone().unwrap_or_default(),
            },
        };
        self.add_relay(&mut target, scenario)?;
        Ok((!target.sockets.endpoints.is_empty()).then_some(target))
    }

    /// What --url stands for.
    fn add_relay(&self, target: &mut Target, scenario: &Scenario) -> anyhow::Result<()> {
        if self.url.is_empty() {
            return Ok(());
        }
        let rooms_are_plain = utf8_percent_encode(&self.room, NON_ALPHANUMERIC).to_string() == self.room;
        ensure!(
            rooms_are_plain || self.room.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)),
            "--room may hold letters, digits, '-', '_' and '.' only where --url is given"
        );
        let Target { sockets, publishing } = target;
        for url in &self.url {
            let base = url.trim_end_matches('/');
            publishing.endpoints.push(endpoint(&format!("{base}/v1/rooms/{{room}}/refresh"), "http")?);
            let base = base.strip_prefix("http").map_or_else(|| base.to_owned(), |rest| format!("ws{rest}"));
            sockets.endpoints.push(endpoint(&format!("{base}/party/{{room}}"), "ws")?);
        }
        if let Some(path) = &self.key_file {
            publishing.headers.push(("Authorization".to_owned(), format!("Bearer {}", read_key(path)?)));
        }
        if self.publish_body.is_none() && scenario.wants_numbers {
            publishing.headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
            "{\"revision\":\"{n}-{payload}\"}".clone_into(&mut publishing.body);
            sockets.sequence_marker.get_or_insert_with(|| "\"revision\":\"".to_owned());
        }
        Ok(())
    }
}

fn each<T>(texts: &[String], read: impl Fn(&str) -> Result<T, TargetError>) -> Result<Vec<T>, TargetError> {
    texts.iter().map(|text| read(text)).collect()
}

impl LoadArguments {
    fn load(&self, room: &str) -> anyhow::Result<Load> {
        ensure!(self.connections > 0, "--connections must be at least 1");
        ensure!(self.rate.is_none_or(|rate| rate > 0.0 && rate.is_finite()), "--rate must be above 0");
        ensure!(self.publish_rate > 0.0 && self.publish_rate.is_finite(), "--publish-rate must be above 0");
        ensure!(self.repeat > 0, "--repeat must be at least 1");
        ensure!(self.rounds > 0, "--rounds must be at least 1");
        ensure!((0.0..=100.0).contains(&self.stuck_percent), "--stuck-percent is between 0 and 100");
        let files = rlimit::increase_nofile_limit(u64::MAX).context("cannot read the limit of open files")?;
        let sockets_each = usize::try_from(files.saturating_sub(RESERVED_FILES).max(1))?;
        let needed = self.connections.div_ceil(sockets_each);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let useful = if self.connections >= MANY { cores.min(2) } else { 1 };
        let processes = self.processes.unwrap_or_else(|| needed.max(useful));
        ensure!(
            processes >= needed,
            "{} sockets are too many for {processes} processes with {files} open files each: raise them with \
             `ulimit -n`, or give --processes {needed}",
            self.connections
        );
        let sources = u8::try_from(self.connections.div_ceil(SOCKETS_PER_SOURCE)).unwrap_or(u8::MAX);
        Ok(Load {
            connections: self.connections,
            processes,
            sources: self.sources.unwrap_or(sources.max(SOURCES)),
            duration: Duration::try_from_secs_f64(self.duration).context("--duration is no time")?,
            rate: self.rate,
            repeat: self.repeat,
            rounds: self.rounds,
            rooms: self.rooms,
            room: room.to_owned(),
            payload_bytes: self.payload_bytes,
            connect_rate: self.connect_rate.max(0.0),
            in_flight: self.in_flight.max(1),
            publishers: self.publishers,
            publish_rate: self.publish_rate,
            timeout: Duration::try_from_secs_f64(self.timeout).context("--timeout is no time")?,
            stuck_percent: self.stuck_percent,
            storm_command: self.storm_command.clone(),
        })
    }
}
