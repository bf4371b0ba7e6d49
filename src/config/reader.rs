//! Takes settings out of the merged layers one by one, and notes every problem on the way instead of stopping at the
//! first. What nobody took is an unknown key.
//!
//! A read that fails answers some value of its type: the caller goes on, and throws the result away in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use config::{Map, Value, ValueKind};
use toml::Table;

use super::secret::Secret;

/// One thing wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    /// The file or the environment variable it came from; None for what is missing.
    pub origin: Option<String>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{}: {} (from {origin})", self.key, self.message),
            None => write!(f, "{}: {}", self.key, self.message),
        }
    }
}

impl Problem {
    /// Something wrong with the content of a file that `key` names.
    pub fn in_file(key: &str, file: &Path, message: String) -> Self {
        Self { key: key.to_owned(), origin: Some(file.display().to_string()), message }
    }
}

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";

pub struct Reader {
    left: BTreeMap<String, Value>,
    file: Option<String>,
    known: Vec<&'static str>,
    effective: Table,
    problems: Vec<Problem>,
}

impl Reader {
    /// What is not from the environment nor a default is from `file`. No key of `nameless` is known.
    pub fn new(layers: config::Config, nameless: Map<String, Value>, file: Option<&Path>) -> Self {
        let mut left: BTreeMap<_, _> = nameless.into_iter().collect();
        let file = file.map(|file| file.display().to_string());
        flatten("", layers.cache, &mut left);
        Self { left, file, known: Vec::new(), effective: Table::new(), problems: Vec::new() }
    }

    /// Notes every key of `defaults` that is not there any more: some layer put a value where their section stands.
    pub fn note_lost(&mut self, defaults: config::Config) {
        let mut leaves = BTreeMap::new();
        flatten("", defaults.cache, &mut leaves);
        let is_lost = |key: &&String| !self.left.contains_key(*key);
        let sections: BTreeSet<&str> =
            leaves.keys().filter(is_lost).filter_map(|key| Some(key.rsplit_once('.')?.0)).collect();
        for section in sections {
            let variable = format!("RELAY_{}", section.replace('.', "__").to_uppercase());
            let message = format!(
                "is a section with settings of its own; give them, not a value ({variable} in the environment)"
            );
            self.problem(section, None, message);
        }
    }

    /// Notes what is wrong with a key whose value came from `origin`.
    pub fn problem(&mut self, key: &str, origin: Option<String>, message: impl Into<String>) {
        self.problems.push(Problem { key: key.to_owned(), origin, message: message.into() });
    }

    /// The settings as they are in force, and the problems. Keys that nobody took are problems too.
    pub fn finish(mut self) -> (Table, Vec<Problem>) {
        for (key, value) in std::mem::take(&mut self.left) {
            let near = self.known.iter().map(|known| (strsim::jaro_winkler(known, &key), known));
            let hint = near
                .filter(|(nearness, _)| *nearness > 0.85)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"));
            let origin = self.origin_of(&key, &value);
            self.problem(&key, origin, format!("unknown key{hint}"));
        }
        self.problems.sort_by(|a, b| a.key.cmp(&b.key));
        (self.effective, self.problems)
    }

    /// A text that `parse` turns into a value, or says what it should be.
    pub fn text<T: Default>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.optional_text(key, parse).unwrap_or_default()
    }

    pub fn optional_text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, origin) = self.take_text(key)?;
        self.show(key, text.clone());
        parse(&text).map_err(|message| self.problem(key, origin, message)).ok()
    }

    pub fn number(&mut self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> u64 {
        let Some(value) = self.take(key) else { return 0 };
        let origin = self.origin_of(key, &value);
        let shown = value.to_string();
        // The library would round a fraction, and take a flag for 0 or 1.
        let whole = match value.kind {
            ValueKind::Float(_) | ValueKind::Boolean(_) => None,
            ValueKind::String(text) => text.trim().parse().ok(),
            _ => value.into_uint().ok(),
        };
        let number = whole.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            self.problem(
                key,
                origin,
                format!("must be a whole number from {least} to {most}, not {shown:?}"),
            );
        }
        let number = number.unwrap_or_default();
        self.show(key, i64::try_from(number).unwrap_or(i64::MAX));
        number
    }

    pub fn size(&mut self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> usize {
        usize::try_from(self.number(key, range)).unwrap_or(usize::MAX)
    }

    /// So many per second; 0 = no limit.
    pub fn rate(&mut self, key: &'static str) -> u32 {
        u32::try_from(self.number(key, 0..=10_000_000)).unwrap_or(u32::MAX)
    }

    pub fn seconds(&mut self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(key, range))
    }

    pub fn millis(&mut self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(key, range))
    }

    pub fn flag(&mut self, key: &'static str) -> bool {
        let Some(value) = self.take(key) else { return false };
        let origin = self.origin_of(key, &value);
        let shown = value.to_string();
        let flag = value.into_bool().ok();
        if flag.is_none() {
            self.problem(key, origin, format!("must be true or false, not {shown:?}"));
        }
        self.show(key, flag.unwrap_or_default());
        flag.unwrap_or_default()
    }

    /// A list of texts; in the environment one text with commas.
    pub fn list<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.masked_list(key, |text| Ok((parse(text)?, text.to_owned())))
    }

    /// A secret given as such under `key`, or in the file that `file_key` names; not both.
    pub fn secret(&mut self, key: &'static str, file_key: &'static str) -> Option<Secret> {
        let direct = self.take_text(key);
        let file = self.take_text(file_key);
        if let (Some((_, origin)), Some(_)) = (&direct, &file) {
            let message = format!("{file_key} is set too; set one of the two");
            self.problem(key, origin.clone(), message);
        }
        if let Some((path, origin)) = file {
            self.show(file_key, path.clone());
            let secret = Secret::from_file(path.into());
            return secret.map_err(|message| self.problem(file_key, origin, message)).ok();
        }
        let (secret, origin) = direct?;
        self.show(key, HIDDEN);
        if secret.trim().is_empty() {
            self.problem(key, origin, "is empty");
            return None;
        }
        Some(Secret::given(&secret))
    }

    /// A list of texts that may hold secrets, as [`Reader::masked`] and [`Reader::list`].
    pub fn masked_list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<(T, String), String>,
    ) -> Vec<T> {
        let (values, shown): (Vec<T>, Vec<String>) = self.take_list(key, parse).into_iter().unzip();
        self.show(key, shown);
        values
    }

    /// A text that may hold a secret; `parse` answers the value and what may be shown of it.
    pub fn masked<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<(T, String), String>,
    ) -> Option<T> {
        let (text, origin) = self.take_text(key)?;
        match parse(&text) {
            Ok((value, shown)) => {
                self.show(key, shown);
                Some(value)
            }
            Err(message) => {
                self.problem(key, origin, message);
                None
            }
        }
    }

    /// Where the value of `key` comes from, as long as it was not taken.
    pub fn origin(&self, key: &str) -> Option<String> {
        self.left.get(key).and_then(|value| self.origin_of(key, value))
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.left.remove(key)
    }

    fn take_list<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let origin = self.origin_of(key, &value);
        let texts: Option<Vec<String>> = match value.kind {
            ValueKind::String(text) => Some(text.split(',').map(|item| item.trim().to_owned()).collect()),
            ValueKind::Array(items) => items.into_iter().map(|item| item.into_string().ok()).collect(),
            _ => None,
        };
        let Some(texts) = texts else {
            self.problem(key, origin, "must be a list of texts");
            return Vec::new();
        };
        let mut parsed = Vec::new();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            match parse(text) {
                Ok(item) => parsed.push(item),
                Err(message) => self.problem(key, origin.clone(), message),
            }
        }
        parsed
    }

    fn take_text(&mut self, key: &'static str) -> Option<(String, Option<String>)> {
        let value = self.take(key)?;
        let origin = self.origin_of(key, &value);
        if let Ok(text) = value.into_string() {
            Some((text, origin))
        } else {
            self.problem(key, origin, "must be a text");
            None
        }
    }

    /// The name of the environment variable, or the file as it was given; None for a default.
    fn origin_of(&self, key: &str, value: &Value) -> Option<String> {
        match value.origin()? {
            "the environment" => Some(format!("RELAY_{}", key.replace('.', "__").to_uppercase())),
            // The library's own account of a file is relative to wherever the program was started.
            _ => self.file.clone(),
        }
    }

    /// Puts a value where its dotted key says.
    fn show(&mut self, key: &str, value: impl Into<toml::Value>) {
        let mut path: Vec<&str> = key.split('.').collect();
        let Some(name) = path.pop() else { return };
        let mut table = &mut self.effective;
        for section in path {
            let entry = table.entry(section).or_insert_with(|| Table::new().into());
            let Some(inner) = entry.as_table_mut() else { return };
            table = inner;
        }
        table.insert(name.to_owned(), value.into());
    }
}

/// Leaves by their dotted path. An empty table is a leaf, so that a misspelt empty section is seen.
fn flatten(path: &str, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value.kind {
        ValueKind::Table(table) if path.is_empty() || !table.is_empty() => {
            for (key, value) in table {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(&path, value, leaves);
            }
        }
        _ => {
            leaves.insert(path.to_owned(), value);
        }
    }
}
