//! What is counted of TLS.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntCounterVec, IntGauge};

use super::labels::TlsFailure;
use super::maker::Maker;

/// What is counted of TLS on the public listener.
pub struct TlsMetrics {
    handshakes_failed: IntCounterVec,
    certificate_expiry: IntGauge,
}

impl TlsMetrics {
    pub(super) fn new(make: &Maker) -> prometheus::Result<Self> {
        Ok(Self {
            handshakes_failed: make.children(
                "relay_tls_handshakes_failed_total",
                "TLS handshakes that did not succeed, by reason.",
                &[("reason", TlsFailure::LABELS)],
            )?,
            certificate_expiry: make.gauge(
                "relay_tls_certificate_expiry_timestamp_seconds",
                "When the public listener's certificate expires, seconds since 1970; 0 = no TLS.",
            )?,
        })
    }

    pub fn handshake_failed(&self, reason: TlsFailure) {
        self.handshakes_failed.with_label_values(&[reason.label()]).inc();
    }

    /// The certificate in use expires then.
    pub fn set_certificate_expiry(&self, expires: SystemTime) {
        let since_1970 = expires.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.certificate_expiry.set(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX));
    }
}
