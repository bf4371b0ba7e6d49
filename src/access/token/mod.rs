//! JSON Web Tokens: of CI systems, that publish without a key ([`Oidc`]), and of apps that listen ([`Subscribers`]).
//!
//! The algorithm is fixed by the key and never by the token; what a token says of itself picks a key, and nothing more,
//! until its signature is verified. No token ever stands in a log or an error.

mod crypto;
mod fetch;
mod jwks;
mod keys;
mod oidc;
mod rules;
mod subscribers;
mod verify;

pub use self::fetch::{Source, fetch};
pub use self::jwks::{Issuers, JwksStatus};
pub use self::keys::KeySet;
pub use self::oidc::Oidc;
pub use self::rules::Rules;
pub use self::subscribers::{Leave, Subscribers};
pub use self::verify::{Claims, RequiredClaims, Token, TokenError};
