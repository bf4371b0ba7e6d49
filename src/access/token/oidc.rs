//! Publishing with a token of the CI system instead of a key: whose token it is, whether it is good, and what it may do.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use tracing::debug;

use super::fetch::Source;
use super::jwks::{Issuers, Unavailable};
use super::rules::Rules;
use super::verify::Token;
use crate::access::{Denied, Grant};
use crate::config::Problem;
use crate::metrics::WatchedFile;
use crate::reload::{Reloaded, Reloads};

/// Everyone who may publish by a token.
pub struct Oidc {
    rules: Arc<Reloaded<Rules>>,
    issuers: Arc<Issuers>,
}

impl Oidc {
    /// Reads the file with the rules, and has it watched.
    pub fn new(file: &Path, issuers: &Arc<Issuers>, reloads: &mut Reloads) -> Result<Self, Problem> {
        let rules = Reloaded::load(WatchedFile::OidcRules, vec![file.to_owned()], |contents| {
            Rules::parse(&contents[0])
        });
        let rules = rules.map_err(|message| Problem::in_file("publish.oidc_file", file, message))?;
        reloads.add(&rules);
        Ok(Self { rules, issuers: Arc::clone(issuers) })
    }

    /// What the token's bearer may do.
    pub async fn grant(&self, text: &str) -> Result<Grant, Denied> {
        let token = Token::parse(text)?;
        let rules = self.rules.current();
        let issuer = rules.issuer(&token.claimed_issuer()?).ok_or(Denied::UnknownIssuer)?;
        let keys = self.issuers.keys(&issuer.source, token.key_id()).await;
        let keys = keys.map_err(|Unavailable| Denied::IssuerUnavailable)?;
        let claims = token.verify(&keys, &issuer.required)?;
        let grant = issuer.grant(&claims).cloned();
        if grant.is_none() {
            // Signed by the issuer, so not just anybody's text. Its claims are no secret; the token would be.
            debug!(issuer = %issuer.source, subject = claims.text("sub"), "a token fulfils no rule");
        }
        grant.ok_or(Denied::NoRule)
    }

    /// Whose keys it takes.
    pub fn sources(&self) -> HashSet<Source> {
        self.rules.current().sources().cloned().collect()
    }
}
