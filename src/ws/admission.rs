//! How many may connect: on this node, from one address, in one room, per second.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::Settings;
use crate::metrics::Refusal;
use crate::room::RoomId;

pub struct Admission {
    /// Sockets on this node.
    limit: usize,
    /// 0 = no limit.
    per_ip_limit: usize,
    /// 0 = no limit.
    per_room_limit: usize,
    rate: Option<DefaultDirectRateLimiter>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_address: Counts<IpAddr>,
    by_room: Counts<RoomId>,
}

/// A place for one socket; given back when dropped.
pub struct Permit {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    room: Option<RoomId>,
}

impl Admission {
    /// `limit` is the number of sockets on this node, already worked out.
    pub fn new(settings: &Settings, limit: usize) -> Arc<Self> {
        let rate = NonZeroU32::new(settings.server.handshakes_per_second);
        Arc::new(Self {
            limit,
            per_ip_limit: settings.server.max_connections_per_ip,
            per_room_limit: settings.rooms.max_connections,
            rate: rate.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            open: Mutex::default(),
        })
    }

    /// Takes a place for a client at `address`, or says which limit is reached.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Refusal> {
        let mut open = self.open();
        if open.total >= self.limit {
            return Err(Refusal::Full);
        }
        let address = (self.per_ip_limit > 0).then(|| bundle(address));
        if address.is_some_and(|address| !open.by_address.take(address, self.per_ip_limit)) {
            return Err(Refusal::PerIp);
        }
        open.total += 1;
        drop(open);
        Ok(Permit { admission: Arc::clone(self), address, room: None })
    }

    /// Takes one of this second's upgrades.
    pub fn begin(&self) -> Result<(), Refusal> {
        let within = self.rate.as_ref().is_none_or(|rate| rate.check().is_ok());
        if within { Ok(()) } else { Err(Refusal::Rate) }
    }

    /// Places taken.
    pub fn total(&self) -> usize {
        self.open().total
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Takes a place in the room too.
    pub fn enter(&mut self, room: &RoomId) -> Result<(), Refusal> {
        let limit = self.admission.per_room_limit;
        if limit > 0 {
            if !self.admission.open().by_room.take(room.clone(), limit) {
                return Err(Refusal::RoomFull);
            }
            self.room = Some(room.clone());
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.admission.open();
        open.total -= 1;
        if let Some(address) = &self.address {
            open.by_address.give_back(address);
        }
        if let Some(room) = &self.room {
            open.by_room.give_back(room);
        }
    }
}

/// Places taken, of each of many.
struct Counts<K>(HashMap<K, usize>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Counts<K> {
    /// Whether there was a place left. `limit` is at least 1, so a refusal leaves no counter behind.
    fn take(&mut self, key: K, limit: usize) -> bool {
        let here = self.0.entry(key).or_default();
        if *here >= limit {
            return false;
        }
        *here += 1;
        true
    }

    fn give_back(&mut self, key: &K) {
        if let Some(here) = self.0.get_mut(key) {
            *here -= 1;
            if *here == 0 {
                self.0.remove(key);
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
