//! The soak: nodes, clients and a publisher run while Redis, the network, nodes and clients fail, and it is checked
//! again and again that nobody missed anything.
//!
//! For every publication that was answered 2xx and every client connected before it and still there some seconds after
//! the faults ended, the client was told to refresh at or after that publication. A client that was away for a short
//! time was told on its return. Besides: nothing is answered 2xx while Redis is out of reach, what was answered for is
//! stored, counts never exceed the sockets there are, every link comes back, and no node panics or ends by itself.
//!
//! ```sh
//! cargo test --test soak                                   # fixed seeds, about a minute
//! cargo test --release --test soak -- --seed 7 --minutes 60
//! cargo test --test soak -- --seed 7 --topology sentinel   # or cluster
//! ```
//!
//! The seed decides on the faults, their times and what is published when; the same seed gives the same ones again.

#![allow(unreachable_pub, reason = "nobody is outside of a test binary")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "what the test itself needs must be there")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it reports on the terminal")]
#![allow(clippy::match_wild_err_arm, reason = "the only error of a timeout is that the time is over")]
#![allow(
    clippy::case_sensitive_file_extension_comparisons,
    clippy::cast_possible_truncation,
    reason = "shared code"
)]

mod check;
mod clock;
mod crowd;
mod faults;
mod ledger;
mod node;
mod plan;
mod proxy;
mod publisher;
mod random;
mod report;
mod run;
mod servers;
mod topologies;
mod world;

#[allow(dead_code, reason = "shared with the black-box suite, which uses all of it")]
#[path = "../suite/support/http.rs"]
mod http;
#[allow(dead_code, reason = "shared with the black-box suite, which uses all of it")]
#[path = "../suite/support/ports.rs"]
mod ports;

use plan::{Size, Topology};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: soak [--seed N]... [--topology standalone|sentinel|cluster] [--minutes N | --seconds N] \
                     [--nodes N] [--clients N] [--settle SECONDS]";

/// What is run when no seed is given: long enough for a handful of faults each, all at the same time.
const SHORT: [(u64, Topology); 4] =
    [(1, Topology::Standalone), (2, Topology::Standalone), (3, Topology::Sentinel), (4, Topology::Cluster)];
const SHORT_SECONDS: u64 = 55;

impl Topology {
    const ALL: [Self; 3] = [Self::Standalone, Self::Sentinel, Self::Cluster];

    pub fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Asked by tools that drive test binaries.
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    match sizes(&arguments) {
        Ok(sizes) => soak(sizes),
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

#[tokio::main]
async fn soak(sizes: Vec<Size>) -> ExitCode {
    let runs: Vec<_> = sizes.into_iter().map(|size| tokio::spawn(run::run(size))).collect();
    let (mut passed, mut failed) = (0, 0);
    for run in runs {
        match run.await {
            Ok(outcome) => {
                println!("\n{}", outcome.summary);
                for violation in outcome.findings.violations.iter().filter(|_| outcome.summary.is_empty()) {
                    println!("- {violation}");
                }
                if outcome.findings.violations.is_empty() { passed += 1 } else { failed += 1 }
            }
            Err(panic) => {
                println!("\nthe soak itself failed: {panic}");
                failed += 1;
            }
        }
    }
    println!("soak: {passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn sizes(arguments: &[String]) -> Result<Vec<Size>, String> {
    let mut size = Size {
        seed: 0,
        topology: Topology::Standalone,
        lasts: Duration::from_secs(SHORT_SECONDS),
        nodes: 3,
        clients: 96,
        settle: Duration::from_secs(8),
    };
    let (mut seeds, mut topology) = (Vec::new(), None);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{word} {value}: not a number"));
        let count = || value.parse::<usize>().map_err(|_| format!("{word} {value}: not a number"));
        match word.as_str() {
            "--seed" => seeds.push(number()?),
            "--minutes" => size.lasts = Duration::from_secs(60 * number()?),
            "--seconds" => size.lasts = Duration::from_secs(number()?),
            "--nodes" => size.nodes = count()?.max(2),
            "--clients" => size.clients = count()?.max(1),
            "--settle" => size.settle = Duration::from_secs(number()?),
            "--topology" => {
                let known = Topology::ALL.into_iter().find(|topology| topology.name() == value);
                topology = Some(known.ok_or_else(|| format!("{value}: no such topology"))?);
            }
            _ => return Err(format!("{word}: no such option")),
        }
    }
    if seeds.is_empty() {
        let short = SHORT.iter().filter(|(_, known)| topology.is_none_or(|wanted| wanted == *known));
        return Ok(short.map(|(seed, topology)| Size { seed: *seed, topology: *topology, ..size }).collect());
    }
    let topology = topology.unwrap_or(Topology::Standalone);
    Ok(seeds.into_iter().map(|seed| Size { seed, topology, ..size }).collect())
}
