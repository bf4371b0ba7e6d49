//! The settings of a node, typed and valid. Each field is described where its default stands: `default.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::redis::RedisSettings;
use super::secret::Secret;
use super::subscribers::SubscriberSettings;
use super::tls::TlsSettings;
use crate::scope::RoomScope;

#[derive(Debug, Clone)]
pub struct Settings {
    pub server: ServerSettings,
    pub admin_bind: SocketAddr,
    pub websocket: WebsocketSettings,
    pub publish: PublishSettings,
    pub subscribers: SubscriberSettings,
    pub webhooks: WebhookSettings,
    pub rooms: RoomSettings,
    /// None = the memory broker.
    pub redis: Option<RedisSettings>,
    pub reconcile_interval: Duration,
    pub drain: DrainSettings,
    pub log: LogSettings,
    pub partykit_exact_status: bool,
}

#[derive(Debug, Clone)]
pub struct ServerSettings {
    pub bind: SocketAddr,
    /// 0 = one per core.
    pub workers: usize,
    /// 0 = from the open-file limit.
    pub max_connections: usize,
    /// 0 = no limit.
    pub max_connections_per_ip: usize,
    /// 0 = no limit.
    pub handshakes_per_second: u32,
    pub request_head_limit_bytes: usize,
    pub request_head_timeout: Duration,
    pub request_body_timeout: Duration,
    pub trusted_proxies: Vec<IpNet>,
    pub allowed_origins: Vec<OriginRule>,
    /// None = a plain listener.
    pub tls: Option<TlsSettings>,
}

impl ServerSettings {
    /// Worker threads, in numbers.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }
}

/// Which `Origin` headers (RFC 6454) may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginRule {
    Any,
    Exact(String),
    /// Scheme with `://`, and the domain with its leading dot (and port, if any): any host below it.
    Below {
        scheme: String,
        domain: String,
    },
}

impl FromStr for OriginRule {
    /// Says what the text should be.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let hint = || {
            format!(
                "must be origins such as https://app.example.com, https://*.example.com or *, without a path; not {text:?}"
            )
        };
        let (scheme, host) = text.split_once("://").ok_or_else(hint)?;
        if let Some(domain) = host.strip_prefix('*') {
            let plain = domain.starts_with('.') && domain.len() > 1 && !domain.contains(['*', '/', ' ']);
            return if plain {
                Ok(Self::Below {
                    scheme: format!("{scheme}://").to_ascii_lowercase(),
                    domain: domain.to_ascii_lowercase(),
                })
            } else {
                Err(hint())
            };
        }
        if scheme.is_empty() || host.is_empty() || host.contains(['/', '*', ' ']) {
            return Err(hint());
        }
        Ok(Self::Exact(text.to_ascii_lowercase()))
    }
}

impl OriginRule {
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => origin.eq_ignore_ascii_case(exact),
            Self::Below { scheme, domain } => {
                let origin = origin.to_ascii_lowercase();
                let host =
                    origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(domain.as_str()));
                // What ends a host, or stands before it, would let any host pass: https://evil.test?.example.com.
                let in_a_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                host.is_some_and(|host| !host.is_empty() && host.bytes().all(in_a_host))
            }
        }
    }
}

impl Settings {
    /// Whether there is anyone who may publish.
    pub fn has_publisher(&self) -> bool {
        let PublishSettings { secret, keys_file, oidc_file, .. } = &self.publish;
        secret.is_some() || keys_file.is_some() || oidc_file.is_some() || self.webhooks.file.is_some()
    }

    /// A TLS connection is more than a bare TCP stream.
    pub fn wire(&self) -> WireKind {
        if self.server.tls.is_some() { WireKind::ActixWs } else { self.websocket.wire }
    }
}

#[derive(Debug, Clone)]
pub struct WebsocketSettings {
    pub ping_interval: Duration,
    pub pong_timeout: Duration,
    pub max_message_bytes: usize,
    /// 0 = no limit.
    pub max_frames_per_second: u32,
    pub subprotocols: Vec<String>,
    pub wire: WireKind,
}

/// How frames get onto the sockets of a plain listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WireKind {
    #[default]
    Direct,
    ActixWs,
}

impl WebsocketSettings {
    /// How long a client may be silent, or a frame may wait to be written.
    pub fn silence_limit(&self) -> Duration {
        self.ping_interval + self.pong_timeout
    }
}

#[derive(Debug, Clone)]
pub struct PublishSettings {
    pub secret: Option<Secret>,
    pub keys_file: Option<PathBuf>,
    pub oidc_file: Option<PathBuf>,
    pub body_limit_bytes: usize,
    /// Per key; 0 = no limit.
    pub rate_per_second: u32,
    pub confirm_timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// None = no webhooks are expected.
    pub file: Option<PathBuf>,
    pub body_limit_bytes: usize,
}

#[derive(Debug, Clone)]
pub struct RoomSettings {
    pub max_name_bytes: usize,
    /// The rooms there may be.
    pub allow: RoomScope,
    /// Sockets of one room on this node; 0 = no limit.
    pub max_connections: usize,
    /// Zero = off.
    pub replay_window: Duration,
    pub head_ttl: Duration,
}

#[derive(Debug, Clone)]
pub struct DrainSettings {
    pub notice: Duration,
    pub spread: Duration,
}

#[derive(Debug, Clone)]
pub struct LogSettings {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::OriginRule;

    #[test]
    fn a_wildcard_origin_covers_hosts_below_the_domain_and_nothing_else() {
        let rule = OriginRule::Below { scheme: "https://".into(), domain: ".example.com".into() };
        assert!(rule.allows("https://app.example.com"));
        assert!(rule.allows("https://a.b.Example.com"));
        for origin in [
            "https://example.com",
            "https://.example.com",
            "http://app.example.com",
            "https://evil.com/.example.com",
            "https://evil.com?.example.com",
            "https://evil.com#.example.com",
            "https://evil.com\\.example.com",
            "https://evil.com:1.example.com",
            "https://me@app.example.com",
            "https://evilexample.com",
            "https://app.example.com.evil.com",
            "null",
        ] {
            assert!(!rule.allows(origin), "{origin}");
        }
    }

    #[test]
    fn an_origin_with_a_path_or_an_inner_wildcard_is_refused() {
        for text in ["https://a.example/x", "https://a.*.example", "example.com", "https://*", "https://*x.y"]
        {
            assert!(text.parse::<OriginRule>().is_err(), "{text}");
        }
    }
}
