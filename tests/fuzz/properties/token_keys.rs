//! Keys of token issuers: a JWK Set, public keys in PEM, shared secrets. Input: the content.

use refresh_relay::access::token::{KeySet, RequiredClaims, Token};

/// RFC 7515, appendix A.3: of 2011.
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let sets = [KeySet::from_jwks(input), KeySet::from_pem(&text), KeySet::from_secrets(&text)];
    for keys in sets.into_iter().flatten() {
        let required = RequiredClaims { issuer: None, audience: None };
        // Expired, or not signed with any of these.
        let token = Token::parse(ES256).expect("a token");
        assert!(token.verify(&keys, &required).is_err());
    }
}
