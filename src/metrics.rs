//! What this node counts, on a registry of its own, so that several nodes can live in one process.
//!
//! Every child of every labelled metric exists from the start: a dashboard sees a zero, not a gap. Labels come from
//! fixed sets only; no room, address or user agent ever becomes one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::close::CloseReason;
use crate::config::RedisMode;

/// Upper bounds in seconds, from a tenth of a millisecond (one write on loopback) to the longest `wait`.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Declares an enum whose values are the children of one metric label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($variant),+ }

        impl $name {
            const LABELS: &[&str] = &[$($text),+];

            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

label! {
    /// Why a handshake was refused.
    Refusal {
        Origin => "origin", Room => "room", Full => "full", PerIp => "per_ip", Rate => "rate",
        Draining => "draining", BadRequest => "bad_request", RoomFull => "room_full",
        RoomNotAllowed => "room_not_allowed", Unauthorized => "unauthorized", Forbidden => "forbidden",
        IssuerUnavailable => "issuer_unavailable",
    }
}

label! {
    /// Why a connection ended without a request that could be answered.
    BadRequest { Malformed => "malformed", HeadTooLarge => "head_too_large", HeadTimeout => "head_timeout" }
}

label! {
    /// Why a TLS handshake failed.
    TlsFailure { Timeout => "timeout", Gone => "gone", Protocol => "protocol" }
}

label! {
    /// Which form of publishing was used.
    Api { Partykit => "partykit", V1 => "v1", Webhook => "webhook" }
}

label! {
    /// How a publish ended.
    PublishResult {
        Ok => "ok", Unconfirmed => "unconfirmed", Duplicate => "duplicate", Unauthorized => "unauthorized",
        Ignored => "ignored", Forbidden => "forbidden", Invalid => "invalid", RateLimited => "rate_limited", Unavailable => "unavailable",
    }
}

label! {
    /// What is read again while the node runs.
    WatchedFile {
        PublishSecret => "publish_secret", PublishKeys => "publish_keys", OidcRules => "oidc_rules",
        Webhooks => "webhooks", SubscriberKeys => "subscriber_keys", Certificate => "certificate",
    }
}

label! {
    /// What came of asking an issuer for its keys.
    JwksFetch { Ok => "ok", Failed => "failed" }
}

label! {
    /// What came of reading it.
    Reload { Ok => "ok", Failed => "failed" }
}

label! {
    /// How this node learnt of a publication.
    Source { Live => "live", Reconcile => "reconcile" }
}

label! {
    /// What became of a publication at one socket.
    Outcome { Sent => "sent", Conflated => "conflated", Replayed => "replayed" }
}

label! {
    /// Why the link to Redis was built again.
    Loss { Closed => "closed", Probe => "probe", Error => "error" }
}

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
    publications_received: IntCounterVec,
    deliveries: IntCounterVec,
    pub confirmations_missing: IntCounter,
    pub messages_unreadable: IntCounter,
    jwks_fetches: IntCounterVec,
    reloads: IntCounterVec,
    reload_failing: IntGaugeVec,
    pub publish_duration: Histogram,
    pub delivery_lag: Histogram,
    pub redis: RedisMetrics,
}

/// What is counted of TLS on the public listener.
pub struct TlsMetrics {
    handshakes_failed: IntCounterVec,
    certificate_expiry: IntGauge,
}

/// What is counted of the link to Redis.
pub struct RedisMetrics {
    pub link_up: IntGauge,
    probe: Histogram,
    last_probe: Gauge,
    mode: IntGaugeVec,
    reconnects: IntCounterVec,
}

impl Metrics {
    pub fn new() -> prometheus::Result<Self> {
        let make = Maker(Registry::new());
        let closed: Vec<&str> = CloseReason::ALL.iter().map(|r| r.label()).collect();
        make.build_info()?;
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
            requests_refused: make.requests_refused()?,
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
            jwks_fetches: make.jwks_fetches()?,
            reloads: make.children(
                "relay_reloads_total",
                "Changed files that were read again, by result; a failed one leaves in force what was read before.",
                &[("file", WatchedFile::LABELS), ("result", Reload::LABELS)],
            )?,
            reload_failing: make.files("relay_reload_failing", "1 while the newest content of a file is not in force.")?,
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

    /// An issuer was asked for its keys.
    pub fn jwks_fetched(&self, brought_keys: bool) {
        let result = if brought_keys { JwksFetch::Ok } else { JwksFetch::Failed };
        self.jwks_fetches.with_label_values(&[result.label()]).inc();
    }

    /// A changed file was read again.
    pub fn reloaded(&self, file: WatchedFile, taken: bool) {
        let result = if taken { Reload::Ok } else { Reload::Failed };
        self.reloads.with_label_values(&[file.label(), result.label()]).inc();
        self.reload_failing.with_label_values(&[file.label()]).set(i64::from(!taken));
    }

    pub fn received(&self, source: Source) {
        self.publications_received.with_label_values(&[source.label()]).inc();
    }

    pub fn delivered(&self, outcome: Outcome, count: u64) {
        self.deliveries.with_label_values(&[outcome.label()]).inc_by(count);
    }
}

impl TlsMetrics {
    fn new(make: &Maker) -> prometheus::Result<Self> {
        Ok(Self {
            handshakes_failed: make.children(
                "relay_tls_handshakes_failed_total",
                "TLS handshakes that did not succeed, by reason.",
                &[("reason", TlsFailure::LABELS)],
            )?,
            certificate_expiry: make.gauge(
                "relay_tls_certificate_expiry_timestamp_seconds",
                "When the public listener's certificate expires, seconds since 1970; 0 = no TLS.",
            )?,
        })
    }

    pub fn handshake_failed(&self, reason: TlsFailure) {
        self.handshakes_failed.with_label_values(&[reason.label()]).inc();
    }

    /// The certificate in use expires then.
    pub fn set_certificate_expiry(&self, expires: SystemTime) {
        let since_1970 = expires.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.certificate_expiry.set(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX));
    }
}

impl RedisMetrics {
    fn new(make: &Maker) -> prometheus::Result<Self> {
        Ok(Self {
            link_up: make.gauge(
                "relay_redis_link_up",
                "1 while the link to Redis is proven; 0 on the memory broker, which has none.",
            )?,
            probe: make.histogram("relay_redis_probe_seconds", "Round trip of a probe through Redis.")?,
            last_probe: make.register(Gauge::new(
                "relay_redis_last_probe_timestamp_seconds",
                "When a probe last came back, seconds since 1970; 0 = never.",
            )?)?,
            mode: make.modes()?,
            reconnects: make.children(
                "relay_redis_reconnects_total",
                "Times the link to Redis was lost and built again, by cause.",
                &[("cause", Loss::LABELS)],
            )?,
        })
    }

    /// A probe came back just now.
    pub fn probed(&self, round_trip: Duration) {
        self.probe.observe(round_trip.as_secs_f64());
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        self.last_probe.set(now.as_secs_f64());
    }

    pub fn set_mode(&self, mode: RedisMode) {
        self.mode.with_label_values(&[mode.label()]).set(1);
    }

    pub fn lost(&self, cause: Loss) {
        self.reconnects.with_label_values(&[cause.label()]).inc();
    }
}

/// Makes metrics and registers them.
struct Maker(Registry);

impl Maker {
    fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        collector: C,
    ) -> prometheus::Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn requests_refused(&self) -> prometheus::Result<IntCounterVec> {
        let help = "Connections that ended without a request, or in the midst of one, by what was wrong.";
        self.children("relay_requests_refused_total", help, &[("reason", BadRequest::LABELS)])
    }

    fn modes(&self) -> prometheus::Result<IntGaugeVec> {
        let help = "1 for the way Redis is run; all 0 on the memory broker.";
        let modes = self.gauge_vec("relay_redis_mode", help, &["mode"])?;
        for mode in RedisMode::ALL {
            modes.with_label_values(&[mode.label()]).set(0);
        }
        Ok(modes)
    }

    fn files(&self, name: &str, help: &str) -> prometheus::Result<IntGaugeVec> {
        let files = self.gauge_vec(name, help, &["file"])?;
        for file in WatchedFile::LABELS {
            files.with_label_values(&[file]).set(0);
        }
        Ok(files)
    }

    fn build_info(&self) -> prometheus::Result<()> {
        let name = "relay_build_info";
        let build = self.gauge_vec(name, "Always 1; the labels tell the build.", &["version", "revision"])?;
        let revision = option_env!("RELAY_REVISION").unwrap_or("unknown");
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        Ok(())
    }

    fn jwks_fetches(&self) -> prometheus::Result<IntCounterVec> {
        let help = "Times an issuer was asked for the keys of its tokens, by result.";
        self.children("relay_jwks_fetches_total", help, &[("result", JwksFetch::LABELS)])
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(name, help)?)
    }

    fn histogram(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?)
    }

    /// A labelled counter with all its children at zero.
    fn children(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &[&str])],
    ) -> prometheus::Result<IntCounterVec> {
        let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
        let counter = self.register(IntCounterVec::new(Opts::new(name, help), &names)?)?;
        let mut combinations: Vec<Vec<&str>> = vec![vec![]];
        for (_, values) in labels {
            combinations = combinations
                .iter()
                .flat_map(|head| values.iter().map(move |value| [head.as_slice(), &[*value]].concat()))
                .collect();
        }
        for combination in combinations {
            counter.with_label_values(&combination);
        }
        Ok(counter)
    }
}
