//! What the files that say who may do what have in common.

use serde::de::DeserializeOwned;

/// A text, or what a text begins with (`release/*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// An error says what a pattern looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.strip_suffix('*').unwrap_or(text).contains('*') {
            return Err(format!(
                "must be a text such as main, or a beginning such as release/*; not {text:?}"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn fits(&self, text: &str) -> bool {
        self.beginning().map_or(text == self.0, |beginning| text.starts_with(beginning))
    }

    /// What a text must begin with, if that is enough.
    pub fn beginning(&self) -> Option<&str> {
        self.0.strip_suffix('*')
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether an entry that does not say so may ask where rooms stand.
pub const fn may_read() -> bool {
    true
}

/// Reads TOML. An error names the line and what is wrong there.
pub fn from_toml<T: DeserializeOwned>(content: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(content).map_err(|_| "is not UTF-8".to_owned())?;
    // The error's own text would show the line, and so perhaps a secret.
    toml::from_str(text).map_err(|error| {
        let before = error.span().map_or("", |span| &text[..span.start.min(text.len())]);
        // Nor may the value that was not expected be repeated.
        let what = match error.message().rsplit_once(", expected ") {
            Some((found, expected)) if found.starts_with("invalid ") => format!("must be {expected}"),
            _ => error.message().to_owned(),
        };
        format!("line {}: {what}", before.matches('\n').count() + 1)
    })
}
