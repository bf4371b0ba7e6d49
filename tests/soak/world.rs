//! All that runs: Redis, nodes, proxies, clients; and what happened to them.

use super::clock::{Clock, seconds};
use super::crowd::Crowd;
use super::ledger::Ledger;
use super::node::{KEY, Slot};
use super::plan::{Size, Topology};
use super::proxy::Proxy;
use super::random::Random;
use super::servers::Servers;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A fault as it was carried out.
#[derive(Debug, Clone)]
pub struct Strike {
    pub what: String,
    pub name: &'static str,
    pub loses_data: bool,
    pub from: Duration,
    pub to: Option<Duration>,
    pub trouble: Option<String>,
}

pub struct World {
    pub clock: Clock,
    pub settle: Duration,
    pub servers: Servers,
    /// One before each node; none where nodes find the servers by themselves.
    pub proxies: Vec<Proxy>,
    pub slots: Arc<Vec<Slot>>,
    pub crowd: Crowd,
    pub ledger: Ledger,
    pub strikes: Mutex<Vec<Strike>>,
}

/// How much of each node's log a violation shows.
const SHOWN_LINES: usize = 25;

const READY_WITHIN: Duration = Duration::from_secs(30);

impl World {
    pub async fn start(size: &Size) -> Result<Self, String> {
        let servers = Servers::start(size.topology).await?;
        let clock = Clock::start();
        let mut proxies = Vec::new();
        let mut slots = Vec::new();
        for number in 0..size.nodes {
            let mut settings = settings();
            if size.topology == Topology::Standalone {
                let proxy = Proxy::to(servers.data[0].port).await;
                settings.push(("redis.url".into(), format!("redis://{}", proxy.address)));
                proxies.push(proxy);
            } else {
                settings.extend(found_by_themselves(&servers));
            }
            slots.push(Slot::new(number, clock, &settings));
        }
        for slot in &slots {
            slot.start().await?;
        }
        let slots = Arc::new(slots);
        let crowd = Crowd::gather(size.clients, &slots, clock, &mut Random::new(!size.seed));
        let world = Self {
            clock,
            settle: size.settle,
            servers,
            proxies,
            slots,
            crowd,
            ledger: Ledger::default(),
            strikes: Mutex::default(),
        };
        let deadline = Instant::now() + READY_WITHIN;
        while world.crowd.connected() < size.clients || !world.all_linked().await {
            if Instant::now() > deadline {
                return Err(format!(
                    "only {} clients connected, or a node not linked",
                    world.crowd.connected()
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(world)
    }

    async fn all_linked(&self) -> bool {
        for slot in self.slots.iter() {
            if !slot.broker().await.is_ok_and(|broker| broker["link"] == "up") {
                return false;
            }
        }
        true
    }

    pub async fn start_node(&self, node: usize) -> Result<(), String> {
        self.slots[node].start().await
    }

    /// Whether Redis was made to forget something at some time between.
    pub fn lost_data(&self, from: Duration, to: Duration) -> bool {
        let strikes = self.strikes.lock().expect("not poisoned");
        let overlaps = |strike: &Strike| strike.from <= to && strike.to.is_none_or(|end| end >= from);
        strikes.iter().any(|strike| strike.loses_data && overlaps(strike))
    }

    /// What a node printed last.
    pub fn lines(&self, node: usize) -> String {
        let seen = self.slots[node].seen();
        // Each publish leaves a line, which the publications tell better.
        let told =
            |line: &str| !line.contains(r#""message":"published""#) && !line.contains(r#""not published""#);
        let lines: Vec<_> = seen.lines.iter().filter(|(_, line)| told(line)).collect();
        let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].iter();
        let shown: Vec<_> = shown.map(|(at, line)| format!("    {} {line}", seconds(*at))).collect();
        format!("  node {node} printed last:\n{}", shown.join("\n"))
    }
}

fn settings() -> Vec<(String, String)> {
    let settings = [
        ("server.bind", "127.0.0.1:0"),
        ("admin.bind", "127.0.0.1:0"),
        ("server.workers", "2"),
        ("publish.secret", KEY),
        ("log.format", "json"),
        ("drain.notice_seconds", "1"),
        ("drain.spread_seconds", "2"),
    ];
    settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn found_by_themselves(servers: &Servers) -> Vec<(String, String)> {
    let (mode, asked) = match servers.topology {
        Topology::Sentinel => ("sentinel", &servers.sentinels),
        _ => ("cluster", &servers.data),
    };
    let urls: Vec<_> = asked.iter().map(|server| format!("redis://127.0.0.1:{}", server.port)).collect();
    vec![("redis.mode".into(), mode.into()), ("redis.urls".into(), urls.join(","))]
}
