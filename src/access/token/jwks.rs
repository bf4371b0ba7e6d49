//! Keys that are fetched: kept, fetched again on a timer, and when a token names one that is not known.
//!
//! The invariant: whatever tokens come, an issuer is asked by one fetch at a time, and by unknown names once a minute.
//! Keys that were fetched stay until newer ones came.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::fetch::{FetchError, Source};
use super::keys::KeySet;
use crate::backoff::{Backoff, jittered};

/// How often keys are fetched, give or take a fifth. Issuers publish a key a day or more before they sign with it.
const REFRESH: Duration = Duration::from_secs(15 * 60);

/// How soon it is tried again after a failure, and how long the timer waits at most.
const RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How often a name that is not known is reason for a fetch: anyone can make such tokens.
const UNKNOWN_KEY: Duration = Duration::from_secs(60);

/// How often it is looked which keys are due.
const TICK: Duration = Duration::from_secs(1);

/// The issuer does not answer, and without its newest keys the token cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

type Fetch = dyn Fn(&Source) -> Result<KeySet, FetchError> + Send + Sync;

/// Told of every fetch whether it brought keys.
type Count = dyn Fn(bool) + Send + Sync;

/// The keys of all issuers that settings name.
pub struct Issuers {
    fetch: Arc<Fetch>,
    count: Box<Count>,
    known: Mutex<HashMap<Source, Arc<Jwks>>>,
}

/// What `/status` tells of an issuer's keys.
#[derive(Debug, Clone, Serialize)]
pub struct JwksStatus {
    pub source: String,
    pub keys: usize,
    /// When the keys in force were fetched; None = never.
    pub fetched_at: Option<String>,
    /// Why the last fetch failed.
    pub error: Option<String>,
}

/// The keys of one issuer.
struct Jwks {
    source: Source,
    state: Mutex<State>,
    /// Held by whoever fetches.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    keys: Option<Arc<KeySet>>,
    fetched_at: Option<SystemTime>,
    error: Option<String>,
    /// When the timer wants it fetched; None = now.
    due: Option<Instant>,
    tried: Option<Instant>,
    /// When an unknown name was last reason for a fetch.
    asked: Option<Instant>,
    backoff: Backoff,
}

impl Issuers {
    /// `fetch` blocks; `count` is told of every fetch whether it brought keys.
    pub fn new(
        count: impl Fn(bool) + Send + Sync + 'static,
        fetch: impl Fn(&Source) -> Result<KeySet, FetchError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { fetch: Arc::new(fetch), count: Box::new(count), known: Mutex::default() })
    }

    /// The issuer's keys, fetched again before if none of them has that name.
    pub async fn keys(
        self: &Arc<Self>,
        source: &Source,
        id: Option<&str>,
    ) -> Result<Arc<KeySet>, Unavailable> {
        let jwks = self.jwks(source);
        if let Some(keys) = jwks.known(id) {
            return Ok(keys);
        }
        // In a task of its own: a caller that hangs up does not break off what others wait for.
        let (issuers, asked, id_owned) = (Arc::clone(self), Arc::clone(&jwks), id.map(str::to_owned));
        let fetching = tokio::spawn(async move { issuers.fetch_for(&asked, id_owned.as_deref()).await });
        let _panicked_or_stopped = fetching.await;
        let state = jwks.state();
        match &state.keys {
            // Another key may be there by now, but the issuer cannot be asked.
            Some(keys) if !keys.knows(id) && state.error.is_some() => Err(Unavailable),
            Some(keys) => Ok(Arc::clone(keys)),
            None => Err(Unavailable),
        }
    }

    /// Fetches what is due until dropped; `wanted` says whose keys are wanted now.
    pub async fn run(self: &Arc<Self>, wanted: impl Fn() -> HashSet<Source>) {
        loop {
            let wanted = wanted();
            self.lock().retain(|source, _| wanted.contains(source));
            let all: Vec<_> = wanted.iter().map(|source| self.jwks(source)).collect();
            join_all(all.iter().map(|jwks| self.fetch_due(jwks))).await;
            sleep(TICK).await;
        }
    }

    pub fn status(&self) -> Vec<JwksStatus> {
        let mut all: Vec<_> = self.lock().values().map(|jwks| jwks.status()).collect();
        all.sort_by(|a, b| a.source.cmp(&b.source));
        all
    }

    fn jwks(&self, source: &Source) -> Arc<Jwks> {
        let mut known = self.lock();
        let new = || {
            let (state, turn) = (Mutex::new(State::new()), tokio::sync::Mutex::default());
            Arc::new(Jwks { source: source.clone(), state, turn })
        };
        Arc::clone(known.entry(source.clone()).or_insert_with(new))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Arc<Jwks>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch_due(&self, jwks: &Jwks) {
        let is_due = || jwks.state().due.is_none_or(|due| Instant::now() >= due);
        if is_due() {
            let _turn = jwks.turn.lock().await;
            if is_due() {
                self.fetch(jwks).await;
            }
        }
    }

    async fn fetch_for(&self, jwks: &Jwks, id: Option<&str>) {
        let _turn = jwks.turn.lock().await;
        // Who had the turn before may have brought it.
        if jwks.known(id).is_none() && jwks.state().may_ask() {
            self.fetch(jwks).await;
        }
    }

    /// The caller has the turn.
    async fn fetch(&self, jwks: &Jwks) {
        let (fetch, source) = (Arc::clone(&self.fetch), jwks.source.clone());
        let fetched = tokio::task::spawn_blocking(move || fetch(&source)).await;
        let fetched = fetched.unwrap_or(Err(FetchError::BrokenOff));
        (self.count)(fetched.is_ok());
        jwks.take(fetched);
    }
}

impl Jwks {
    /// The keys, if one of them may be meant by that name.
    fn known(&self, id: Option<&str>) -> Option<Arc<KeySet>> {
        self.state().keys.clone().filter(|keys| keys.knows(id))
    }

    fn take(&self, fetched: Result<KeySet, FetchError>) {
        let mut state = self.state();
        let (source, now) = (&self.source, Instant::now());
        state.tried = Some(now);
        match fetched {
            Ok(keys) => {
                if state.error.is_some() || state.keys.is_none() {
                    info!(%source, keys = keys.count(), "keys fetched");
                }
                state.keys = Some(Arc::new(keys));
                state.fetched_at = Some(SystemTime::now());
                state.error = None;
                state.due = Some(now + jittered(REFRESH));
                state.backoff.reset();
            }
            Err(error) => {
                let kept = state.keys.as_ref().map_or(0, |keys| keys.count());
                if state.error.is_none() {
                    warn!(%source, %error, kept, "keys not fetched, trying again and again");
                }
                state.error = Some(error.to_string());
                state.due = Some(now + state.backoff.next_delay());
            }
        }
    }

    fn status(&self) -> JwksStatus {
        let state = self.state();
        JwksStatus {
            source: self.source.to_string(),
            keys: state.keys.as_ref().map_or(0, |keys| keys.count()),
            fetched_at: state.fetched_at.map(|at| humantime::format_rfc3339_millis(at).to_string()),
            error: state.error.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new() -> Self {
        let backoff = Backoff::new(RETRY, LONGEST_RETRY);
        Self { keys: None, fetched_at: None, error: None, due: None, tried: None, asked: None, backoff }
    }

    /// Whether a token may be reason for a fetch now.
    fn may_ask(&mut self) -> bool {
        let now = Instant::now();
        let long_ago = |at: Option<Instant>, pause| at.is_none_or(|at| now >= at + pause);
        if self.keys.is_none() || self.error.is_some() {
            return long_ago(self.tried, RETRY);
        }
        let may = long_ago(self.asked, UNKNOWN_KEY);
        if may {
            self.asked = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// An issuer that publishes as many keys as it was asked times, or fails for now.
    fn issuers(fails: fn(usize) -> bool) -> (Arc<Issuers>, Arc<AtomicUsize>, Source) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let issuers = Issuers::new(
            |_| (),
            move |_| {
                let time = counted.fetch_add(1, Ordering::SeqCst) + 1;
                if fails(time) {
                    return Err(FetchError::BrokenOff);
                }
                let keys: Vec<_> = (1..=time).map(key).collect();
                let keys = serde_json::json!({ "keys": keys }).to_string();
                Ok(KeySet::from_jwks(keys.as_bytes()).unwrap())
            },
        );
        let source = Source::Jwks("https://issuer.example/keys".parse().unwrap());
        (issuers, asked, source)
    }

    fn key(number: usize) -> serde_json::Value {
        let (x, y) =
            ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        serde_json::json!({"kty": "EC", "crv": "P-256", "kid": number.to_string(), "x": x, "y": y})
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_name_has_the_issuer_asked_once_a_minute() {
        let (issuers, asked, source) = issuers(|_| false);
        let has = async |id: &str| issuers.keys(&source, Some(id)).await.unwrap().knows(Some(id));
        assert!(has("1").await);
        assert!(has("2").await);
        assert!(!has("3").await);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        tokio::time::advance(UNKNOWN_KEY).await;
        assert!(has("3").await);
        assert!(has("1").await);
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_at_once_wait_for_one_fetch() {
        let (issuers, asked, source) = issuers(|_| false);
        let all = join_all((0..100).map(|_| issuers.keys(&source, Some("1")))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_outlive_failures_and_an_issuer_that_fails_is_not_asked_by_every_token() {
        let (issuers, asked, source) = issuers(|time| time > 1);
        assert!(issuers.keys(&source, Some("1")).await.is_ok());
        for _ in 0..10 {
            assert!(issuers.keys(&source, Some("2")).await.is_err());
            assert!(issuers.keys(&source, Some("1")).await.is_ok());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        tokio::time::advance(RETRY).await;
        assert!(issuers.keys(&source, Some("2")).await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 3);
        assert!(issuers.status()[0].error.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_fetches_what_is_wanted_and_forgets_what_is_not() {
        let (issuers, asked, source) = issuers(|time| time == 1);
        let wanted = Arc::new(Mutex::new(HashSet::from([source])));
        let (running, shown) = (Arc::clone(&issuers), Arc::clone(&wanted));
        let run = tokio::spawn(async move { running.run(|| shown.lock().unwrap().clone()).await });
        let until = async |fetches: usize| {
            while asked.load(Ordering::SeqCst) < fetches {
                tokio::time::sleep(TICK).await;
            }
        };
        let start = Instant::now();
        until(2).await;
        assert!(start.elapsed() <= 2 * RETRY, "a failure is tried again soon");
        until(3).await;
        assert!(start.elapsed() >= REFRESH / 2 && start.elapsed() <= 2 * REFRESH, "{:?}", start.elapsed());
        wanted.lock().unwrap().clear();
        while !issuers.status().is_empty() {
            tokio::time::sleep(TICK).await;
        }
        run.abort();
    }
}
