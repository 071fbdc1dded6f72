//! May this connection speak to us? Listeners, TLS, trust store, deadlines, caps, flood guard.

mod settings;

pub use settings::{ClientCertificate, EdgeLimits, FloodSettings, ListenerSettings, ListenerTls};
