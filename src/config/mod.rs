//! Settings: the documented defaults, how the layers are read, and what is refused.

mod load;
mod parse;
mod reader;
mod redis;
mod secret;
mod settings;
mod subscribers;
mod tls;

pub use self::load::{BadSettings, CONFIG_VARIABLE, DEFAULT, Loaded, load};
pub use self::parse::{TOKEN_SUBPROTOCOL, secure_url};
pub use self::reader::Problem;
pub use self::redis::{
    RedisClientCertificate, RedisLogin, RedisMode, RedisServers, RedisSettings, RedisTls, RedisUrl,
};
pub use self::secret::Secret;
pub use self::settings::{
    DrainSettings, LogFormat, LogSettings, OriginRule, PublishSettings, RoomSettings, ServerSettings,
    Settings, WebhookSettings, WebsocketSettings, WireKind,
};
pub use self::subscribers::{SubscriberKeys, SubscriberSettings};
pub use self::tls::{TlsSettings, TlsVersion};
