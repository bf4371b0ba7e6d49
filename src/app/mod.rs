//! The only wiring: from settings to a running node.

mod files;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use actix_web::dev::{Server, ServerHandle};
use actix_web::web;
use anyhow::Context;
use tracing::info;

use self::files::Files;
use crate::access::{self, Access, Issuers};
use crate::broker::memory::MemoryBroker;
use crate::broker::redis::RedisBroker;
use crate::broker::{Broker, NodeId};
use crate::capacity::Capacity;
use crate::config::Settings;
use crate::drain::Lifecycle;
use crate::http::admin::Admin;
use crate::http::{BodyLimits, Public, PublishRate};
use crate::hub::HeartbeatSettings;
use crate::listener;
use crate::metrics::Metrics;
use crate::node::{Node, NodeSettings};
use crate::reload::Reloads;
use crate::tls::server_config;
use crate::ws::Gate;

/// Reads every file that the settings name, as [`Application::build`] does; an error names all that are no good.
pub fn check_files(settings: &Settings) -> anyhow::Result<()> {
    Files::read(settings, None, &Arc::new(Metrics::new()?))?;
    Ok(())
}

/// A node with its listeners bound.
pub struct Application {
    node: Arc<Node>,
    gate: Arc<Gate>,
    lifecycle: Arc<Lifecycle>,
    settings: Settings,
    public: Server,
    admin: Server,
    public_address: SocketAddr,
    admin_address: SocketAddr,
    made_key: Option<String>,
    reloads: Arc<Reloads>,
    access: Arc<Access>,
    issuers: Arc<Issuers>,
    metrics: Arc<Metrics>,
}

impl Application {
    /// Binds the listeners and starts the workers. Needs an actix system around.
    pub fn build(settings: Settings) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new()?);
        let capacity =
            Capacity::of_this_process(settings.server.max_connections, settings.server.worker_count());
        metrics.connections_limit.set(i64::try_from(capacity.sockets).unwrap_or(i64::MAX));
        let node = node(&settings, &metrics);
        let lifecycle = Arc::new(Lifecycle::new(Arc::clone(&metrics)));
        let made_key = (!settings.has_publisher()).then(access::generate_secret);
        let Files { access, issuers, webhooks, certificate, reloads } =
            Files::read(&settings, made_key.as_deref(), &metrics)?;
        let tls = certificate.zip(settings.server.tls.as_ref());
        let tls = tls.map(|(certificate, tls)| server_config(tls.min_version, certificate)).transpose()?;
        let gate = Arc::new(Gate::new(
            &settings,
            capacity.sockets,
            Arc::clone(&node),
            Arc::clone(&lifecycle),
            Arc::clone(&metrics),
        ));
        let public = web::Data::new(Public {
            node: Arc::clone(&node),
            gate: Arc::clone(&gate),
            access: Arc::clone(&access),
            webhooks,
            metrics: Arc::clone(&metrics),
            head_limit_bytes: settings.server.request_head_limit_bytes,
            max_room_bytes: settings.rooms.max_name_bytes,
            allowed_rooms: settings.rooms.allow.clone(),
            body_limits: BodyLimits::new(&settings),
            publish_rate: PublishRate::new(settings.publish.rate_per_second),
            confirm_timeout: settings.publish.confirm_timeout,
            exact_status: settings.partykit_exact_status,
        });
        let admin = web::Data::new(Admin {
            node: Arc::clone(&node),
            lifecycle: Arc::clone(&lifecycle),
            metrics: Arc::clone(&metrics),
            reloads: Arc::clone(&reloads),
            issuers: Arc::clone(&issuers),
            started: Instant::now(),
        });
        let (public, public_address) = listener::serve_public(&settings, capacity, public, tls)?;
        let (admin, admin_address) = listener::serve_admin(settings.admin_bind, admin)?;
        Ok(Self {
            node,
            gate,
            lifecycle,
            settings,
            public,
            admin,
            public_address,
            admin_address,
            made_key,
            reloads,
            access,
            issuers,
            metrics,
        })
    }

    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Whether apps connect by `wss://`.
    pub fn has_tls(&self) -> bool {
        self.settings.server.tls.is_some()
    }

    /// The publish key that was made for this run, as the settings name nobody who may publish.
    pub fn made_key(&self) -> Option<&str> {
        self.made_key.as_deref()
    }

    /// Serves until `stop` resolves, then drains.
    pub async fn run_until_stopped(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        info!(
            version = env!("CARGO_PKG_VERSION"), node = %self.node.id(),
            public = %self.public_address, scheme = if self.has_tls() { "https" } else { "http" },
            admin = %self.admin_address, "listening"
        );
        if self.settings.wire() != self.settings.websocket.wire {
            info!("under TLS sockets use the actix-ws wire, whatever websocket.wire says");
        }
        let (public, admin) = (self.public.handle(), self.admin.handle());
        let mut public_ended = actix_web::rt::spawn(self.public);
        let mut admin_ended = actix_web::rt::spawn(self.admin);
        let reloading = actix_web::rt::spawn(async move { self.reloads.run(&self.metrics).await });
        let fetching = actix_web::rt::spawn(async move { self.issuers.run(|| self.access.sources()).await });
        let address = record_address(self.public_address);
        let mut node = actix_web::rt::spawn(Arc::clone(&self.node).run(address));
        tokio::select! {
            ended = &mut public_ended => return listener_ended("public", ended),
            ended = &mut admin_ended => return listener_ended("admin", ended),
            // Listeners without a node behind them would look healthy and deliver nothing.
            _ = &mut node => anyhow::bail!("the node's own work ended by itself"),
            () = stop => {}
        }
        self.lifecycle.drain(&self.node, || self.gate.open(), &self.settings.drain).await;
        stop_listeners(&self.node, public, admin).await;
        node.abort();
        reloading.abort();
        fetching.abort();
        info!("stopped");
        Ok(())
    }
}

/// What a node does after its sockets are closed. Operators are told to give it 20 seconds from the end of the spread
/// on: the close handshakes have 3, requests under way 5, looking the servers up 5, and each command to Redis 1.
async fn stop_listeners(node: &Arc<Node>, public: ServerHandle, admin: ServerHandle) {
    public.stop(true).await;
    node.retire().await;
    admin.stop(false).await;
}

fn listener_ended<E>(name: &str, ended: Result<std::io::Result<()>, E>) -> anyhow::Result<()> {
    match ended {
        Ok(Err(error)) => Err(error).with_context(|| format!("the {name} listener failed")),
        _ => anyhow::bail!("the {name} listener ended by itself"),
    }
}

fn node(settings: &Settings, metrics: &Arc<Metrics>) -> Arc<Node> {
    let id = NodeId::random();
    let head_ttl = settings.rooms.head_ttl;
    let broker: Arc<dyn Broker> = match &settings.redis {
        Some(redis) => Arc::new(RedisBroker::new(id.clone(), redis, head_ttl, Arc::clone(metrics))),
        None => Arc::new(MemoryBroker::new(id.clone(), head_ttl)),
    };
    let node_settings = NodeSettings {
        replay_window: settings.rooms.replay_window,
        head_ttl,
        confirm_timeout: settings.publish.confirm_timeout,
        reconcile_interval: settings.reconcile_interval,
    };
    let heartbeat = HeartbeatSettings {
        ping_interval: settings.websocket.ping_interval,
        silence_limit: settings.websocket.silence_limit(),
    };
    Node::new(id, node_settings, heartbeat, broker, Arc::clone(metrics))
}

/// What other nodes see of this one: its host name, and its public port.
fn record_address(public: SocketAddr) -> String {
    let host = hostname::get().ok().and_then(|name| name.into_string().ok());
    format!("{}:{}", host.unwrap_or_else(|| public.ip().to_string()), public.port())
}
