//! The settings of TLS on the public listener, and what all pairs of a certificate and its key have in common.

use std::path::PathBuf;
use std::time::Duration;

use super::parse;
use super::reader::Reader;

/// TLS on the public listener. The files are PEM.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub min_version: TlsVersion,
    pub handshake_timeout: Duration,
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsVersion {
    #[default]
    V1_2,
    V1_3,
}

/// None = a plain listener.
pub fn read(from: &mut Reader) -> Option<TlsSettings> {
    let min_version = from.text("server.tls.min_version", parse::tls_version);
    let handshake_timeout = from.seconds("server.tls.handshake_timeout_seconds", 1..=600);
    let (cert_file, key_file) = read_pair(from, "server.tls.cert_file", "server.tls.key_file")?;
    Some(TlsSettings { cert_file, key_file, min_version, handshake_timeout })
}

/// The files of a certificate and its key: both or neither.
pub fn read_pair(from: &mut Reader, cert: &'static str, key: &'static str) -> Option<(PathBuf, PathBuf)> {
    let (cert_origin, key_origin) = (from.origin(cert), from.origin(key));
    let cert_file = from.optional_text(cert, parse::readable_file);
    let key_file = from.optional_text(key, parse::readable_file);
    match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => return Some((cert_file, key_file)),
        (Some(_), None) if key_origin.is_none() => {
            from.problem(cert, cert_origin, format!("needs {key} beside it"));
        }
        (None, Some(_)) if cert_origin.is_none() => {
            from.problem(key, key_origin, format!("needs {cert} beside it"));
        }
        _ => {}
    }
    None
}
