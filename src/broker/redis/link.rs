//! The link: subscriptions that are proven, and built again for as long as it takes.
//!
//! A subscriber can sit on a dead connection for hours, so a probe goes to this very node through Redis every
//! interval; one that is not back in time means the link is lost, whatever TCP says. A probe writes too: a master
//! that became a replica still carries messages but takes no publication. In a cluster every server with a share of
//! the rooms is subscribed to and probed, and losing one of them is losing the link. There is no last attempt.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::commands::Commands;
use super::keys::Bucket;
use super::message::Message;
use super::server::Server;
use super::subscription::{Channels, Subscription};
use super::topology::Topology;
use crate::backoff::{Backoff, jittered};
use crate::broker::{BrokerError, Continuity, Events, LinkState, NodeId, ServerStatus};
use crate::config::RedisSettings;
use crate::metrics::{Loss, Metrics};

/// A link that held this long was a good one; the next attempt need not wait.
const GOOD_LINK: Duration = Duration::from_secs(5);

/// How often it is asked whether the servers are still the ones: a link to an old master that was cut off from its
/// Sentinels looks healthy.
const TOPOLOGY_INTERVAL: Duration = Duration::from_secs(5);

/// How long a node that is about to stop waits for a link to the servers of now.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Causes told in one outage, at the most.
const MOST_COMPLAINTS: usize = 32;

/// How long the key of a probe lives, so that those of dead nodes do not stay.
const PROBE_LIFETIME: Duration = Duration::from_secs(60);

pub struct Link {
    node: NodeId,
    topology: Topology,
    channels: Channels,
    settings: RedisSettings,
    commands: Arc<Commands>,
    metrics: Arc<Metrics>,
    status: Mutex<Status>,
    next_probe: AtomicU64,
    /// Counts the links, and the losses.
    number: AtomicU64,
    suspected: Notify,
    /// Counts how often the servers were looked up while a link stood, and the losses.
    lookups: watch::Sender<u64>,
    /// What was complained of since the link was up.
    complaints: Mutex<HashSet<String>>,
}

#[derive(Debug, Clone)]
pub struct Status {
    pub state: LinkState,
    pub since: Instant,
    pub last_error: Option<String>,
    pub round_trip: Option<Duration>,
    pub probed_at: Option<Instant>,
    /// The servers of the latest link.
    pub servers: Vec<ServerStatus>,
}

/// Why a link ended.
struct Lost {
    cause: Loss,
    message: String,
}

/// What has to stand for the link to stand: a subscription to one server.
struct Leg {
    server: Server,
    subscription: Subscription,
    /// The number of the newest probe that came back.
    probes: watch::Receiver<u64>,
}

impl Link {
    pub fn new(
        node: NodeId,
        settings: RedisSettings,
        channels: Channels,
        commands: Arc<Commands>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let status = Status {
            state: LinkState::Starting,
            since: Instant::now(),
            last_error: None,
            round_trip: None,
            probed_at: None,
            servers: Vec::new(),
        };
        Self {
            node,
            topology: Topology::new(settings.clone()),
            channels,
            settings,
            commands,
            metrics,
            status: Mutex::new(status),
            next_probe: AtomicU64::new(1),
            number: AtomicU64::new(0),
            suspected: Notify::new(),
            lookups: watch::Sender::new(0),
            complaints: Mutex::default(),
        }
    }

    pub fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_up(&self) -> bool {
        self.status().state == LinkState::Up
    }

    /// Changes whenever a link begins or ends.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Has the servers looked up at once.
    pub fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// Has the servers looked up, and if they changed waits for the new link, [`SETTLE_TIMEOUT`] at most. Answers
    /// whether a link stands then.
    pub async fn settle(&self) -> bool {
        let settled = async {
            let mut lookups = self.lookups.subscribe();
            let before = *lookups.borrow_and_update();
            if self.is_up() {
                self.suspect();
                let _gone = lookups.wait_for(|lookups| *lookups > before).await;
            }
            while !self.is_up() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(SETTLE_TIMEOUT, settled).await.is_ok()
    }

    /// Links, watches, and links again. Never returns.
    pub async fn run(&self, events: Arc<dyn Events>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        loop {
            match self.connect(&events).await {
                Ok((legs, continuity)) => {
                    let since = Instant::now();
                    self.up(continuity);
                    events.on_link_up(continuity);
                    let lost = self.watch(&legs).await;
                    if since.elapsed() >= GOOD_LINK {
                        backoff.reset();
                    }
                    self.down(&lost);
                }
                Err(error) => self.failed(&error),
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Finds the servers, subscribes, sees a probe come back from each, and learns which processes they are.
    async fn connect(&self, events: &Arc<dyn Events>) -> Result<(Vec<Leg>, Continuity), BrokerError> {
        let servers = self.topology.find().await?;
        self.commands.use_servers(&servers)?;
        let legs = try_join_all(servers.into_iter().map(|server| self.open(server, events))).await?;
        try_join_all(legs.iter().map(|leg| self.probe(leg))).await?;
        let mut processes = Vec::new();
        for leg in &legs {
            processes.push(ServerStatus {
                address: leg.server.address.clone(),
                run_id: leg.subscription.run_id().await,
                buckets: leg.server.buckets.len(),
            });
        }
        let mut status = self.status();
        let same = status.servers == processes && processes.iter().all(|server| server.run_id.is_some());
        status.servers = processes;
        Ok((legs, if same { Continuity::SameServer } else { Continuity::Unknown }))
    }

    /// Subscribes to all channels of the server's buckets.
    async fn open(&self, server: Server, events: &Arc<dyn Events>) -> Result<Leg, BrokerError> {
        let keys = &self.commands.keys;
        let channels = |bucket: &Bucket| [keys.channel(*bucket), keys.inbox(*bucket, &self.node)];
        let channels: Vec<String> = server.buckets.iter().flat_map(channels).collect();
        let (came_back, probes) = watch::channel(0);
        let receive = receiver(Arc::clone(events), came_back);
        let limit = self.settings.connect_timeout + self.settings.command_timeout;
        let opening = Subscription::open(&server, self.channels, &channels, receive);
        let subscription = timeout(limit, opening).await.map_err(|_| BrokerError::Timeout)??;
        Ok(Leg { server, subscription, probes })
    }

    /// Probes until the link is lost.
    async fn watch(&self, legs: &[Leg]) -> Lost {
        let mut watched: FuturesUnordered<_> = legs.iter().map(|leg| self.watch_leg(leg)).collect();
        let moved = self.watch_topology(legs);
        tokio::select! {
            Some(lost) = watched.next() => lost,
            lost = moved => lost,
        }
    }

    async fn watch_leg(&self, leg: &Leg) -> Lost {
        let mut ticks = interval(self.settings.probe_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            let next_probe = async {
                ticks.tick().await;
                self.probe(leg).await
            };
            let error = tokio::select! {
                biased;
                reason = leg.subscription.ended() => {
                    return Lost { cause: Loss::Closed, message: reason.to_owned() };
                }
                probed = next_probe => match probed {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            let cause = if matches!(error, BrokerError::Timeout) { Loss::Probe } else { Loss::Error };
            return Lost { cause, message: format!("probe of {} failed: {error}", leg.server.address) };
        }
    }

    /// Resolves when the servers are not those of the link any more. That nobody answers is no reason to leave them.
    async fn watch_topology(&self, legs: &[Leg]) -> Lost {
        let shares = |server: &Server| (server.address.clone(), server.buckets.clone());
        let current: Vec<_> = legs.iter().map(|leg| shares(&leg.server)).collect();
        loop {
            let _suspected_or_due = timeout(jittered(TOPOLOGY_INTERVAL), self.suspected.notified()).await;
            let servers = self.topology.find().await;
            if let Ok(servers) = servers {
                let found: Vec<_> = servers.iter().map(shares).collect();
                if found != current {
                    let message = "other servers hold the rooms now, after a failover or a move of slots";
                    return Lost { cause: Loss::Error, message: message.to_owned() };
                }
            }
            self.lookups.send_modify(|lookups| *lookups += 1);
        }
    }

    /// Writes and sends a probe and waits for it to come back, all within the probe timeout. It goes by the connection
    /// of the subscription: in the pool it would wait behind a burst of publishes.
    async fn probe(&self, leg: &Leg) -> Result<(), BrokerError> {
        let number = self.next_probe.fetch_add(1, Ordering::Relaxed);
        let sent = Instant::now();
        let bucket = leg.server.buckets[0];
        let mut probes = leg.probes.clone();
        let round_trip = async {
            let keys = &self.commands.keys;
            let mut pipeline = redis::pipe();
            let write = pipeline.cmd("SET").arg(keys.probe(bucket, &self.node)).arg(number);
            write.arg("PX").arg(PROBE_LIFETIME.as_millis().to_string()).ignore();
            let message = Message::Probe { number }.encode()?;
            pipeline.cmd(self.channels.publish_command()).arg(keys.inbox(bucket, &self.node)).arg(message);
            leg.subscription.run(pipeline.ignore()).await?;
            // An error means that the connection is gone and its receiver with it.
            probes.wait_for(|newest| *newest >= number).await.map_err(|_| BrokerError::LinkDown)?;
            Ok(())
        };
        let limit = self.settings.probe_timeout;
        timeout(limit, round_trip).await.unwrap_or(Err(BrokerError::Timeout))?;
        let took = sent.elapsed();
        self.metrics.redis.probed(took);
        let mut status = self.status();
        status.round_trip = Some(took);
        status.probed_at = Some(Instant::now());
        Ok(())
    }

    fn up(&self, continuity: Continuity) {
        let mut status = self.status();
        status.state = LinkState::Up;
        status.since = Instant::now();
        self.number.fetch_add(1, Ordering::AcqRel);
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.metrics.redis.link_up.set(1);
        let servers: Vec<&str> = status.servers.iter().map(|server| server.address.as_str()).collect();
        info!(servers = servers.join(" "), same_server = continuity == Continuity::SameServer, "link up");
    }

    fn down(&self, lost: &Lost) {
        self.lookups.send_modify(|lookups| *lookups += 1);
        let mut status = self.status();
        status.state = LinkState::Down;
        status.since = Instant::now();
        self.number.fetch_add(1, Ordering::AcqRel);
        status.last_error = Some(lost.message.clone());
        self.metrics.redis.link_up.set(0);
        self.metrics.redis.lost(lost.cause);
        warn!(cause = lost.message, "link down");
    }

    /// One log line per cause and outage, not one per attempt.
    fn failed(&self, error: &BrokerError) {
        let message = error.to_string();
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < MOST_COMPLAINTS && complaints.insert(message.clone()) {
            warn!(cause = message, "cannot link to Redis, trying on");
        }
        drop(complaints);
        self.status().last_error = Some(message);
    }
}

/// What a subscription does with each message.
fn receiver(events: Arc<dyn Events>, came_back: watch::Sender<u64>) -> impl Fn(&[u8]) + Send + Sync {
    let complained = std::sync::Once::new();
    move |bytes| match Message::decode(bytes) {
        Ok(Message::Publication { publisher, publication }) => events.on_publication(publication, publisher),
        Ok(Message::Confirmation(confirmation)) => events.on_confirmation(confirmation),
        Ok(Message::CountRequest { room, number, asker }) => events.on_count_request(room, number, asker),
        Ok(Message::Probe { number }) => {
            came_back.send_replace(number);
        }
        Err(error) => {
            events.on_unreadable();
            complained.call_once(
                || warn!(%error, "unreadable message on a channel of ours; is the key prefix shared?"),
            );
        }
    }
}
