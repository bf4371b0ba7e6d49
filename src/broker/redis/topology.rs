//! Which Redis server to talk to, and how a connection to it is set up.

use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisResult,
};
use secrecy::ExposeSecret;

use crate::config::RedisSettings;

/// A peer that acknowledges nothing for this long is gone, as far as the kernel is concerned. The probe is quicker;
/// this frees what the probe cannot see, such as idle connections of the pool.
const TCP_SILENCE: Duration = Duration::from_secs(10);

/// The connection settings that the URL, and the keys that override it, amount to.
pub(super) fn connection_info(settings: &RedisSettings) -> RedisResult<ConnectionInfo> {
    let info = settings.url.expose_secret().into_connection_info()?;
    let keepalive = TcpKeepalive::new().with_time(TCP_SILENCE).with_interval(TCP_SILENCE / 4);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(TCP_SILENCE);
    // RESP3, as messages then come beside the answers of the same connection, and in a cluster not otherwise.
    let mut login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    if let Some(username) = &settings.username {
        login = login.set_username(username);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password.expose_secret());
    }
    Ok(info.set_tcp_settings(tcp).set_redis_settings(login))
}

/// A client for subscriptions. The pool has its own.
pub(super) fn client(settings: &RedisSettings) -> RedisResult<Client> {
    Client::open(connection_info(settings)?)
}

/// Timeouts for a connection; the library's own defaults are not what the settings promise.
pub(super) fn timeouts(settings: &RedisSettings) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect_timeout))
        .set_response_timeout(Some(settings.command_timeout))
}
