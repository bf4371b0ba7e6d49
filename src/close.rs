//! Why a connection ends: the one table of close codes (RFC 6455, section 7.4) and metric labels.

/// Why the relay closes a connection, or notes that the client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed, or its TCP connection ended.
    Client,
    /// Nothing was heard from the client for longer than ping interval plus pong timeout.
    PingTimeout,
    /// The client broke RFC 6455.
    Protocol,
    /// The client sent text that is not UTF-8 (RFC 6455, section 8.1).
    NotText,
    /// The client sent more than `websocket.max_message_bytes`.
    TooBig,
    /// The client sent more than `websocket.max_frames_per_second`.
    Rate,
    /// This node leaves; another one takes the client.
    Drain,
    /// A fault on our side.
    Error,
    /// The client's token has expired.
    Expired,
    /// A frame could not be written to the client for too long.
    Slow,
}

impl CloseReason {
    pub const ALL: [Self; 10] = [
        Self::Client,
        Self::PingTimeout,
        Self::Protocol,
        Self::NotText,
        Self::TooBig,
        Self::Rate,
        Self::Drain,
        Self::Error,
        Self::Expired,
        Self::Slow,
    ];

    /// The status code in the close frame.
    pub const fn code(self) -> u16 {
        match self {
            Self::Client => 1000,
            Self::Protocol => 1002,
            Self::NotText => 1007,
            Self::Rate | Self::Expired => 1008,
            Self::TooBig => 1009,
            Self::PingTimeout | Self::Error => 1011,
            Self::Drain => 1012,
            Self::Slow => 1013,
        }
    }

    /// The text beside the code; empty where the code says it all.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Client | Self::Protocol | Self::NotText => "",
            Self::PingTimeout => "no pong",
            Self::TooBig => "message too big",
            Self::Rate => "too many frames",
            Self::Drain => "node is leaving, connect again",
            Self::Error => "internal error",
            Self::Expired => "token expired",
            Self::Slow => "not reading",
        }
    }

    /// The value of the metric label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::PingTimeout => "ping_timeout",
            Self::Protocol | Self::NotText => "protocol",
            Self::TooBig => "too_big",
            Self::Rate => "rate",
            Self::Drain => "drain",
            Self::Error => "error",
            Self::Expired => "expired",
            Self::Slow => "slow",
        }
    }
}
