//! `serve`: runs a node.

use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::{ConfigFile, failed};
use crate::app::Application;
use crate::config::Settings;
use crate::telemetry;

pub(super) fn run(file: &ConfigFile) -> Result<(), ExitCode> {
    let settings = file.load_with_files()?.settings;
    let running = || -> anyhow::Result<()> {
        telemetry::init(&settings.log)?;
        actix_web::rt::System::new().block_on(serve(settings))
    };
    running().map_err(|error| failed(&error))
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let signals =
        Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
    let application = Application::build(settings)?;
    if let Some(key) = application.made_key() {
        print_first_steps(application.public_address(), application.has_tls(), key);
    }
    application.run_until_stopped(first_of(signals)).await
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Resolves with the first signal. The second one ends the process, whatever it is doing.
async fn first_of(mut signals: Signals) {
    // Outside the macro: what a log line that is not wanted would await is not awaited.
    let signal = signals.next().await;
    info!(signal, "stopping; a second signal stops at once");
    actix_web::rt::spawn(async move {
        let signal = signals.next().await;
        warn!(signal, "stopped at once, sockets are dropped");
        #[expect(clippy::disallowed_methods, reason = "to skip the drain is what a second signal asks for")]
        std::process::exit(1);
    });
}

/// For whom starts it for the first time: what to paste next. The key is printed here and nowhere else.
fn print_first_steps(address: SocketAddr, has_tls: bool, key: &str) {
    let host = match address.ip() {
        ip if ip.is_unspecified() => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    };
    let (ws, http) = if has_tls { ("wss", "https") } else { ("ws", "http") };
    println!(
        "refresh-relay runs on its embedded memory broker: one node, nothing kept after it stops.\n\
         \n\
         Apps connect to\n\
         \n    {ws}://{host}/party/featurevisor\n\
         \n\
         and CI tells them to fetch their datafile again with (this key is for this run only)\n\
         \n    curl --fail-with-body -X POST -H 'Authorization: Bearer {key}' {http}://{host}/v1/rooms/featurevisor/refresh\n"
    );
    if has_tls {
        println!("Both with a name of the certificate in place of {host}, if that is none.\n");
    }
}
