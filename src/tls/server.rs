//! The server's side of TLS, for the public listener.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::pair::{Pair, Part, parse};
use crate::config::{Problem, TlsSettings, TlsVersion};
use crate::metrics::WatchedFile;
use crate::reload::{Reloaded, Reloads};

/// Reads the pair that the settings name, and has it watched. `taken` is told of each pair that comes into force.
pub fn watch_certificate(
    settings: &TlsSettings,
    reloads: &mut Reloads,
    taken: impl Fn(&Pair) + Send + Sync + 'static,
) -> Result<Arc<Reloaded<Pair>>, Problem> {
    let files = vec![settings.cert_file.clone(), settings.key_file.clone()];
    let certificate = Reloaded::load(WatchedFile::Certificate, files, move |contents| {
        let pair = parse(&contents[0], &contents[1], SystemTime::now()).map_err(|error| error.to_string())?;
        taken(&pair);
        Ok(pair)
    });
    let certificate = certificate.map_err(|message| problem(settings, message))?;
    reloads.add(&certificate);
    Ok(certificate)
}

/// Under the key of the file that is at fault, as far as there is one.
fn problem(settings: &TlsSettings, message: String) -> Problem {
    let TlsSettings { cert_file, key_file, .. } = settings;
    let parsed = fs::read(cert_file)
        .and_then(|chain| Ok(parse(&chain, &fs::read(key_file)?, SystemTime::now())))
        .map(|parsed| parsed.map_err(|error| error.part()));
    match parsed {
        Ok(Err(Part::Key)) => Problem::in_file("server.tls.key_file", key_file, message),
        _ => Problem::in_file("server.tls.cert_file", cert_file, message),
    }
}

/// Asks for the certificate in force at each handshake, so that a new one needs no restart. Which application
/// protocols are offered is the HTTP server's to say.
pub fn server_config(
    oldest: TlsVersion,
    certificate: Arc<Reloaded<Pair>>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(and_newer(oldest))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(InForce(certificate)));
    // Clients that come back, as all do when a node leaves, are spared half of the work. The tickets hold all that is
    // needed, so a client that goes away leaves nothing here.
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

fn and_newer(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_1_2: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];
    match oldest {
        TlsVersion::V1_2 => &FROM_1_2,
        TlsVersion::V1_3 => &FROM_1_2[1..],
    }
}

struct InForce(Arc<Reloaded<Pair>>);

impl ResolvesServerCert for InForce {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().key))
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InForce")
    }
}
