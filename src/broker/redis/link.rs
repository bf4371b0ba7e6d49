//! The link: a subscription that is proven, and built again for as long as it takes.
//!
//! A subscriber can sit on a dead connection for hours, so a probe goes to this very node through Redis every
//! interval; one that is not back in time means the link is lost, whatever TCP says. There is no last attempt.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::Client;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use super::commands::Commands;
use super::keys::Bucket;
use super::message::Message;
use super::subscription::Subscription;
use super::topology;
use crate::backoff::Backoff;
use crate::broker::{BrokerError, Continuity, Events, LinkState, NodeId};
use crate::config::RedisSettings;
use crate::metrics::{Loss, Metrics};

/// A link that held this long was a good one; the next attempt need not wait.
const GOOD_LINK: Duration = Duration::from_secs(5);

pub(super) struct Link {
    node: NodeId,
    client: Client,
    settings: RedisSettings,
    commands: Arc<Commands>,
    metrics: Arc<Metrics>,
    status: Mutex<Status>,
    /// The run id of the server behind the latest link.
    server: Mutex<Option<String>>,
    next_probe: AtomicU64,
}

#[derive(Debug, Clone)]
pub(super) struct Status {
    pub state: LinkState,
    pub last_error: Option<String>,
    pub round_trip: Option<Duration>,
}

/// Why a link ended.
struct Lost {
    cause: Loss,
    message: String,
}

/// A link that has just proven itself.
struct Session {
    subscription: Subscription,
    /// The number of the newest probe that came back.
    probes: watch::Receiver<u64>,
}

impl Link {
    pub(super) fn new(
        node: NodeId,
        settings: RedisSettings,
        commands: Arc<Commands>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BrokerError> {
        Ok(Self {
            node,
            client: topology::client(&settings)?,
            settings,
            commands,
            metrics,
            status: Mutex::new(Status { state: LinkState::Starting, last_error: None, round_trip: None }),
            server: Mutex::new(None),
            next_probe: AtomicU64::new(1),
        })
    }

    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_up(&self) -> bool {
        self.status().state == LinkState::Up
    }

    /// Links, watches, and links again. Never returns.
    pub(super) async fn run(&self, events: Arc<dyn Events>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        loop {
            match self.connect(&events).await {
                Ok((session, continuity)) => {
                    let since = Instant::now();
                    self.up(continuity);
                    events.on_link_up(continuity);
                    let lost = self.watch(session).await;
                    if since.elapsed() >= GOOD_LINK {
                        backoff.reset();
                    }
                    self.down(&lost);
                }
                Err(error) => self.failed(&error),
            }
            self.commands.drop_idle();
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Subscribes, sees a probe come back, and learns which server it is.
    async fn connect(&self, events: &Arc<dyn Events>) -> Result<(Session, Continuity), BrokerError> {
        let (came_back, probes) = watch::channel(0);
        let receive = receiver(Arc::clone(events), came_back);
        let keys = &self.commands.keys;
        let channels =
            Bucket::all().map(|bucket| keys.channel(bucket)).chain([keys.inbox(&self.node)]).collect();
        let limit = self.settings.connect_timeout + self.settings.command_timeout;
        let opening = Subscription::open(&self.client, topology::timeouts(&self.settings), channels, receive);
        let subscription = timeout(limit, opening).await.map_err(|_| BrokerError::Timeout(limit))??;
        let mut session = Session { subscription, probes };
        self.probe(&mut session).await?;
        let run_id = session.subscription.run_id().await;
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let same = run_id.is_some() && *server == run_id;
        *server = run_id;
        let continuity = if same { Continuity::SameServer } else { Continuity::Unknown };
        Ok((session, continuity))
    }

    /// Probes until the link is lost.
    async fn watch(&self, mut session: Session) -> Lost {
        let mut ticks = interval(self.settings.probe_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                () = session.subscription.ended() => return Lost {
                    cause: Loss::Closed,
                    message: "Redis closed the connection".to_owned(),
                },
                _ = ticks.tick() => if let Err(error) = self.probe(&mut session).await {
                    let cause = match error {
                        BrokerError::Timeout(_) => Loss::Probe,
                        _ => Loss::Error,
                    };
                    return Lost { cause, message: format!("probe failed: {error}") };
                },
            }
        }
    }

    /// Sends a probe through the pool and waits for it on the subscription, all within the probe timeout.
    async fn probe(&self, session: &mut Session) -> Result<(), BrokerError> {
        let number = self.next_probe.fetch_add(1, Ordering::Relaxed);
        let sent = Instant::now();
        let round_trip = async {
            let probe = Message::Probe { number }.encode()?;
            self.commands.publish(self.commands.keys.inbox(&self.node), probe).await?;
            // An error means that the connection is gone and its receiver with it.
            session.probes.wait_for(|newest| *newest >= number).await.map_err(|_| BrokerError::LinkDown)?;
            Ok(())
        };
        let limit = self.settings.probe_timeout;
        timeout(limit, round_trip).await.unwrap_or(Err(BrokerError::Timeout(limit)))?;
        let took = sent.elapsed();
        self.metrics.redis.probe.observe(took.as_secs_f64());
        self.status().round_trip = Some(took);
        Ok(())
    }

    fn up(&self, continuity: Continuity) {
        self.status().state = LinkState::Up;
        self.metrics.redis.link_up.set(1);
        info!(same_server = continuity == Continuity::SameServer, "link up");
    }

    fn down(&self, lost: &Lost) {
        let mut status = self.status();
        status.state = LinkState::Down;
        status.last_error = Some(lost.message.clone());
        self.metrics.redis.link_up.set(0);
        self.metrics.redis.lost(lost.cause);
        warn!(cause = lost.message, "link down");
    }

    /// One log line per cause, not one per attempt.
    fn failed(&self, error: &BrokerError) {
        let message = error.to_string();
        let mut status = self.status();
        if status.last_error.as_ref() != Some(&message) {
            warn!(cause = message, "cannot link to Redis, trying on");
            status.last_error = Some(message);
        }
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
