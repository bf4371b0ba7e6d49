//! The keys that tokens are verified with: from a JWK Set (RFC 7517), a file in PEM, or shared secrets.
//!
//! A key's own type says with which algorithm it verifies. What a token's header says picks among keys, and never the
//! algorithm a key is used with.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// More keys than any issuer publishes. Every one may have to be tried for a token that names none.
const MAX_KEYS: usize = 32;

/// The shortest RSA modulus, in bytes (RFC 7518, section 3.3).
const MIN_RSA_BYTES: usize = 256;

/// The shortest shared secret, in bytes: as long as the hash (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// A point on P-256, uncompressed.
const P256_POINT_BYTES: usize = 65;

pub struct Key {
    /// Its `kid`; None where a file has none.
    id: Option<String>,
    pub algorithm: Algorithm,
    pub verifies: DecodingKey,
}

/// Keys of one issuer.
pub struct KeySet(Vec<Key>);

/// Why there are no keys. None of these says what a key is.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    #[error("it is not a JWK Set: {0}")]
    NotJwks(#[source] serde_json::Error),
    #[error(
        "it holds none of the keys that tokens are verified with: RSA of 2048 bits or more, or EC on P-256"
    )]
    NoKey,
    #[error("it holds {0} keys, {MAX_KEYS} at most are taken")]
    TooMany(usize),
    #[error("it is not PEM: {0}")]
    NotPem(#[source] pem::PemError),
    #[error("it holds a {0:?}, but must hold public keys alone (openssl pkey -in FILE -pubout)")]
    NotPublic(String),
    #[error("its key number {0} is neither RSA of 2048 bits or more nor EC on P-256")]
    Unusable(usize),
    #[error(
        "secret number {0} is shorter than {MIN_SECRET_BYTES} bytes, which RFC 7518 asks of HS256 (openssl rand -base64 32)"
    )]
    ShortSecret(usize),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// The keys of a JWK Set. Those of another kind or for another use are left out, as RFC 7517 (section 5) asks;
    /// shared secrets among them, which no one may publish, too.
    pub fn from_jwks(json: &[u8]) -> Result<Self, KeySetError> {
        let document: Document = serde_json::from_slice(json).map_err(KeySetError::NotJwks)?;
        if document.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(document.keys.len()));
        }
        let keys = document.keys.into_iter().filter_map(|key| from_jwk(&serde_json::from_value(key).ok()?));
        Self::some(keys.collect())
    }

    /// The public keys of a file in PEM; any of them may have signed a token.
    pub fn from_pem(text: &str) -> Result<Self, KeySetError> {
        let blocks = pem::parse_many(text).map_err(KeySetError::NotPem)?;
        if blocks.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(blocks.len()));
        }
        let keys = blocks.iter().zip(1..).map(|(block, number)| {
            if !["PUBLIC KEY", "RSA PUBLIC KEY"].contains(&block.tag()) {
                return Err(KeySetError::NotPublic(block.tag().to_owned()));
            }
            from_pem(pem::encode(block).as_bytes()).ok_or(KeySetError::Unusable(number))
        });
        Self::some(keys.collect::<Result<_, _>>()?)
    }

    /// Shared secrets for HS256, one a line: while the secret is changed there are two.
    pub fn from_secrets(text: &str) -> Result<Self, KeySetError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines.zip(1..).map(|(secret, number)| {
            if secret.len() < MIN_SECRET_BYTES {
                return Err(KeySetError::ShortSecret(number));
            }
            let key = DecodingKey::from_secret(secret.as_bytes());
            Ok(Key { id: None, algorithm: Algorithm::HS256, verifies: key })
        });
        Self::some(keys.collect::<Result<_, _>>()?)
    }

    /// The keys that may have signed a token with this header.
    pub fn candidates(&self, algorithm: Algorithm, id: Option<&str>) -> impl Iterator<Item = &Key> {
        let named = move |key: &Key| match (id, key.id.as_deref()) {
            (Some(wanted), Some(given)) => wanted == given,
            _ => true,
        };
        self.0.iter().filter(move |key| key.algorithm == algorithm && named(key))
    }

    /// Whether there is a key of that name, whatever its kind, or one without a name.
    pub fn knows(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.0.iter().any(|key| key.id.as_deref().is_none_or(|given| given == id)))
    }

    /// How many there are; never none.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn some(keys: Vec<Key>) -> Result<Self, KeySetError> {
        if keys.is_empty() { Err(KeySetError::NoKey) } else { Ok(Self(keys)) }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet of {}", self.0.len())
    }
}

fn from_jwk(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    if common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => Algorithm::ES256,
        _ => return None,
    };
    let said = match common.key_algorithm {
        None => algorithm,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(_) => return None,
    };
    let key = usable(DecodingKey::from_jwk(jwk).ok()?)?;
    (said == algorithm).then(|| Key { id: common.key_id.clone(), algorithm, verifies: key })
}

fn from_pem(pem: &[u8]) -> Option<Key> {
    let ec = DecodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key));
    let (algorithm, key) =
        ec.or_else(|_| DecodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS256, key))).ok()?;
    Some(Key { id: None, algorithm, verifies: usable(key)? })
}

/// Keys that ring would refuse at every token are better refused now.
fn usable(key: DecodingKey) -> Option<DecodingKey> {
    use jsonwebtoken::{AlgorithmFamily, DecodingKeyKind};
    let good = match (key.family(), key.kind()) {
        (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, .. }) => {
            n.len() >= MIN_RSA_BYTES && n.first() != Some(&0)
        }
        (AlgorithmFamily::Rsa, DecodingKeyKind::SecretOrDer(der)) => der.len() > MIN_RSA_BYTES,
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => point.len() == P256_POINT_BYTES,
        _ => false,
    };
    good.then_some(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn jwks(keys: &[Value]) -> Result<usize, KeySetError> {
        KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).map(|keys| keys.count())
    }

    #[test]
    fn keys_of_another_kind_or_for_another_use_are_left_out() {
        let good = json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": X, "y": Y});
        let with = |name: &str, value: &str| {
            let mut key = good.clone();
            key[name] = value.into();
            key
        };
        assert_eq!(jwks(&[good.clone(), with("alg", "ES256"), with("use", "sig")]).unwrap(), 3);
        let n = "A".repeat(171);
        for bad in [
            with("use", "enc"),
            with("crv", "P-384"),
            with("alg", "ES384"),
            with("alg", "RS256"),
            with("kty", "unheard of"),
            with("x", "AAAA"),
            json!({"kty": "oct", "kid": "1", "k": "c2VjcmV0"}),
            json!({"kty": "RSA", "kid": "1", "n": n, "e": "AQAB"}),
            json!(7),
        ] {
            assert_eq!(jwks(&[bad.clone(), good.clone()]).unwrap(), 1, "{bad}");
            assert!(matches!(jwks(&[bad]), Err(KeySetError::NoKey)));
        }
        assert!(matches!(jwks(&vec![good; MAX_KEYS + 1]), Err(KeySetError::TooMany(33))));
        assert!(matches!(KeySet::from_jwks(b"[]"), Err(KeySetError::NotJwks(_))));
    }

    #[test]
    fn a_file_of_keys_holds_public_keys_alone_and_secrets_are_long() {
        let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(KeySet::from_pem(private), Err(KeySetError::NotPublic(_))));
        let broken = private.replace("PRIVATE", "PUBLIC");
        assert!(matches!(KeySet::from_pem(&broken), Err(KeySetError::Unusable(1))));
        assert!(matches!(KeySet::from_pem("no PEM"), Err(KeySetError::NoKey)));
        let long = "x".repeat(MIN_SECRET_BYTES);
        assert_eq!(KeySet::from_secrets(&format!("{long}\n\n {long}y \n")).unwrap().count(), 2);
        assert!(matches!(KeySet::from_secrets(&format!("{long}\nshort")), Err(KeySetError::ShortSecret(2))));
        assert!(matches!(KeySet::from_secrets("\n"), Err(KeySetError::NoKey)));
    }
}
