//! Calls clients' notification endpoints (CIBA ping), aside from requests.

use std::sync::Arc;

use http::HeaderValue;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use crate::oauth::{Notification, Notifier};
use crate::outbound::{Outbound, OutboundError};

/// Most notifications that are under way or wait for their turn; each ends with the deadline of an exchange.
const UNDER_WAY_MAX: usize = 256;
/// An answer has no body that matters (CIBA Core §10.2); a longer one ends the exchange.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Delivers over the client for URLs that strangers name: https, public addresses, no redirects, bounded in time.
pub(super) struct Pings {
    outbound: Arc<Outbound>,
    places: Arc<Semaphore>,
}

impl Pings {
    pub(super) fn new(outbound: Arc<Outbound>) -> Self {
        Self { outbound, places: Arc::new(Semaphore::new(UNDER_WAY_MAX)) }
    }
}

impl Notifier for Pings {
    fn notify(&self, notification: Notification) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(endpoint = %notification.endpoint, "a client was not pinged: too many pings are under way");
            return;
        };
        let outbound = Arc::clone(&self.outbound);
        tokio::spawn(async move {
            let _place = place;
            let endpoint = Arc::clone(&notification.endpoint);
            // Once: a client that did not hear of it polls (CIBA Core §10.1).
            match deliver(&outbound, notification).await {
                Ok(200 | 204) => tracing::debug!(%endpoint, "a client was pinged"),
                Ok(status) => tracing::warn!(%endpoint, status, "a client refused a ping"),
                Err(error) => tracing::warn!(%endpoint, %error, "a client could not be pinged"),
            }
        });
    }
}

async fn deliver(outbound: &Outbound, notification: Notification) -> Result<u16, OutboundError> {
    let bearer = format!("Bearer {}", notification.bearer.expose_secret());
    let authorization = HeaderValue::try_from(bearer).ok(); // Its alphabet was checked; the client marks it as secret.
    let url = &*notification.endpoint;
    let received = outbound.post_json(url, authorization, notification.body(), ANSWER_BYTES_MAX).await?;
    Ok(received.status)
}
