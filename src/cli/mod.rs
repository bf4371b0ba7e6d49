//! The command line: one file per subcommand.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to a terminal")]

mod bench;
mod check_config;
mod gen_key;
mod healthcheck;
mod publish;
mod serve;
mod trust;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::trust::Trust;
use crate::app::check_files;
use crate::config::{self, BadSettings, CONFIG_VARIABLE, Loaded};

/// The settings are bad (`EX_CONFIG` of `sysexits.h`). 1 is a failure while running; wrong usage is clap's 2.
const BAD_SETTINGS: u8 = 78;

/// Tells running apps to fetch their feature-flag datafile again.
///
/// Apps connect by WebSocket; CI posts a refresh; every node tells its apps. Settings come from a file and from the
/// environment (RELAY_...); `check-config` prints them. Without any, a node runs on its embedded memory broker.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a node until SIGTERM or SIGINT; a second signal ends it at once.
    Serve,
    /// Prints the settings in force as TOML, secrets hidden; or every problem with them.
    CheckConfig,
    /// Succeeds if the node's admin listener answers that it is ready.
    Healthcheck {
        /// The admin listener, such as <http://127.0.0.1:9090>; by default where the settings put it.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        trust: Trust,
    },
    /// Publishes a refresh; succeeds if every live node confirmed that its apps were told.
    Publish(publish::Publish),
    /// Makes a publish key: the secret for CI, and the entry for the keys file.
    GenKey(gen_key::GenKey),
    /// Connects as an app does and prints what it is told.
    Watch(watch::Watch),
    /// Loads a WebSocket server, this relay or another, and measures it.
    Bench(Box<bench::Bench>),
}

#[derive(Args)]
struct ConfigFile {
    /// Settings in TOML; the environment variable `RELAY_CONFIG` names one too.
    #[arg(long = "config", value_name = "FILE", global = true)]
    path: Option<PathBuf>,
}

impl ConfigFile {
    /// The settings in force, or the exit code after every problem was printed.
    fn load(&self) -> Result<Loaded, ExitCode> {
        let from_environment =
            || std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = self.path.clone().or_else(from_environment);
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        config::load(path.as_deref().map(Path::new), environment).map_err(|error| bad_settings(&error))
    }

    /// The same, the content of every file that the settings name looked at too.
    fn load_with_files(&self) -> Result<Loaded, ExitCode> {
        let loaded = self.load()?;
        check_files(&loaded.settings).map_err(|error| match error.downcast_ref() {
            Some(bad) => bad_settings(bad),
            None => failed(&error),
        })?;
        Ok(loaded)
    }
}

/// Parses the arguments and does what they say.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None | Some(Command::Serve) => serve::run(&cli.file),
        Some(Command::CheckConfig) => check_config::run(&cli.file),
        Some(Command::Healthcheck { url, trust }) => healthcheck::run(url, &trust, &cli.file),
        Some(Command::Publish(publish)) => publish.run().map_err(|error| failed(&error)),
        Some(Command::Bench(bench)) => bench.run().map_err(|error| failed(&error)),
        Some(Command::GenKey(gen_key)) => gen_key.run().map_err(|error| failed(&error)),
        Some(Command::Watch(watch)) => watch.run().map_err(|error| failed(&error)),
    };
    done.err().unwrap_or(ExitCode::SUCCESS)
}

fn bad_settings(error: &BadSettings) -> ExitCode {
    eprintln!("refresh-relay: {error}");
    ExitCode::from(BAD_SETTINGS)
}

/// Says why something failed while running.
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("refresh-relay: {error:#}");
    ExitCode::FAILURE
}
