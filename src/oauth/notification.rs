//! Ping (CIBA Core §10.2): a client hears that its request was decided, and fetches the tokens itself.

use std::sync::Arc;

use secrecy::SecretString;

/// One call of a client's notification endpoint. Nothing depends on its arrival: the client may poll as well.
pub struct Notification {
    /// https, as registered.
    pub endpoint: Arc<str>,
    /// `client_notification_token`: the client recognises us by it.
    pub bearer: SecretString,
    pub auth_req_id: Arc<str>,
}

impl Notification {
    /// The JSON body.
    pub fn body(&self) -> Vec<u8> {
        serde_json::json!({ "auth_req_id": &*self.auth_req_id }).to_string().into_bytes()
    }
}

/// Delivers notifications: once each, without redirects, bounded in time and number. Returns at once; what there is no
/// room for is dropped, and said.
pub trait Notifier: Send + Sync {
    fn notify(&self, notification: Notification);
}
