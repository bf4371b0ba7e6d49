//! How many may connect: on this node, from one address, per second.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::ServerSettings;
use crate::metrics::Refusal;

pub struct Admission {
    /// Sockets on this node.
    limit: usize,
    /// 0 = no limit.
    per_ip_limit: usize,
    rate: Option<DefaultDirectRateLimiter>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place for one socket; given back when dropped.
pub struct Permit {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

impl Admission {
    /// `limit` is the number of sockets on this node, already worked out.
    pub fn new(settings: &ServerSettings, limit: usize) -> Arc<Self> {
        let rate = NonZeroU32::new(settings.handshakes_per_second);
        Arc::new(Self {
            limit,
            per_ip_limit: settings.max_connections_per_ip,
            rate: rate.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            open: Mutex::default(),
        })
    }

    /// Takes a place for a client at `address`, or says which limit is reached.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Refusal> {
        if self.rate.as_ref().is_some_and(|rate| rate.check().is_err()) {
            return Err(Refusal::Rate);
        }
        let mut open = self.open();
        if open.total >= self.limit {
            return Err(Refusal::Full);
        }
        let address = (self.per_ip_limit > 0).then(|| bundle(address));
        if let Some(address) = address {
            let here = open.by_address.entry(address).or_default();
            if *here >= self.per_ip_limit {
                return Err(Refusal::PerIp);
            }
            *here += 1;
        }
        open.total += 1;
        drop(open);
        Ok(Permit { admission: Arc::clone(self), address })
    }

    /// Places taken.
    pub fn total(&self) -> usize {
        self.open().total
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.admission.open();
        open.total -= 1;
        if let Some(address) = self.address
            && let Some(here) = open.by_address.get_mut(&address)
        {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

/// What counts as one address: an IPv6 customer has a /64 to choose from (RFC 6177).
fn bundle(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
