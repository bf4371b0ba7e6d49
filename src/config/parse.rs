//! How the text of a setting becomes a value. An error says what the text should be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use url::{Host, Url};

use super::redis::{RedisMode, RedisUrl};
use super::settings::{LogFormat, WireKind};
use super::tls::TlsVersion;

pub fn address(text: &str) -> Result<Option<SocketAddr>, String> {
    let hint = || format!("must be an address and a port such as 0.0.0.0:8080, not {text:?}");
    text.parse().map(Some).map_err(|_| hint())
}

pub fn any_address() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}

pub fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| format!("must be networks such as 10.0.0.0/8, not {text:?}"))
}

/// What a subprotocol begins with that is none, but carries a listener's token.
pub const TOKEN_SUBPROTOCOL: &str = "token.";

/// A token as RFC 6455, section 4.1 asks.
pub fn subprotocol(text: &str) -> Result<String, String> {
    let token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c);
    if text.starts_with(TOKEN_SUBPROTOCOL) {
        Err(format!(
            "must not begin with {TOKEN_SUBPROTOCOL}, which is how a client shows its token; not {text:?}"
        ))
    } else if text.chars().all(token) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be subprotocol names such as relay.v1, not {text:?}"))
    }
}

pub fn wire(text: &str) -> Result<WireKind, String> {
    match text {
        "direct" => Ok(WireKind::Direct),
        "actix-ws" => Ok(WireKind::ActixWs),
        _ => Err(format!("must be direct or actix-ws, not {text:?}")),
    }
}

pub fn tls_version(text: &str) -> Result<TlsVersion, String> {
    match text {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ => Err(format!("must be 1.2 or 1.3, not {text:?}")),
    }
}

pub fn redis_mode(text: &str) -> Result<Option<RedisMode>, String> {
    let mode = RedisMode::ALL.into_iter().find(|mode| mode.label() == text);
    mode.map(Some).ok_or_else(|| format!("must be standalone, sentinel or cluster, not {text:?}"))
}

/// The URL, and the URL with its password masked.
pub fn redis_url(text: &str) -> Result<(RedisUrl, String), String> {
    // The text itself may hold a password, so no error repeats it.
    let hint =
        "must be a URL such as redis://redis.internal:6379/0, rediss://... or redis+unix:///run/redis.sock";
    let url = Url::parse(text).map_err(|error| format!("{hint} ({error})"))?;
    let scheme = url.scheme();
    match scheme {
        "redis" | "valkey" | "rediss" | "valkeys" if url.host_str().is_none_or(str::is_empty) => {
            return Err(format!("{hint} (no host)"));
        }
        "redis" | "valkey" | "rediss" | "valkeys" => {
            let database = url.path().trim_matches('/');
            if !database.is_empty() && database.parse::<u16>().is_err() {
                return Err(format!("{hint} (the path must be the number of a database)"));
            }
        }
        "redis+unix" | "unix" if !url.path().starts_with('/') || url.path() == "/" => {
            return Err(format!("{hint} (no path)"));
        }
        "redis+unix" | "unix" => {}
        _ => return Err(format!("{hint} (unknown scheme {scheme:?})")),
    }
    let mut shown = url.clone();
    // A URL of a socket has its login there.
    if url.query().is_some() {
        shown.set_query(Some("hidden"));
    }
    if shown.password().is_some() {
        shown.set_password(Some("hidden")).map_err(|()| hint.to_owned())?;
    }
    Ok((RedisUrl::new(url), shown.into()))
}

/// A URL that keys may be fetched from: nobody between here and there may be able to change them.
pub fn secure_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("must be a URL such as https://issuer.example.com ({error})"))?;
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => return Err("must begin with https:// (http:// for a loopback address only)".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("must be a URL without a login and without a fragment".to_owned());
    }
    Ok(url)
}

pub fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        Err("must be a name".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A file whose content is looked at elsewhere.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must be a file".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// A file that can be read now; whether its content will do shows when it is used.
pub fn readable_file(text: &str) -> Result<PathBuf, String> {
    match std::fs::read(text) {
        Ok(_) => Ok(PathBuf::from(text)),
        Err(error) => Err(format!("cannot read the file {text}: {error}")),
    }
}

/// Braces would set a hash tag of their own.
pub fn key_prefix(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be 1 to 64 letters, digits or -_.: characters, not {text:?}"))
    }
}

pub fn log_level(text: &str) -> Result<String, String> {
    // The filter takes a bare word for a target, and so a misspelt level for a filter that shows nothing else.
    let mut directives = text.split(',');
    let plain = directives.all(|part| part.contains('=') || part.parse::<LevelFilter>().is_ok());
    // Spans and their fields, which the relay has none of, are not for it either: it takes their values for patterns, and
    // can be at one for minutes. At some texts beyond ASCII it panics.
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, ',' | '=' | ':' | '_' | '-');
    if plain && text.chars().all(known) && text.parse::<EnvFilter>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(format!(
        "must be error, warn, info, debug or trace, or directives such as info,refresh_relay::broker=debug; not {text:?}"
    ))
}

pub fn log_format(text: &str) -> Result<Option<LogFormat>, String> {
    match text {
        "auto" => Ok(Some(LogFormat::Auto)),
        "text" => Ok(Some(LogFormat::Text)),
        "json" => Ok(Some(LogFormat::Json)),
        _ => Err(format!("must be auto, text or json, not {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_url_with_a_typo_is_refused_and_never_repeated() {
        for text in [
            "rediss//u:hunter2@h",
            "reddis://u:hunter2@h",
            "redis:/u:hunter2@",
            "redis://h/hunter2",
            "redis://u:hunter2@h:99999",
            "redis+unix://",
        ] {
            let error = redis_url(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_password_of_a_redis_url_is_masked() {
        let (_, shown) = redis_url("redis+unix:///run/redis.sock?pass=hunter2&db=1").unwrap();
        assert_eq!(shown, "redis+unix:///run/redis.sock?hidden");
        let (_, shown) = redis_url("redis://me:hunter2@redis.internal:6379/1").unwrap();
        assert_eq!(shown, "redis://me:hidden@redis.internal:6379/1");
    }

    #[test]
    fn keys_come_by_https_and_by_http_from_this_machine_alone() {
        for good in
            ["https://issuer.example.com/realm", "http://127.0.0.1:81", "http://[::1]/x", "http://localhost"]
        {
            assert!(secure_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://issuer.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "ftp://127.0.0.1",
            "https://me:secret@issuer.example.com",
            "issuer.example.com",
            "",
        ] {
            assert!(secure_url(bad).is_err(), "{bad}");
        }
    }
}
