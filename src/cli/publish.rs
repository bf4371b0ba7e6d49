//! `publish`: what CI does with curl, for images without one.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::trust::Trust;

/// Beyond the wait that was asked for.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct Publish {
    /// The relay, such as <https://relay.example.com>.
    #[arg(long)]
    url: String,
    #[arg(long)]
    room: String,
    /// Holds the publish key; - reads it from standard input.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Seconds to wait for confirmations, 10 at most.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// What the apps are told beside it.
    #[arg(long)]
    revision: Option<String>,
    #[command(flatten)]
    trust: Trust,
}

impl Publish {
    pub fn run(&self) -> anyhow::Result<()> {
        let key = read_key(&self.key_file)?;
        let relay = Relay { url: &self.url, key: &key, trust: &self.trust };
        let answer = relay.publish(&self.room, self.wait, self.revision.as_deref())?;
        println!("{}", answer.body);
        ensure!(answer.confirmed, "published, but not every live node confirmed in time");
        Ok(())
    }
}

pub fn read_key(path: &Path) -> anyhow::Result<String> {
    let mut key = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut key).context("cannot read the key from standard input")?;
    } else {
        key = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the key file {}", path.display()))?;
    }
    ensure!(!key.trim_end().is_empty(), "the key is empty");
    Ok(key.trim_end().to_owned())
}

pub struct Answer {
    /// Whether every live node confirmed.
    pub confirmed: bool,
    pub body: String,
}

/// A relay to publish to.
pub struct Relay<'a> {
    pub url: &'a str,
    pub key: &'a str,
    pub trust: &'a Trust,
}

impl Relay<'_> {
    /// Publishes; an error unless it was stored and sent.
    pub fn publish(&self, room: &str, wait: Option<u64>, revision: Option<&str>) -> anyhow::Result<Answer> {
        let room = utf8_percent_encode(room, NON_ALPHANUMERIC);
        let query = wait.map_or_else(String::new, |wait| format!("?wait={wait}"));
        let path = format!("{}/v1/rooms/{room}/refresh{query}", self.url.trim_end_matches('/'));
        let body = revision.map_or_else(|| json!({}), |revision| json!({ "revision": revision }));
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT + Duration::from_secs(wait.unwrap_or(0))))
            .http_status_as_error(false)
            .tls_config(self.trust.for_http()?)
            .build()
            .into();
        let request = agent.post(&path).header("authorization", format!("Bearer {}", self.key));
        let mut answer = request.send_json(&body).with_context(|| format!("no answer from {path}"))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string().unwrap_or_default();
        if !(status == 200 || status == 202) {
            let problem: Value = serde_json::from_str(&body).unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or(&body);
            bail!("{path} answered {status}: {detail}");
        }
        Ok(Answer { confirmed: status == 200, body })
    }
}
