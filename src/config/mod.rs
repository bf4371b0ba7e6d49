//! Settings: the documented defaults, how the layers are read, and what is refused.

mod load;
mod parse;
mod reader;
mod settings;

pub use self::load::{BadSettings, CONFIG_VARIABLE, DEFAULT, Loaded, load};
pub use self::reader::Problem;
pub use self::settings::{
    DrainSettings, LogFormat, LogSettings, OriginRule, PublishSettings, RedisSettings, RoomSettings,
    ServerSettings, Settings, WebsocketSettings,
};
