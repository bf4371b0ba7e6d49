//! Values that come from files and are read again when the files change.
//!
//! Contents are compared, not times: a Kubernetes Secret is swapped by a symlink far above the file. New content
//! counts once it stood still from one look to the next, as a certificate and its key are not written in one step.
//! SIGHUP takes it at once. Content that is no good leaves the value as it was; that is logged once, counted, and
//! shown in `/status`.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::metrics::{Metrics, WatchedFile};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the files held, in their order; an error says which one cannot be read.
type Contents = Result<Vec<Vec<u8>>, String>;

/// Tells contents apart without keeping them: they may be secrets.
type Fingerprint = Result<[u8; 32], String>;

/// Which further files the content of the first one names.
type Named = dyn Fn(&[u8]) -> Vec<PathBuf> + Send + Sync;

type Parse<T> = dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync;

/// A value parsed from files.
pub struct Reloaded<T> {
    name: WatchedFile,
    files: Vec<PathBuf>,
    named: Box<Named>,
    parse: Box<Parse<T>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    loaded_at: SystemTime,
    error: Option<String>,
    /// The contents that were judged last, good or bad.
    judged: Fingerprint,
    /// The contents at the last look.
    seen: Fingerprint,
}

/// What `/status` tells of a watched file.
#[derive(Debug, Clone, Serialize)]
pub struct FileStatus {
    pub name: &'static str,
    pub paths: Vec<PathBuf>,
    /// When the value in force was read.
    pub loaded_at: String,
    /// Why newer content was not taken.
    pub error: Option<String>,
}

impl<T> Reloaded<T> {
    /// Reads the files for the first time. `parse` gets their contents in the same order; an error of its own need not
    /// name the files.
    pub fn load(
        name: WatchedFile,
        files: Vec<PathBuf>,
        parse: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, String> {
        Self::load_naming(name, files, |_| Vec::new(), parse)
    }

    /// The same, with files that the content of the first one names: `parse` gets their contents after the others.
    pub fn load_naming(
        name: WatchedFile,
        files: Vec<PathBuf>,
        named: impl Fn(&[u8]) -> Vec<PathBuf> + Send + Sync + 'static,
        parse: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, String> {
        let contents = read(&files, &named)?;
        let value = Arc::new(parse(&contents)?);
        let seen = fingerprint(&Ok(contents));
        let state = State { value, loaded_at: SystemTime::now(), error: None, judged: seen.clone(), seen };
        let (named, parse) = (Box::new(named), Box::new(parse));
        Ok(Arc::new(Self { name, files, named, parse, state: Mutex::new(state) }))
    }

    /// The value in force.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.state().value)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reloaded value of any type.
pub trait Watched: Send + Sync {
    /// Looks at the files; with `at_once`, without waiting for their contents to stand still.
    fn look(&self, at_once: bool, metrics: &Metrics);
    fn status(&self) -> FileStatus;
}

impl<T: Send + Sync> Watched for Reloaded<T> {
    fn look(&self, at_once: bool, metrics: &Metrics) {
        let contents = read(&self.files, &self.named);
        let now = fingerprint(&contents);
        let mut state = self.state();
        let settled = at_once || now == state.seen;
        let is_news = now != state.judged;
        state.seen.clone_from(&now);
        if !settled || !is_news {
            return;
        }
        // Not while the lock is held: requests ask for the value in force.
        drop(state);
        let parsed = contents.and_then(|contents| (self.parse)(&contents));
        let mut state = self.state();
        state.judged = now;
        let (name, files) = (self.name.label(), &self.files);
        metrics.reloaded(self.name, parsed.is_ok());
        match parsed {
            Ok(value) => {
                state.value = Arc::new(value);
                state.loaded_at = SystemTime::now();
                state.error = None;
                info!(name, ?files, "read again");
            }
            Err(problem) => {
                error!(name, ?files, problem, "not read again, what was read before stays in force");
                state.error = Some(problem);
            }
        }
    }

    fn status(&self) -> FileStatus {
        let state = self.state();
        FileStatus {
            name: self.name.label(),
            paths: self.files.clone(),
            loaded_at: humantime::format_rfc3339_millis(state.loaded_at).to_string(),
            error: state.error.clone(),
        }
    }
}

fn read(files: &[PathBuf], named: &Named) -> Contents {
    let one = |file: &PathBuf| {
        fs::read(file).map_err(|error| format!("cannot read the file {}: {error}", file.display()))
    };
    let mut contents = files.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let named = contents.first().map(|first| named(first)).unwrap_or_default();
    for file in &named {
        contents.push(one(file)?);
    }
    Ok(contents)
}

fn fingerprint(contents: &Contents) -> Fingerprint {
    let mut digest = Sha256::new();
    for content in contents.as_ref().map_err(Clone::clone)? {
        digest.update(content.len().to_le_bytes());
        digest.update(content);
    }
    Ok(digest.finalize().into())
}

/// Everything that is read again while the node runs.
#[derive(Default)]
pub struct Reloads {
    watched: Vec<Arc<dyn Watched>>,
}

impl Reloads {
    pub fn add<T: Send + Sync + 'static>(&mut self, watched: &Arc<Reloaded<T>>) {
        self.watched.push(Arc::clone(watched) as Arc<dyn Watched>);
    }

    pub fn status(&self) -> Vec<FileStatus> {
        self.watched.iter().map(|watched| watched.status()).collect()
    }

    /// Looks after the files until dropped. SIGHUP has them all looked at, and never ends the process.
    pub async fn run(&self, metrics: &Arc<Metrics>) {
        let mut hangups = signal(SignalKind::hangup())
            .inspect_err(|error| warn!(%error, "SIGHUP cannot be heard; files are still looked at"))
            .ok();
        loop {
            let hung_up = async {
                match &mut hangups {
                    Some(hangups) => hangups.recv().await,
                    None => std::future::pending().await,
                }
            };
            let at_once = tokio::select! {
                _ = hung_up => true,
                () = sleep(INTERVAL) => false,
            };
            for watched in &self.watched {
                let (watched, metrics) = (Arc::clone(watched), Arc::clone(metrics));
                // A file on a disk that hangs must not hold up what else runs on this thread.
                if let Err(error) = spawn_blocking(move || watched.look(at_once, &metrics)).await {
                    error!(%error, "a watched file could not be looked at");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<u32, String> {
        String::from_utf8_lossy(&contents[0]).trim().parse().map_err(|_| "not a number".to_owned())
    }

    #[test]
    fn content_counts_once_it_stands_still_and_bad_content_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metrics = Metrics::new().unwrap();
        let write = |text: &str| fs::write(file.path(), text).unwrap();
        write("1");
        let value = Reloaded::load(WatchedFile::PublishKeys, vec![file.path().to_owned()], number).unwrap();
        write("2");
        value.look(false, &metrics);
        assert_eq!(*value.current(), 1);
        value.look(false, &metrics);
        assert_eq!(*value.current(), 2);
        write("three");
        value.look(true, &metrics);
        assert_eq!(*value.current(), 2);
        assert_eq!(value.status().error.as_deref(), Some("not a number"));
        fs::remove_file(file.path()).unwrap();
        value.look(true, &metrics);
        assert!(value.status().error.unwrap().starts_with("cannot read the file"));
        write("2");
        value.look(true, &metrics);
        assert_eq!(value.status().error, None);
    }

    #[test]
    fn files_that_a_file_names_are_read_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
        write("list", "a");
        write("a", "1");
        let base = folder.path().to_owned();
        let named = move |list: &[u8]| {
            String::from_utf8_lossy(list).split_whitespace().map(|name| base.join(name)).collect()
        };
        let sum = |contents: &[Vec<u8>]| {
            contents[1..].iter().map(|content| number(std::slice::from_ref(content))).sum::<Result<u32, _>>()
        };
        let value = Reloaded::load_naming(WatchedFile::Webhooks, vec![path("list")], named, sum).unwrap();
        assert_eq!(*value.current(), 1);
        write("a", "2");
        value.look(true, &metrics);
        assert_eq!(*value.current(), 2);
        write("list", "a b");
        value.look(true, &metrics);
        assert!(value.status().error.unwrap().contains("cannot read the file"));
        assert_eq!(*value.current(), 2);
        write("b", "40");
        value.look(true, &metrics);
        assert_eq!(*value.current(), 42);
    }
}
