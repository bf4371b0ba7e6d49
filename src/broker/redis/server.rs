//! One Redis server: how to reach it, log in, and trust it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::io::AsyncDNSResolver;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, ProtocolVersion, RedisError, RedisFuture, RedisResult, TlsCertificates,
};
use secrecy::ExposeSecret;

use super::keys::Bucket;
use crate::config::{RedisLogin, RedisSettings, RedisTls, RedisUrl};

/// A peer that acknowledges nothing for this long is gone, as far as the kernel is concerned. The probe is quicker;
/// this frees what the probe cannot see, such as idle connections of the pool.
const TCP_SILENCE: Duration = Duration::from_secs(10);

/// A server in use, with its share of the rooms.
#[derive(Clone)]
pub struct Server {
    /// Host and port, or the path of the socket.
    pub address: String,
    pub buckets: Vec<Bucket>,
    info: ConnectionInfo,
    config: AsyncConnectionConfig,
}

/// Where a server listens.
pub enum Endpoint<'a> {
    Url(&'a RedisUrl),
    /// What a Sentinel or a cluster told; in all else as the URL that led there.
    Told {
        host: String,
        port: u16,
        like: &'a RedisUrl,
    },
}

impl Server {
    /// Works out how to connect. Secrets and certificates are read from their files now, so that a new link uses
    /// what is in force.
    pub fn new(endpoint: &Endpoint<'_>, login: &RedisLogin, settings: &RedisSettings) -> RedisResult<Self> {
        let info = match endpoint {
            Endpoint::Url(url) => url.expose().into_connection_info()?,
            Endpoint::Told { host, port, like } => {
                let address = if like.has_tls() {
                    ConnectionAddr::TcpTls {
                        host: host.clone(),
                        port: *port,
                        insecure: false,
                        tls_params: None,
                    }
                } else {
                    ConnectionAddr::Tcp(host.clone(), *port)
                };
                like.expose().into_connection_info()?.set_addr(address)
            }
        };
        let address = info.addr().to_string();
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.command_timeout));
        let (info, real_host) = with_tls(info, &settings.tls)?;
        if let Some(host) = real_host {
            config = config.set_dns_resolver(FixedHost(Arc::from(host)));
        }
        let info = with_login(info, login).set_tcp_settings(tcp_settings());
        Ok(Self { address, buckets: Vec::new(), info, config })
    }

    pub fn with_buckets(self, buckets: Vec<Bucket>) -> Self {
        Self { buckets, ..self }
    }

    pub fn client(&self) -> RedisResult<Client> {
        Client::open(self.info.clone())
    }

    /// The host that is connected to; empty for a socket.
    pub fn host(&self) -> String {
        self.address.rsplit_once(':').map_or_else(String::new, |(host, _)| host.to_owned())
    }

    pub fn info(&self) -> ConnectionInfo {
        self.info.clone()
    }

    /// Timeouts; the library's own defaults are not what the settings promise.
    pub fn config(&self) -> AsyncConnectionConfig {
        self.config.clone()
    }
}

fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(TCP_SILENCE).with_interval(TCP_SILENCE / 4);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(TCP_SILENCE)
}

fn with_login(info: ConnectionInfo, login: &RedisLogin) -> ConnectionInfo {
    // RESP3, as messages then come beside the answers of the same connection, and in a cluster not otherwise.
    let mut redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    if let Some(username) = &login.username {
        redis = redis.set_username(username);
    }
    if let Some(password) = &login.password {
        redis = redis.set_password(password.current().expose_secret());
    }
    info.set_redis_settings(redis)
}

/// Answers the host to connect to, if certificates must bear another name than it.
fn with_tls(info: ConnectionInfo, tls: &RedisTls) -> RedisResult<(ConnectionInfo, Option<String>)> {
    let ConnectionAddr::TcpTls { host, port, insecure, .. } = info.addr().clone() else {
        return Ok((info, None));
    };
    let (name, real_host) = match &tls.server_name {
        Some(name) => (name.clone(), Some(host)),
        None => (host, None),
    };
    let info = info.set_addr(ConnectionAddr::TcpTls { host: name, port, insecure, tls_params: None });
    let certificates = TlsCertificates {
        root_cert: tls.ca_file.as_deref().map(read).transpose()?,
        client_tls: match &tls.client {
            Some(client) => Some(ClientTlsConfig {
                client_cert: read(&client.cert_file)?,
                client_key: read(&client.key_file)?,
            }),
            None => None,
        },
    };
    Ok((Client::build_with_tls(info, certificates)?.get_connection_info().clone(), real_host))
}

fn read(path: &Path) -> RedisResult<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let detail = format!("{}: {error}", path.display());
        RedisError::from((ErrorKind::InvalidClientConfig, "cannot read a TLS file", detail))
    })
}

/// Resolves this host whatever name is asked for: the name asked for is the one that the certificate bears.
struct FixedHost(Arc<str>);

impl AsyncDNSResolver for FixedHost {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _certified_name: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((&*self.0, port)).await?;
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter())
                as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}
