//! Waiting for a condition with a deadline: the only place in the suite that lets time pass.

use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// The deadline for whatever should happen at once. It is wide because the machine may be busy, and costs nothing when all is well.
pub const SOON: Duration = Duration::from_secs(10);

/// How long a socket is listened to when nothing may come. Only for cases where no later frame can prove the silence.
pub const QUIET: Duration = Duration::from_millis(400);

const PAUSE: Duration = Duration::from_millis(20);

/// Calls `attempt` until it answers `Ok`, and panics with the last `Err` once `within` has passed.
pub async fn eventually<T>(
    within: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + within;
    let mut last = String::from("nothing yet, the first look has not come back");
    loop {
        match timeout_at(deadline, attempt()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(state)) => last = state,
            Err(_) => panic!("{what}: not within {within:?}; last seen: {last}"),
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}; last seen: {last}");
        sleep(PAUSE).await;
    }
}

/// Calls `attempt` over and over for the whole of `period` and panics at the first `Err`: for what must stay true.
pub async fn throughout(period: Duration, what: &str, mut attempt: impl AsyncFnMut() -> Result<(), String>) {
    let end = Instant::now() + period;
    let mut looks = 0_usize;
    while Instant::now() < end {
        if let Err(state) = attempt().await {
            panic!("{what}: not any more after {looks} good looks: {state}");
        }
        looks += 1;
        sleep(PAUSE).await;
    }
    assert!(looks > 0, "{what}: never looked within {period:?}");
}

/// `Ok` when the two are equal, else a sentence for [`eventually`].
pub fn equal<T: PartialEq + std::fmt::Debug>(name: &str, seen: &T, wanted: &T) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(format!("{name} is {seen:?}, wanted {wanted:?}")) }
}
