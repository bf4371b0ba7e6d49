//! The files that the settings name: keys, rules, secrets of webhooks, a certificate. Read at the start, watched from
//! then on.

use std::sync::Arc;

use crate::access::{self, Access, Issuers, webhook};
use crate::config::{BadSettings, Settings};
use crate::http::WebhookReceiver;
use crate::metrics::Metrics;
use crate::reload::{Reloaded, Reloads};
use crate::tls::{self, Pair};

/// What they hold.
pub struct Files {
    pub access: Arc<Access>,
    pub issuers: Arc<Issuers>,
    pub webhooks: Option<WebhookReceiver>,
    pub certificate: Option<Arc<Reloaded<Pair>>>,
    pub reloads: Arc<Reloads>,
}

impl Files {
    /// Reads them all; an error names every one that is no good. `made_key` is the key of a node that has no other.
    pub fn read(
        settings: &Settings,
        made_key: Option<&str>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, BadSettings> {
        let mut reloads = Reloads::default();
        let counting = Arc::clone(metrics);
        let issuers = Issuers::new(move |brought_keys| counting.jwks_fetched(brought_keys), access::fetch);
        let access = Access::new(settings, made_key, &issuers, &mut reloads);
        let webhooks = webhook::load(&settings.webhooks, &mut reloads);
        let counting = Arc::clone(metrics);
        let taken = move |certificate: &Pair| counting.tls.set_certificate_expiry(certificate.expires);
        let certificate = settings.server.tls.as_ref();
        let certificate = certificate.map(|tls| tls::watch_certificate(tls, &mut reloads, taken)).transpose();
        match (access, webhooks, certificate) {
            (Ok(access), Ok(webhooks), Ok(certificate)) => {
                let body_limit_bytes = settings.webhooks.body_limit_bytes;
                let webhooks = webhooks.map(|webhooks| WebhookReceiver::new(webhooks, body_limit_bytes));
                let (access, reloads) = (Arc::new(access), Arc::new(reloads));
                Ok(Self { access, issuers, webhooks, certificate, reloads })
            }
            (access, webhooks, certificate) => {
                let problems = access.err().into_iter().chain(webhooks.err()).flat_map(|bad| bad.0);
                Err(BadSettings(problems.chain(certificate.err()).collect()))
            }
        }
    }
}
