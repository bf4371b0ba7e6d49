//! `healthcheck`: for images without a shell, and for compose.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::trust::Trust;
use super::{ConfigFile, failed};

const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn run(url: Option<String>, trust: &Trust, file: &ConfigFile) -> Result<(), ExitCode> {
    let url = match url {
        Some(url) => url,
        None => local_url(file)?,
    };
    let base = url.trim_end_matches('/');
    let url = format!("{}/readyz", base.trim_end_matches("/readyz"));
    check(&url, trust).map_err(|error| failed(&error))
}

/// The admin listener on this machine.
fn local_url(file: &ConfigFile) -> Result<String, ExitCode> {
    let mut address = file.load()?.settings.admin_bind;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(format!("http://{address}"))
}

fn check(url: &str, trust: &Trust) -> anyhow::Result<()> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .tls_config(trust.for_http()?)
        .build()
        .into();
    agent.get(url).call().with_context(|| format!("{url} does not answer that the node is ready"))?;
    Ok(())
}
