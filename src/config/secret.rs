//! A secret that cannot be printed, and can be read again when its file changed.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use tracing::warn;

#[derive(Debug, Clone)]
pub struct Secret {
    value: SecretString,
    file: Option<PathBuf>,
}

impl Secret {
    /// Blanks around it are not part of it: a header's value never has them.
    pub fn given(value: &str) -> Self {
        Self { value: value.trim().into(), file: None }
    }

    /// An error says what is wrong with the file.
    pub fn from_file(path: PathBuf) -> Result<Self, String> {
        let value = read(&path)?.into();
        Ok(Self { value, file: Some(path) })
    }

    /// Where it was read from, if not given in the settings themselves.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The secret as it was when the settings were read.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// The secret as its file has it now; if that cannot be read, as it was.
    pub fn current(&self) -> SecretString {
        match self.file.as_ref().map(read) {
            Some(Ok(value)) => value.into(),
            Some(Err(error)) => {
                warn!(%error, "secret not read again, using the one from the start");
                self.value.clone()
            }
            None => self.value.clone(),
        }
    }
}

fn read(path: &PathBuf) -> Result<String, String> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read the file {shown}: {error}"))?;
    // Editors and `echo` end files with a line break that nobody means.
    match text.trim() {
        "" => Err(format!("the file {shown} is empty")),
        secret => Ok(secret.to_owned()),
    }
}
