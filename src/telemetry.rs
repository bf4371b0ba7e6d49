//! Logs: to standard error, as text for people or as one JSON object a line for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogSettings};

/// Sends this process' logs to standard error. An error if the process has a subscriber already.
pub fn init(settings: &LogSettings) -> Result<(), TryInitError> {
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    // actix-server says at info what it does with workers and sockets; actix-http at error what is wrong with a request,
    // so anyone could fill the log. Directives in the settings come later and win.
    let filter = EnvFilter::new(format!("actix_server=warn,actix_http=off,{}", settings.level));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        logs.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().try_init()
    } else {
        logs.with_ansi(std::io::stderr().is_terminal()).finish().try_init()
    }
}
