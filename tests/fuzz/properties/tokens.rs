//! A JSON Web Token. Input: its header on the first line, its claims on the second; or a text that may be a token.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use hmac::{Hmac, KeyInit, Mac};
use refresh_relay::access::token::{KeySet, RequiredClaims, Token};
use serde_json::Value;
use sha2::Sha256;

const SECRET: &str = "a shared secret of more than 32 bytes";
const ISSUER: &str = "joe";
const AUDIENCE: &str = "relay";

/// The public keys of RFC 7515, appendices A.2 and A.3.
const PUBLIC: &str = r#"{"keys": [
    {"kty": "RSA", "kid": "rsa", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
    {"kty": "EC", "kid": "ec", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
]}"#;

static SECRETS: LazyLock<KeySet> = LazyLock::new(|| KeySet::from_secrets(SECRET).expect("a secret"));
static PUBLIC_KEYS: LazyLock<KeySet> = LazyLock::new(|| KeySet::from_jwks(PUBLIC.as_bytes()).expect("keys"));

pub fn check(input: &[u8]) {
    let (secret, public): (&KeySet, &KeySet) = (&SECRETS, &PUBLIC_KEYS);
    let required = RequiredClaims { issuer: Some(ISSUER.to_owned()), audience: Some(AUDIENCE.to_owned()) };
    if let Ok(text) = std::str::from_utf8(input) {
        // Whoever has no key makes no token.
        for keys in [secret, public] {
            assert!(Token::parse(text).and_then(|token| token.verify(keys, &required)).is_err(), "{text}");
        }
        let _is_one_or_not = (Token::is_one(text), Token::parse(text).map(|token| token.claimed_issuer()));
    }
    let mut lines = super::lines(input);
    let (header, claims) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let signature = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
    let signature = signature.chain_update(&message).finalize().into_bytes();
    let token = format!("{message}.{}", BASE64URL.encode(signature));
    let Ok(parsed) = Token::parse(&token) else { return };
    // Public keys verify nothing that is signed with a shared secret, whatever the header says.
    assert!(parsed.verify(public, &required).is_err(), "{token}");
    if let Ok(verified) = parsed.verify(secret, &required) {
        let header: Value = serde_json::from_slice(header).expect("a header");
        assert!(header["alg"] == "HS256" && header.get("crit").is_none_or(Value::is_null), "{header}");
        let claims: Value = serde_json::from_slice(claims).expect("claims");
        assert!(holds(&claims["iss"], ISSUER) && holds(&claims["aud"], AUDIENCE), "{claims}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        assert!(claims["exp"].as_f64().expect("a number") > now - 62.0, "{claims}");
        assert!(claims["nbf"].as_f64().is_none_or(|from| from < now + 62.0), "{claims}");
        assert!(
            verified
                .expires_at
                .is_none_or(|until| until > SystemTime::now() - std::time::Duration::from_secs(2))
        );
    }
}

fn holds(claim: &Value, wanted: &str) -> bool {
    claim == wanted || claim.as_array().is_some_and(|list| list.iter().any(|item| item == wanted))
}
