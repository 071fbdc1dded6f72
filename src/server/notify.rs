//! Calls clients' notification endpoints (CIBA ping), aside from requests.

use std::sync::Arc;

use crate::oauth::{Notification, Notifier};

/// Delivers nothing: pinged clients poll, as they may (CIBA Core §10.1).
pub(super) struct NoNotifier;

impl Notifier for NoNotifier {
    fn notify(&self, _: Notification) {
        tracing::warn!("a client was not pinged: there is no way out");
    }
}
