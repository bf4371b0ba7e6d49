//! Webhooks: who may send them, how that is proven, and which deliveries ask for a refresh.
//!
//! It is given a request's headers and raw body and answers what was delivered and whether to publish; it knows neither
//! actix-web nor the node. Nothing of a payload is kept.

mod fields;
mod file;
mod filter;
mod payload;
mod proof;

use std::sync::Arc;

use thiserror::Error;

pub use self::file::secret_files;
pub use self::filter::Ignored;
use self::filter::Rule;
pub use self::payload::{Payload, PayloadError};
use self::proof::WebhookSecret;
pub use self::proof::{Claim, TOLERANCE};
use super::{Grant, constant_time};
use crate::config::{BadSettings, Problem, WebhookSettings};
use crate::metrics::WatchedFile;
use crate::reload::{Reloaded, Reloads};
use crate::room::Revision;

/// The value of a header that was sent exactly once, without the blanks around it.
pub type Header<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// Whose form of webhooks it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Github,
    Gitlab,
    /// <https://www.standardwebhooks.com>, version 1.0.0.
    Standard,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Github, Self::Gitlab, Self::Standard];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Standard => "standard",
        }
    }

    pub fn parse(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

/// Why a request is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProofError {
    #[error("the header {header} was not sent; {hint}")]
    Missing { header: &'static str, hint: &'static str },
    #[error("the header {header} must be {wanted}")]
    Malformed { header: &'static str, wanted: &'static str },
    #[error(
        "webhook-timestamp is {seconds} seconds {} this relay's clock, more than the {} it may be; see whether both \
         clocks are right",
        if *.ahead { "ahead of" } else { "behind" }, TOLERANCE.as_secs()
    )]
    Clock { seconds: u64, ahead: bool },
    #[error("no secret of the {0} webhooks that this relay knows fits; see whether both have the same one")]
    Unknown(Kind),
}

/// A webhook that is expected.
#[derive(Debug)]
pub struct Webhook {
    /// As it stands in the file.
    pub id: String,
    pub kind: Kind,
    /// The webhook as a publisher, and its rooms.
    pub grant: Grant,
    secrets: Vec<WebhookSecret>,
    /// Any of them will do; without one, every delivery does.
    rules: Vec<Rule>,
}

/// All webhooks that are expected.
#[derive(Debug, Default)]
pub struct Webhooks(Vec<Webhook>);

/// Who sent a delivery: the webhook, and the place in the file of the secret that proved it.
#[derive(Debug)]
pub struct Sender<'a> {
    pub webhook: &'a Webhook,
    pub secret: &'a str,
}

/// What to do with a delivery.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Publish(Option<Revision>),
    /// GitHub asks, when a webhook is made, whether someone is there.
    Ping,
    Ignore(Ignored),
}

/// Reads the file that the settings name, if any, and has it watched, with the files that it names.
pub fn load(
    settings: &WebhookSettings,
    reloads: &mut Reloads,
) -> Result<Option<Arc<Reloaded<Webhooks>>>, BadSettings> {
    let Some(file) = &settings.file else { return Ok(None) };
    let files = vec![file.clone()];
    let webhooks = Reloaded::load_naming(WatchedFile::Webhooks, files, secret_files, Webhooks::parse)
        .map_err(|message| BadSettings(vec![Problem::in_file("webhooks.file", file, message)]))?;
    reloads.add(&webhooks);
    Ok(Some(webhooks))
}

impl Webhooks {
    /// Whose secret fits. How long it takes tells nothing but how many secrets of the kind there are.
    pub fn sender(&self, kind: Kind, claim: &Claim<'_>, body: &[u8]) -> Result<Sender<'_>, ProofError> {
        let found = constant_time::position(self.secrets_of(kind), |(_, secret)| claim.proves(secret, body));
        let sender = found.and_then(|index| self.secrets_of(kind).nth(index));
        let (webhook, secret) = sender.ok_or(ProofError::Unknown(kind))?;
        Ok(Sender { webhook, secret: secret.place() })
    }

    fn secrets_of(&self, kind: Kind) -> impl Iterator<Item = (&Webhook, &WebhookSecret)> {
        let webhooks = self.0.iter().filter(move |webhook| webhook.kind == kind);
        webhooks.flat_map(|webhook| webhook.secrets.iter().map(move |secret| (webhook, secret)))
    }
}

impl Webhook {
    /// What to do with this event; `event` is what the header said, if the kind has one.
    pub fn judge(&self, event: Option<&str>, payload: &Payload) -> Action {
        let event = match self.kind {
            Kind::Standard => payload.text("type"),
            Kind::Github | Kind::Gitlab => event,
        };
        if self.kind == Kind::Github && event == Some("ping") {
            return Action::Ping;
        }
        if self.rules.is_empty() {
            return Action::Publish(None);
        }
        let mut ignored = Ignored::default();
        for rule in &self.rules {
            match rule.mismatch(event, payload) {
                None => return Action::Publish(rule.revision(payload)),
                Some(mismatch) => ignored.add(mismatch),
            }
        }
        Action::Ignore(ignored)
    }
}
