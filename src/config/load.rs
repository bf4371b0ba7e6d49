//! From the three layers (defaults, file, environment) to [`Settings`], or to the list of all problems.

use std::path::Path;

use config::{Config, ConfigError, Environment, File, FileFormat, Map, Source, Value};

use super::parse;
use super::reader::{Problem, Reader};
use super::redis;
use super::settings::{
    DrainSettings, LogFormat, LogSettings, PublishSettings, RoomSettings, ServerSettings, Settings,
    WebhookSettings, WebsocketSettings,
};
use super::subscribers;
use super::tls;
use crate::scope::{RoomPattern, RoomScope};

/// The defaults, documented: the file is the truth.
pub const DEFAULT: &str = include_str!("default.toml");

/// The environment variable that names the file, and so is no setting itself.
pub const CONFIG_VARIABLE: &str = "RELAY_CONFIG";

/// Valid settings, and how to show them.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// What is in force, as TOML, secrets hidden.
    pub effective: String,
}

/// The settings are bad: every problem there is.
#[derive(Debug, thiserror::Error)]
#[error("{} in the settings:\n{}", counted(.0.len()), .0.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
pub struct BadSettings(pub Vec<Problem>);

fn counted(problems: usize) -> String {
    if problems == 1 { "1 problem".to_owned() } else { format!("{problems} problems") }
}

/// Merges the layers and takes every setting out of them.
///
/// `environment` is the whole process environment; only what begins with `RELAY_` is looked at.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, BadSettings> {
    let unreadable = |error| BadSettings(vec![in_layers(file, error)]);
    let defaults = File::from_str(DEFAULT, FileFormat::Toml);
    let defaults = Config::builder().add_source(defaults).build().map_err(unreadable)?;
    let Merged { layers, nameless, bad_file } = merge(&defaults, file, environment).map_err(unreadable)?;
    let mut reader = Reader::new(layers, nameless, file);
    reader.note_lost(defaults);
    let settings = read(&mut reader);
    let (effective, mut problems) = reader.finish();
    problems.extend(bad_file);
    if problems.is_empty() {
        Ok(Loaded { settings, effective: effective.to_string() })
    } else {
        Err(BadSettings(problems))
    }
}

/// The layers, one over the other.
struct Merged {
    layers: Config,
    /// Values under keys that no setting can have.
    nameless: Map<String, Value>,
    /// Why the file was left out.
    bad_file: Option<Problem>,
}

/// The values of one layer that may be settings.
#[derive(Debug, Clone)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

fn merge(
    defaults: &Config,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Merged, ConfigError> {
    let mut collected = Vec::new();
    let mut bad_file = None;
    if let Some(path) = file {
        match File::new(&path.to_string_lossy(), FileFormat::Toml).collect() {
            Ok(values) => collected.push(values),
            Err(error) => bad_file = Some(in_layers(file, error)),
        }
    }
    let variables = environment.into_iter().filter(|(name, _)| name != CONFIG_VARIABLE).collect();
    let environment = Environment::with_prefix("RELAY")
        .prefix_separator("_")
        .separator("__")
        // A variable that compose or a chart left empty is one that is not set.
        .ignore_empty(true)
        .source(Some(variables));
    collected.push(environment.collect()?);
    let mut layers = Config::builder().add_source(defaults.clone());
    let mut nameless = Map::new();
    for values in collected {
        // The library takes a bracket for a place in a list, and makes the list that long, of whatever length.
        let (others, named): (Map<_, _>, _) = values.into_iter().partition(|(key, _)| key.contains('['));
        nameless.extend(others);
        layers = layers.add_source(Layer(named));
    }
    Ok(Merged { layers: layers.build()?, nameless, bad_file })
}

fn in_layers(file: Option<&Path>, error: ConfigError) -> Problem {
    let message = match error {
        ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    Problem { key: "--config".to_owned(), origin: file.map(|file| file.display().to_string()), message }
}

/// The largest head that actix-http takes.
const MAX_HEAD_BYTES: u64 = 128 * 1024;

/// One year; longer is a slip of the pen.
const YEAR: u64 = 365 * 24 * 3600;

/// Any of these says who may publish.
const WAYS_TO_PUBLISH: [&str; 5] =
    ["publish.secret", "publish.secret_file", "publish.keys_file", "publish.oidc_file", "webhooks.file"];

fn read(from: &mut Reader) -> Settings {
    // By whether they were set, not by whether they can be read: one problem does not hide another, nor make one.
    let has_url = from.origin("redis.url").is_some();
    let has_publisher = WAYS_TO_PUBLISH.iter().any(|key| from.origin(key).is_some());
    let redis = redis::read(from);
    let publish = PublishSettings {
        secret: from.secret("publish.secret", "publish.secret_file"),
        keys_file: from.optional_text("publish.keys_file", parse::path),
        oidc_file: from.optional_text("publish.oidc_file", parse::path),
        body_limit_bytes: from.size("publish.body_limit_bytes", 2..=1 << 30),
        rate_per_second: from.rate("publish.rate_per_second"),
        confirm_timeout: from.millis("publish.confirm_timeout_ms", 0..=60_000),
    };
    if (has_url || redis.is_some()) && !has_publisher {
        let message = "a node on Redis needs someone who may publish; set RELAY_PUBLISH__SECRET, publish.secret_file, \
                       publish.keys_file, publish.oidc_file or webhooks.file (only the memory broker makes a key by \
                       itself)";
        from.problem("publish.secret", None, message);
    }
    Settings {
        server: ServerSettings {
            bind: from.text("server.bind", parse::address).unwrap_or_else(parse::any_address),
            workers: from.size("server.workers", 0..=1024),
            max_connections: from.size("server.max_connections", 0..=10_000_000),
            max_connections_per_ip: from.size("server.max_connections_per_ip", 0..=10_000_000),
            handshakes_per_second: from.rate("server.handshakes_per_second"),
            request_head_limit_bytes: from.size("server.request_head_limit_bytes", 1024..=MAX_HEAD_BYTES),
            request_head_timeout: from.seconds("server.request_head_timeout_seconds", 1..=300),
            request_body_timeout: from.seconds("server.request_body_timeout_seconds", 1..=300),
            trusted_proxies: from.list("server.trusted_proxies", parse::network),
            allowed_origins: from.list("server.allowed_origins", str::parse),
            tls: tls::read(from),
        },
        admin_bind: from.text("admin.bind", parse::address).unwrap_or_else(parse::any_address),
        websocket: WebsocketSettings {
            ping_interval: from.seconds("websocket.ping_interval_seconds", 1..=3600),
            pong_timeout: from.seconds("websocket.pong_timeout_seconds", 1..=3600),
            max_message_bytes: from.size("websocket.max_message_bytes", 1..=1 << 24),
            max_frames_per_second: from.rate("websocket.max_frames_per_second"),
            subprotocols: from.list("websocket.subprotocols", parse::subprotocol),
            wire: from.text("websocket.wire", parse::wire),
        },
        publish,
        subscribers: subscribers::read(from),
        webhooks: WebhookSettings {
            file: from.optional_text("webhooks.file", parse::path),
            body_limit_bytes: from.size("webhooks.body_limit_bytes", 2..=1 << 30),
        },
        rooms: rooms(from),
        redis,
        reconcile_interval: from.seconds("redis.reconcile_seconds", 1..=86_400),
        drain: DrainSettings {
            notice: from.seconds("drain.notice_seconds", 0..=3600),
            spread: from.seconds("drain.spread_seconds", 0..=3600),
        },
        log: LogSettings {
            level: from.text("log.level", parse::log_level),
            format: from.text("log.format", parse::log_format).unwrap_or(LogFormat::Auto),
        },
        partykit_exact_status: from.flag("partykit.exact_status"),
    }
}

fn rooms(from: &mut Reader) -> RoomSettings {
    let origin = from.origin("rooms.allow");
    let allow = from.list("rooms.allow", RoomPattern::parse);
    if allow.is_empty() {
        from.problem("rooms.allow", origin, "allows no room; name some, or \"*\" for all");
    }
    RoomSettings {
        allow: RoomScope::new(allow),
        max_connections: from.size("rooms.max_connections", 0..=10_000_000),
        max_name_bytes: from.size("rooms.max_name_bytes", 1..=4096),
        replay_window: from.seconds("rooms.replay_window_seconds", 0..=3600),
        head_ttl: from.seconds("rooms.head_ttl_seconds", 60..=10 * YEAR),
    }
}
