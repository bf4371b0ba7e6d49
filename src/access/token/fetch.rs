//! How keys come over the network: the issuer's configuration (`OpenID` Connect Discovery 1.0), and its JWK Set.
//!
//! Blocking, for a thread that may block. An answer has a limit in time and size, and no redirect is followed: what
//! comes back decides who may publish.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};
use url::Url;

use super::keys::{KeySet, KeySetError};
use crate::config::secure_url;
use crate::tls;

/// How long one request may take, name resolution included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer, in bytes. GitHub's JWK Set has some 6 KiB.
const MAX_BYTES: u64 = 256 * 1024;

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Where keys are fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// By way of the issuer's configuration.
    Issuer(Url),
    /// From a JWK Set.
    Jwks(Url),
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("no answer from {url}: {source}")]
    NoAnswer { url: String, source: Box<ureq::Error> },
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url} is not the configuration of an issuer: {source}")]
    Configuration { url: String, source: serde_json::Error },
    #[error("{url} is the configuration of another issuer, or of this one spelt otherwise")]
    OtherIssuer { url: String },
    #[error("{url} names a jwks_uri that {problem}")]
    KeysUrl { url: String, problem: String },
    #[error("what {url} holds is no good: {source}")]
    Keys { url: String, source: KeySetError },
    #[error("the fetch was broken off")]
    BrokenOff,
}

#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Issuer(url) | Self::Jwks(url)) = self;
        url.as_str().trim_end_matches('/').fmt(f)
    }
}

/// Asks for the keys.
pub fn fetch(source: &Source) -> Result<KeySet, FetchError> {
    let agent = agent();
    let url = match source {
        Source::Jwks(url) => url.clone(),
        Source::Issuer(issuer) => discover(&agent, issuer)?,
    };
    KeySet::from_jwks(&get(&agent, &url)?).map_err(|source| FetchError::Keys { url: url.into(), source })
}

fn discover(agent: &Agent, issuer: &Url) -> Result<Url, FetchError> {
    let issuer = issuer.as_str().trim_end_matches('/');
    let url = Url::parse(&format!("{issuer}{DISCOVERY}")).map_err(|_| FetchError::BrokenOff)?;
    let found: Configuration = serde_json::from_slice(&get(agent, &url)?)
        .map_err(|source| FetchError::Configuration { url: url.to_string(), source })?;
    // Else an issuer could have its tokens judged by the keys of another (RFC 8414, section 3.3).
    if found.issuer.trim_end_matches('/') != issuer {
        return Err(FetchError::OtherIssuer { url: url.into() });
    }
    secure_url(&found.jwks_uri).map_err(|problem| FetchError::KeysUrl { url: url.into(), problem })
}

fn get(agent: &Agent, url: &Url) -> Result<Vec<u8>, FetchError> {
    let no_answer =
        |source: ureq::Error| FetchError::NoAnswer { url: url.to_string(), source: Box::new(source) };
    let mut answer = agent.get(url.as_str()).call().map_err(no_answer)?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(FetchError::Status { url: url.to_string(), status });
    }
    answer.body_mut().with_config().limit(MAX_BYTES).read_to_vec().map_err(no_answer)
}

fn agent() -> Agent {
    tls::use_ring();
    Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("refresh-relay/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .build()
        .into()
}
