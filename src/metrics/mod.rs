//! What this node counts, on a registry of its own, so that several nodes can live in one process.
//!
//! Every child of every labelled metric exists from the start: a dashboard sees a zero, not a gap. Labels come from
//! fixed sets only; no room, address or user agent ever becomes one.

mod files;
mod labels;
mod maker;
mod redis;
mod tls;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder};

use self::files::FileMetrics;
use self::labels::JwksFetch;
pub use self::labels::{
    Api, BadRequest, Loss, Outcome, PublishResult, QueryResult, Refusal, Source, TlsFailure, WatchedFile,
};
use self::maker::Maker;
pub use self::redis::RedisMetrics;
pub use self::tls::TlsMetrics;
use crate::close::CloseReason;

/// Every metric of a node.
pub struct Metrics {
    registry: Registry,
    pub connections: IntGauge,
    pub connections_limit: IntGauge,
    pub rooms: IntGauge,
    pub draining: IntGauge,
    pub nodes: IntGauge,
    pub connections_opened: IntCounter,
    connections_closed: IntCounterVec,
    handshakes_refused: IntCounterVec,
    requests_refused: IntCounterVec,
    pub tls: TlsMetrics,
    publishes: IntCounterVec,
    room_queries: IntCounterVec,
    publications_received: IntCounterVec,
    deliveries: IntCounterVec,
    pub confirmations_missing: IntCounter,
    pub messages_unreadable: IntCounter,
    jwks_fetches: IntCounterVec,
    files: FileMetrics,
    pub publish_duration: Histogram,
    pub delivery_lag: Histogram,
    pub redis: RedisMetrics,
}

impl Metrics {
    pub fn new() -> prometheus::Result<Self> {
        let make = Maker(Registry::new());
        let closed: Vec<&str> = CloseReason::ALL.iter().map(|r| r.label()).collect();
        build_info(&make)?;
        make.0.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self {
            connections: make.gauge("relay_connections", "Sockets open on this node.")?,
            connections_limit: make.gauge("relay_connections_limit", "Sockets this node takes at most.")?,
            rooms: make.gauge("relay_rooms", "Rooms with a socket on this node.")?,
            draining: make.gauge("relay_draining", "1 from the signal to stop until the end.")?,
            nodes: make.gauge("relay_nodes", "Live nodes this node knows of, itself included.")?,
            connections_opened: make.counter("relay_connections_opened_total", "Sockets opened.")?,
            connections_closed: make.children(
                "relay_connections_closed_total",
                "Sockets closed, by reason.",
                &[("reason", &closed)],
            )?,
            requests_refused: requests_refused(&make)?,
            handshakes_refused: make.children(
                "relay_handshakes_refused_total",
                "Upgrades refused, by reason.",
                &[("reason", Refusal::LABELS)],
            )?,
            tls: TlsMetrics::new(&make)?,
            publishes: make.children(
                "relay_publishes_total",
                "Publish requests, by form and result.",
                &[("api", Api::LABELS), ("result", PublishResult::LABELS)],
            )?,
            room_queries: room_queries(&make)?,
            publications_received: make.children(
                "relay_publications_received_total",
                "Publications that reached this node, by the way they came.",
                &[("source", Source::LABELS)],
            )?,
            deliveries: make.children(
                "relay_deliveries_total",
                "Frames by what became of them at the sockets.",
                &[("outcome", Outcome::LABELS)],
            )?,
            confirmations_missing: make
                .counter("relay_confirmations_missing_total", "Confirmations that did not come in time.")?,
            messages_unreadable: make.counter(
                "relay_messages_unreadable_total",
                "Messages from Redis that could not be read and were dropped.",
            )?,
            jwks_fetches: jwks_fetches(&make)?,
            files: FileMetrics::new(&make)?,
            publish_duration: make
                .histogram("relay_publish_duration_seconds", "From a publish request read to its answer.")?,
            delivery_lag: make.histogram(
                "relay_delivery_lag_seconds",
                "From the publish to the last socket of this node written.",
            )?,
            redis: RedisMetrics::new(&make)?,
            registry: make.0,
        })
    }

    /// The Prometheus text exposition of everything counted.
    pub fn encode(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    pub fn closed(&self, reason: CloseReason) {
        self.connections_closed.with_label_values(&[reason.label()]).inc();
    }

    pub fn refused(&self, reason: Refusal) {
        self.handshakes_refused.with_label_values(&[reason.label()]).inc();
    }

    pub fn bad_request(&self, reason: BadRequest) {
        self.requests_refused.with_label_values(&[reason.label()]).inc();
    }

    pub fn published(&self, api: Api, result: PublishResult) {
        self.publishes.with_label_values(&[api.label(), result.label()]).inc();
    }

    /// Somebody asked where a room stands.
    pub fn queried(&self, result: QueryResult) {
        self.room_queries.with_label_values(&[result.label()]).inc();
    }

    /// An issuer was asked for its keys.
    pub fn jwks_fetched(&self, brought_keys: bool) {
        let result = if brought_keys { JwksFetch::Ok } else { JwksFetch::Failed };
        self.jwks_fetches.with_label_values(&[result.label()]).inc();
    }

    /// A changed file was read again.
    pub fn reloaded(&self, file: WatchedFile, taken: bool) {
        self.files.reloaded(file, taken);
    }

    pub fn received(&self, source: Source) {
        self.publications_received.with_label_values(&[source.label()]).inc();
    }

    pub fn delivered(&self, outcome: Outcome, count: u64) {
        self.deliveries.with_label_values(&[outcome.label()]).inc_by(count);
    }
}

fn requests_refused(make: &Maker) -> prometheus::Result<IntCounterVec> {
    let help = "Connections that ended without a request, or in the midst of one, by what was wrong.";
    make.children("relay_requests_refused_total", help, &[("reason", BadRequest::LABELS)])
}

fn room_queries(make: &Maker) -> prometheus::Result<IntCounterVec> {
    let help = "Requests that ask where a room stands (GET /v1/rooms/<room>), by result; not_found: it was neither \
                refreshed nor has it a socket.";
    make.children("relay_room_queries_total", help, &[("result", QueryResult::LABELS)])
}

fn jwks_fetches(make: &Maker) -> prometheus::Result<IntCounterVec> {
    let help = "Times an issuer was asked for the keys of its tokens, by result.";
    make.children("relay_jwks_fetches_total", help, &[("result", JwksFetch::LABELS)])
}

fn build_info(make: &Maker) -> prometheus::Result<()> {
    let name = "relay_build_info";
    let build = make.gauge_vec(name, "Always 1; the labels tell the build.", &["version", "revision"])?;
    let revision = option_env!("RELAY_REVISION").unwrap_or("unknown");
    build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
    Ok(())
}
