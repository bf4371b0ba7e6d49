//! A certificate and its key, from PEM: what rustls needs, or what is wrong with which of the two files.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::ring::sign;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;

/// A certificate chain and its key, fit for use.
pub struct Pair {
    pub key: Arc<CertifiedKey>,
    /// When the node's own certificate stops being valid.
    pub expires: SystemTime,
}

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Certificate,
    Key,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
        })
    }
}

/// Why a pair cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error(
        "the certificate file holds no certificate; it needs the node's own first, then those of the authorities in \
         between, in PEM"
    )]
    NoCertificate,
    #[error("the {0} file holds something that is not PEM: {1}")]
    NotPem(Part, #[source] pem::Error),
    #[error("the certificate cannot be read: {0}")]
    UnreadableCertificate(String),
    #[error("the certificate expired at {}; renew it", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
    #[error("the key file holds no private key in PEM")]
    NoKey,
    #[error("the key is encrypted, and the node has nobody to ask for its passphrase; decrypt it")]
    EncryptedKey,
    #[error("the key is of a kind that cannot be used (RSA, ECDSA and Ed25519 can): {0}")]
    UnusableKey(#[source] Error),
    #[error("the key does not belong to the first certificate in the certificate file")]
    NotItsKey,
}

impl PairError {
    /// The file to look at.
    pub fn part(&self) -> Part {
        match self {
            Self::NotPem(part, _) => *part,
            Self::NoCertificate | Self::UnreadableCertificate(_) | Self::Expired(_) => Part::Certificate,
            Self::NoKey | Self::EncryptedKey | Self::UnusableKey(_) | Self::NotItsKey => Part::Key,
        }
    }
}

/// Reads a certificate chain and its key, and checks that they belong together and are valid at `now`. That a
/// certificate is not valid yet is no fault: new ones often begin this very second, by a clock that is not ours.
pub fn parse(chain_pem: &[u8], key_pem: &[u8], now: SystemTime) -> Result<Pair, PairError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|error| PairError::NotPem(Part::Certificate, error))?;
    let expires = expiry(chain.first().ok_or(PairError::NoCertificate)?)?;
    if expires < now {
        return Err(PairError::Expired(expires));
    }
    let key = sign::any_supported_type(&private_key(key_pem)?).map_err(PairError::UnusableKey)?;
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        Ok(()) => Ok(Pair { key: Arc::new(key), expires }),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(PairError::NotItsKey),
        Err(error) => Err(PairError::UnreadableCertificate(error.to_string())),
    }
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PairError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        if text.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) {
            return PairError::EncryptedKey;
        }
        match error {
            pem::Error::NoItemsFound => PairError::NoKey,
            error => PairError::NotPem(Part::Key, error),
        }
    })
}

/// In the first line (PKCS#8), or in a header below it (the older form of OpenSSL).
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// By the lenient profile: what rustls would serve is not refused for its serial number.
fn expiry(certificate: &CertificateDer<'_>) -> Result<SystemTime, PairError> {
    let certificate = CertificateInner::<Raw>::from_der(certificate)
        .map_err(|error| PairError::UnreadableCertificate(error.to_string()))?;
    let since_1970: Duration = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Ok(UNIX_EPOCH + since_1970)
}
