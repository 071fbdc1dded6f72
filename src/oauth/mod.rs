//! Who may have which token? The authorization server: client authentication, grants, tokens, keys, revocation.

mod settings;
mod store;

pub use settings::{ClientAuthentication, ClientRegistration, Settings, TlsSubject};
pub use store::{KeyState, KeyStore, ReplayStore, RevocationStore, RevokedToken, StoreError, StoredKey};
