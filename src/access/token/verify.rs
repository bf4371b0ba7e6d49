//! A JSON Web Token (RFC 7519): its form, and whether it is good.
//!
//! The order is that of RFC 8725: size, form, key, signature, and only then what it claims. No error repeats any of the
//! token, as errors are answered and logged.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::crypto;
use super::keys::KeySet;

/// The longest token that is looked at, in bytes. Those of GitHub and GitLab have some 1.5 KiB.
pub const MAX_BYTES: usize = 8 * 1024;

/// How far clocks may be apart.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// Later than this counts as never, in seconds from now: some 30 years.
const NEVER_SECONDS: u64 = 1_000_000_000;

/// Which check a token did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("it is not a JSON Web Token")]
    Malformed,
    #[error("it has a critical header that is not understood here")]
    Critical,
    #[error("its algorithm is not one that the keys here are for")]
    Algorithm,
    #[error("its key (kid) is not known")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("it has expired (exp)")]
    Expired,
    #[error("it is not valid yet (nbf)")]
    NotYetValid,
    #[error("its issuer (iss) is not the one expected")]
    Issuer,
    #[error("its audience (aud) is not the one expected")]
    Audience,
    #[error("its claim {0} is missing, or not of the right form")]
    Claim(String),
}

/// What a good token must say of itself.
#[derive(Debug, Clone)]
pub struct RequiredClaims {
    /// None = whoever has the key.
    pub issuer: Option<String>,
    /// None = for whomever it was made.
    pub audience: Option<String>,
}

/// A text that has the form of a token; nothing in it is proven.
pub struct Token<'a> {
    text: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
}

/// What a token proves.
#[derive(Debug)]
pub struct Claims {
    claims: Map<String, Value>,
    /// When it is good for nothing any more, leeway included; None = never.
    pub expires_at: Option<SystemTime>,
}

impl<'a> Token<'a> {
    /// Whether the text has the outer form: three parts in base64url, of which the first is a JSON object.
    pub fn is_one(text: &str) -> bool {
        let part = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let parts: Vec<&str> = text.splitn(4, '.').collect();
        // `{` and whatever follows it.
        parts.len() == 3 && text.starts_with("ey") && parts.into_iter().all(part)
    }

    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        // An algorithm that the library does not know, `none` above all, is a header that cannot be read.
        let header = jsonwebtoken::decode_header(text).map_err(|error| match error.kind() {
            ErrorKind::Json(error) if error.to_string().contains("unknown variant") => TokenError::Algorithm,
            _ => TokenError::Malformed,
        })?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        Ok(Self { text, algorithm: header.alg, key_id: header.kid })
    }

    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Who it says has made it: good for finding the keys, and for nothing else.
    pub fn claimed_issuer(&self) -> Result<String, TokenError> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: Option<String>,
        }
        let claimed: Issuer = jsonwebtoken::dangerous::insecure_decode_claims(self.text)
            .map_err(|_| TokenError::Claim("iss".to_owned()))?;
        claimed.iss.ok_or_else(|| TokenError::Claim("iss".to_owned()))
    }

    /// What it proves, when one of the keys has signed it and it says what is expected.
    pub fn verify(&self, keys: &KeySet, required: &RequiredClaims) -> Result<Claims, TokenError> {
        crypto::use_ring();
        let known = keys.knows(self.key_id());
        let mut outcome = Err(if known { TokenError::Algorithm } else { TokenError::UnknownKey });
        for key in keys.candidates(self.algorithm, self.key_id()) {
            let validation = required.validation(key.algorithm);
            let decoded = jsonwebtoken::decode(self.text, &key.verifies, &validation);
            outcome =
                decoded.map_err(|error| cause(error.kind())).and_then(|token| Claims::new(token.claims));
            // Another key may have signed it; whoever has, its claims stay the same.
            if outcome.as_ref().err() != Some(&TokenError::Signature) {
                break;
            }
        }
        outcome
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl RequiredClaims {
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.validate_aud = self.audience.is_some();
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

impl Claims {
    fn new(claims: Map<String, Value>) -> Result<Self, TokenError> {
        let missing = || TokenError::Claim("exp".to_owned());
        let exp = claims.get("exp").and_then(Value::as_f64).filter(|exp| *exp >= 0.0).ok_or_else(missing)?;
        let since_1970 = Duration::try_from_secs_f64(exp.floor()).ok();
        let horizon = SystemTime::now() + Duration::from_secs(NEVER_SECONDS);
        let expires_at = since_1970
            .and_then(|since| UNIX_EPOCH.checked_add(since.checked_add(LEEWAY)?))
            .filter(|expires_at| *expires_at < horizon);
        Ok(Self { claims, expires_at })
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }
}

fn cause(error: &ErrorKind) -> TokenError {
    match error {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => {
            TokenError::Claim(name.clone())
        }
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat | ErrorKind::UnsupportedAlgorithm => {
            TokenError::Algorithm
        }
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
impl Claims {
    pub fn of_test(claims: Value) -> Self {
        let Value::Object(claims) = claims else { unreachable!("claims are an object") };
        Self { claims, expires_at: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // RFC 7515, appendices A.1 to A.3: one set of claims, which expired in 2011, under three signatures.
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const RS256_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8\
        W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9\
        383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0i\
        gcN_IoypGlUPQGe77Rw";
    const RS256_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4Q\
        lL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEM\
        a2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h\
        4FRWyuXpoQ";
    const ES256_SIGNATURE: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    /// The public keys of the appendices.
    fn keys(rsa: &str, ec: &str) -> KeySet {
        let keys = json!({"keys": [
            {"kty": "RSA", "kid": rsa, "n": RS256_MODULUS, "e": "AQAB"},
            {"kty": "EC", "kid": ec, "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        ]});
        KeySet::from_jwks(keys.to_string().as_bytes()).unwrap()
    }

    fn outcome(token: &str, keys: &KeySet) -> Result<(), TokenError> {
        let required = RequiredClaims { issuer: Some("joe".to_owned()), audience: None };
        Token::parse(token).and_then(|token| token.verify(keys, &required)).map(drop)
    }

    #[test]
    fn the_signatures_of_rfc_7515_are_good_and_no_others() {
        let keys = keys("rsa", "ec");
        let rs256 = format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.{RS256_SIGNATURE}");
        let es256 = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{ES256_SIGNATURE}");
        for token in [&rs256, &es256] {
            // The signature is looked at before the time.
            assert_eq!(outcome(token, &keys), Err(TokenError::Expired));
            assert_eq!(outcome(&token.replace("eyJpc3Mi", "eyJpc3Ni"), &keys), Err(TokenError::Signature));
        }
        // One key's signature under the other's algorithm.
        let crossed = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{RS256_SIGNATURE}");
        assert_eq!(outcome(&crossed, &keys), Err(TokenError::Signature));
    }

    #[test]
    fn a_shared_secret_verifies_hs256_alone_and_a_public_key_never_does() {
        let secret = "a shared secret of more than 32 bytes";
        let secrets = KeySet::from_secrets(&format!("{secret} old\n{secret}\n")).unwrap();
        let token = |claims: &Value| sign_hs256(secret.as_bytes(), claims);
        let soon = jsonwebtoken::get_current_timestamp() + 60;
        assert_eq!(outcome(&token(&json!({"iss": "joe", "exp": soon})), &secrets), Ok(()));
        assert_eq!(outcome(&token(&json!({"iss": "ann", "exp": soon})), &secrets), Err(TokenError::Issuer));
        assert_eq!(outcome(&token(&json!({"iss": "joe", "exp": 1})), &secrets), Err(TokenError::Expired));
        let es256 = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{ES256_SIGNATURE}");
        assert_eq!(outcome(&es256, &secrets), Err(TokenError::Algorithm));
        let confused = sign_hs256(RS256_MODULUS.as_bytes(), &json!({"iss": "joe", "exp": soon}));
        assert_eq!(outcome(&confused, &keys("a", "b")), Err(TokenError::Algorithm));
    }

    #[test]
    fn a_token_without_end_ends_never_and_one_from_the_far_past_is_no_error() {
        let claims = |exp: Value| Claims::new(json!({ "exp": exp }).as_object().cloned().unwrap_or_default());
        for exp in [json!(u64::MAX), json!(1e300), json!(9e18)] {
            assert_eq!(claims(exp).unwrap().expires_at, None);
        }
        let end = UNIX_EPOCH + Duration::from_secs(1000) + LEEWAY;
        assert_eq!(claims(json!(1000.7)).unwrap().expires_at, Some(end));
        for exp in [json!(-1), json!("1000"), json!(null)] {
            assert!(claims(exp).is_err());
        }
    }

    #[test]
    fn only_three_parts_in_base64url_have_the_form_of_a_token() {
        assert!(Token::is_one("eyJh.eyJp.c2ln-_"));
        for text in [
            "",
            "eyJh.eyJp",
            "eyJh.eyJp.",
            "eyJh.eyJp.c2ln.x",
            "rrk_a.b.c",
            "eyJh.ey p.c2ln",
            "eyJh.eyJp.c2+n",
        ] {
            assert!(!Token::is_one(text), "{text}");
        }
    }

    fn sign_hs256(secret: &[u8], claims: &Value) -> String {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let message = format!("eyJhbGciOiJIUzI1NiJ9.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
        format!("{message}.{signature}")
    }
}
