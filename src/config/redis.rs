//! The settings of Redis: which servers, who logs in, TLS, timeouts.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use url::Url;

use super::parse;
use super::reader::Reader;
use super::secret::Secret;
use super::tls;

#[derive(Debug, Clone)]
pub struct RedisSettings {
    pub servers: RedisServers,
    /// Overrides what a URL says.
    pub login: RedisLogin,
    pub tls: RedisTls,
    pub key_prefix: String,
    /// Connections for commands, per server.
    pub pool_size: usize,
    pub connect_timeout: Duration,
    pub command_timeout: Duration,
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
}

impl RedisSettings {
    pub fn has_tls(&self) -> bool {
        match &self.servers {
            RedisServers::Standalone(url) => url.has_tls(),
            RedisServers::Sentinel { sentinels: urls, .. } | RedisServers::Cluster { seeds: urls } => {
                urls.iter().any(RedisUrl::has_tls)
            }
        }
    }
}

/// Where the data is.
#[derive(Debug, Clone)]
pub enum RedisServers {
    Standalone(RedisUrl),
    /// The Sentinels know where the master is.
    Sentinel {
        sentinels: Vec<RedisUrl>,
        master: String,
        login: RedisLogin,
    },
    /// Any node of the cluster knows the others.
    Cluster {
        seeds: Vec<RedisUrl>,
    },
}

#[derive(Debug, Clone, Default)]
pub struct RedisLogin {
    pub username: Option<String>,
    pub password: Option<Secret>,
}

/// A valid Redis URL. It may hold a password, so it does not print.
#[derive(Clone)]
pub struct RedisUrl(Url);

impl RedisUrl {
    pub fn new(url: Url) -> Self {
        Self(url)
    }

    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    pub fn has_tls(&self) -> bool {
        matches!(self.0.scheme(), "rediss" | "valkeys")
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisUrl(hidden)")
    }
}

/// TLS for `rediss://` URLs. Files are PEM.
#[derive(Debug, Clone, Default)]
pub struct RedisTls {
    /// Who is trusted instead of the system's authorities.
    pub ca_file: Option<PathBuf>,
    pub client: Option<RedisClientCertificate>,
    /// The name that certificates must bear instead of the host's.
    pub server_name: Option<String>,
}

#[derive(Debug, Clone)]
pub struct RedisClientCertificate {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// How Redis is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RedisMode {
    Standalone,
    Sentinel,
    Cluster,
}

impl RedisMode {
    pub const ALL: [Self; 3] = [Self::Standalone, Self::Sentinel, Self::Cluster];

    /// As it stands in the setting and in the metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// Reads all keys, also those that the mode does not use: each is checked. None = the memory broker.
pub fn read(from: &mut Reader) -> Option<RedisSettings> {
    let servers = read_servers(from);
    let ms = 1..=600_000;
    let login = read_login(from, "redis.username", "redis.password", "redis.password_file");
    let tls = read_tls(from);
    let key_prefix = from.text("redis.key_prefix", parse::key_prefix);
    let pool_size = from.size("redis.pool_size", 1..=1024);
    let connect_timeout = from.millis("redis.connect_timeout_ms", ms.clone());
    let command_timeout = from.millis("redis.command_timeout_ms", ms.clone());
    let probe_interval = from.millis("redis.probe_interval_ms", ms.clone());
    let probe_timeout = from.millis("redis.probe_timeout_ms", ms);
    Some(RedisSettings {
        servers: servers?,
        login,
        tls,
        key_prefix,
        pool_size,
        connect_timeout,
        command_timeout,
        probe_interval,
        probe_timeout,
    })
}

fn read_servers(from: &mut Reader) -> Option<RedisServers> {
    let (mode_origin, single_origin, list_origin) =
        (from.origin("redis.mode"), from.origin("redis.url"), from.origin("redis.urls"));
    let mode = from.text("redis.mode", parse::redis_mode).unwrap_or(RedisMode::Standalone);
    let url = from.masked("redis.url", parse::redis_url);
    let urls = from.masked_list("redis.urls", parse::redis_url);
    let master = from.text("redis.sentinel_master", parse::name);
    let login = read_login(
        from,
        "redis.sentinel_username",
        "redis.sentinel_password",
        "redis.sentinel_password_file",
    );
    if mode == RedisMode::Standalone {
        if !urls.is_empty() {
            let message = "is for redis.mode = \"sentinel\" or \"cluster\"; for one server use redis.url";
            from.problem("redis.urls", list_origin, message);
        }
        return url.map(RedisServers::Standalone);
    }
    if single_origin.is_some() {
        from.problem("redis.url", single_origin, "is for redis.mode = \"standalone\"; here use redis.urls");
    }
    if urls.is_empty() {
        let message = "needs redis.urls: the Sentinels, or some nodes of the cluster";
        from.problem("redis.mode", mode_origin, message);
    }
    if urls.iter().any(|url| url.0.host_str().is_none_or(str::is_empty)) {
        from.problem("redis.urls", list_origin, "must be redis:// or rediss:// URLs; a socket is one server");
    }
    Some(match mode {
        RedisMode::Sentinel => RedisServers::Sentinel { sentinels: urls, master, login },
        _ => RedisServers::Cluster { seeds: urls },
    })
}

fn read_login(
    from: &mut Reader,
    username: &'static str,
    password: &'static str,
    password_file: &'static str,
) -> RedisLogin {
    RedisLogin {
        username: from.optional_text(username, parse::name),
        password: from.secret(password, password_file),
    }
}

fn read_tls(from: &mut Reader) -> RedisTls {
    let ca_file = from.optional_text("redis.tls.ca_file", parse::readable_file);
    let client = tls::read_pair(from, "redis.tls.cert_file", "redis.tls.key_file")
        .map(|(cert_file, key_file)| RedisClientCertificate { cert_file, key_file });
    RedisTls { ca_file, client, server_name: from.optional_text("redis.tls.server_name", parse::name) }
}
