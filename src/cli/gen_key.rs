//! `gen-key`: makes a publish key and the entry for the keys file.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;

use crate::access::{self, RoomPattern};
use crate::room::Publisher;

#[derive(Args)]
pub struct GenKey {
    /// Stands in the log and in the room's state, instead of the secret; such as ci-2026.
    #[arg(long)]
    id: String,
    /// Rooms it may publish to: exact, a beginning such as shop-*, or *. Several: repeat it.
    #[arg(long = "room", default_value = "*")]
    rooms: Vec<String>,
    /// Write the secret to this new file, for the owner alone, instead of to standard error.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl GenKey {
    /// Only the entry goes to standard output, which may be appended to the keys file; the secret never does.
    pub fn run(&self) -> anyhow::Result<()> {
        let id = Publisher::parse(&self.id).map_err(|error| anyhow!("--id {error}"))?;
        for room in &self.rooms {
            RoomPattern::parse(room).map_err(|error| anyhow!("--room {error}"))?;
        }
        let secret = access::generate_secret();
        if let Some(file) = &self.secret_file {
            write(file, &secret).with_context(|| format!("cannot write the secret to {}", file.display()))?;
        } else {
            eprintln!("The secret, for CI; it is shown only here:\n{secret}\n");
        }
        let rooms: toml::Value = self.rooms.clone().into();
        let digest = hex::encode(access::secret_digest(secret.as_bytes()));
        println!("[[key]]\nid = \"{id}\"\nsha256 = \"{digest}\"\nrooms = {rooms}");
        Ok(())
    }
}

/// A file that is there stays as it is: it may hold a secret that is in use.
fn write(file: &Path, secret: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(file, "{secret}")
}
