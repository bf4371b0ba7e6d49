//! TLS: the cryptography under it, for Redis and for the commands that act as a client, and the certificate of the
//! public listener.

mod pair;
mod server;

pub use self::pair::Pair;
pub use self::server::{server_config, watch_certificate};

/// Has rustls use ring. Without a provider rustls panics at its first connection; the choice is for the whole
/// process, so that it was made before is no error.
pub fn use_ring() {
    let _made_before = rustls::crypto::ring::default_provider().install_default();
}
