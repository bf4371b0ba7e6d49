//! The values that labels may have: a fixed set each.

/// Declares an enum whose values are the children of one metric label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($variant),+ }

        impl $name {
            pub(super) const LABELS: &[&str] = &[$($text),+];

            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

label! {
    /// Why a handshake was refused.
    Refusal {
        Origin => "origin", Room => "room", Full => "full", PerIp => "per_ip", Rate => "rate",
        Draining => "draining", BadRequest => "bad_request", RoomFull => "room_full",
        RoomNotAllowed => "room_not_allowed", Unauthorized => "unauthorized", Forbidden => "forbidden",
        IssuerUnavailable => "issuer_unavailable",
    }
}

label! {
    /// Why a connection ended without a request that could be answered.
    BadRequest { Malformed => "malformed", HeadTooLarge => "head_too_large", HeadTimeout => "head_timeout" }
}

label! {
    /// Why a TLS handshake failed.
    TlsFailure { Timeout => "timeout", Gone => "gone", Protocol => "protocol" }
}

label! {
    /// Which form of publishing was used.
    Api { Partykit => "partykit", V1 => "v1", Webhook => "webhook" }
}

label! {
    /// How a publish ended.
    PublishResult {
        Ok => "ok", Unconfirmed => "unconfirmed", Duplicate => "duplicate", Unauthorized => "unauthorized",
        Ignored => "ignored", Forbidden => "forbidden", Invalid => "invalid", RateLimited => "rate_limited", Unavailable => "unavailable",
    }
}

label! {
    /// What came of asking where a room stands.
    QueryResult {
        Ok => "ok", NotFound => "not_found", Unauthorized => "unauthorized", Forbidden => "forbidden",
        Invalid => "invalid", Unavailable => "unavailable",
    }
}

label! {
    /// What is read again while the node runs.
    WatchedFile {
        PublishSecret => "publish_secret", PublishKeys => "publish_keys", OidcRules => "oidc_rules",
        Webhooks => "webhooks", SubscriberKeys => "subscriber_keys", Certificate => "certificate",
    }
}

label! {
    /// What came of reading one of them again.
    Reload { Ok => "ok", Failed => "failed" }
}

label! {
    /// What came of asking an issuer for its keys.
    JwksFetch { Ok => "ok", Failed => "failed" }
}

label! {
    /// How this node learnt of a publication.
    Source { Live => "live", Reconcile => "reconcile" }
}

label! {
    /// What became of a publication at one socket.
    Outcome { Sent => "sent", Conflated => "conflated", Replayed => "replayed" }
}

label! {
    /// Why the link to Redis was built again.
    Loss { Closed => "closed", Probe => "probe", Error => "error" }
}
