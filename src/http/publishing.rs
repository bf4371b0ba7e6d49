//! What both forms of publishing share once a request is understood.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::spawn;
use tracing::{info, warn};

use super::Public;
use crate::broker::{BrokerError, Draft, Tally};
use crate::metrics::{Api, PublishResult};
use crate::node::Receipt;
use crate::room::{Publisher, Revision, RoomId};

/// A publish request that was read and found good.
pub struct Publish {
    pub room: RoomId,
    pub revision: Option<Revision>,
    pub publisher: Publisher,
    pub idempotency_key: Option<String>,
    /// None = as configured.
    pub wait: Option<Duration>,
}

impl Publish {
    /// Publishes, counts and logs, in a task of its own: a caller that hangs up keeps neither the count nor the
    /// answer from those that come after.
    pub async fn run(self, api: Api, public: &Public) -> Result<Receipt, BrokerError> {
        let started = Instant::now();
        let (node, metrics) = (Arc::clone(&public.node), Arc::clone(&public.metrics));
        let Self { room, revision, publisher, idempotency_key, wait } = self;
        let answer_within = wait.unwrap_or(public.confirm_timeout);
        let publishing = spawn(async move {
            let published_by = Some(publisher.clone());
            let draft = Draft { room: room.clone(), revision, published_by, idempotency_key, answer_within };
            let published = node.publish(draft).await;
            metrics.publish_duration.observe(started.elapsed().as_secs_f64());
            let result = match &published {
                Ok(receipt) if receipt.duplicate => PublishResult::Duplicate,
                Ok(receipt) if receipt.is_confirmed() => PublishResult::Ok,
                Ok(_) => PublishResult::Unconfirmed,
                Err(_) => PublishResult::Unavailable,
            };
            metrics.published(api, result);
            match &published {
                Ok(Receipt { publication, tally, duplicate }) => {
                    let Tally { expected, confirmed, connections } = *tally;
                    let position = publication.position;
                    info!(%room, %publisher, %position, expected, confirmed, connections, duplicate, "published");
                }
                Err(error) => warn!(%room, %publisher, %error, "not published"),
            }
            published
        });
        publishing.await.unwrap_or(Err(BrokerError::LinkDown))
    }
}
