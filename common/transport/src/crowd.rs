//! Who holds a place: connections counted for each network, and those whose peer has not shown yet
//! who it is counted apart, so that strangers never take the places of members.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many may be there at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrowdLimits {
    /// Connections whose peer is not known yet.
    pub(crate) strangers: usize,
    /// The same from one network.
    pub(crate) strangers_per_network: usize,
    /// Connections whose peer is known.
    pub(crate) known: usize,
    /// The same from one network.
    pub(crate) known_per_network: usize,
}

/// Counts connections.
#[derive(Debug)]
pub(crate) struct Crowd {
    limits: CrowdLimits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    strangers: Tally,
    known: Tally,
}

/// Connections in all and from each network.
#[derive(Debug, Default)]
struct Tally {
    all: usize,
    networks: HashMap<IpAddr, usize>,
}

/// One connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    network: IpAddr,
    known: bool,
}

/// What one subscriber commands: an IPv4 address, or the 64 bits that an IPv6 provider hands out at
/// least (RFC 6177).
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

impl Crowd {
    pub(crate) fn new(limits: CrowdLimits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// A stranger's place; `None` where there are as many as may be.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let CrowdLimits { strangers, strangers_per_network, .. } = self.limits;
        let entered = self.counts().strangers.add(network, strangers, strangers_per_network);
        entered.then(|| Place { crowd: self.clone(), network, known: false })
    }

    /// A panic while the counts were held leaves them usable: every change is complete.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The peer has shown who it is, and gives up its stranger's place. False where there are as
    /// many known ones as may be; then nothing changes.
    #[must_use]
    pub(crate) fn become_known(&mut self) -> bool {
        let CrowdLimits { known, known_per_network, .. } = self.crowd.limits;
        let mut counts = self.crowd.counts();
        if self.known {
            return true;
        }
        if !counts.known.add(self.network, known, known_per_network) {
            return false;
        }
        counts.strangers.remove(self.network);
        self.known = true;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts();
        let tally = if self.known { &mut counts.known } else { &mut counts.strangers };
        tally.remove(self.network);
    }
}

impl Tally {
    fn add(&mut self, network: IpAddr, max: usize, per_network: usize) -> bool {
        let here = self.networks.get(&network).copied().unwrap_or(0);
        if self.all >= max || here >= per_network {
            return false;
        }
        self.all += 1;
        self.networks.insert(network, here + 1);
        true
    }

    fn remove(&mut self, network: IpAddr) {
        if let Some(here) = self.networks.get_mut(&network) {
            self.all -= 1;
            *here -= 1;
            if *here == 0 {
                self.networks.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn crowd() -> Arc<Crowd> {
        let per = (2, 2);
        Crowd::new(CrowdLimits {
            strangers: 3,
            strangers_per_network: per.0,
            known: 3,
            known_per_network: per.1,
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_its_places_and_all_together_have_theirs() {
        let crowd = crowd();
        let places = [crowd.enter(ip("10.0.0.1")), crowd.enter(ip("10.0.0.1"))];
        assert!(places.iter().all(Option::is_some));
        assert!(crowd.enter(ip("10.0.0.1")).is_none());
        let other = crowd.enter(ip("10.0.0.2"));
        assert!(other.is_some() && crowd.enter(ip("10.0.0.3")).is_none());
        drop(places);
        assert!(crowd.enter(ip("10.0.0.1")).is_some());
    }

    #[test]
    fn one_subscriber_of_ipv6_is_one_network() {
        let crowd = crowd();
        let _places = [crowd.enter(ip("2001:db8::1")), crowd.enter(ip("2001:db8::ffff:2"))];
        assert!(crowd.enter(ip("2001:db8:0:0:abcd::3")).is_none());
        assert!(crowd.enter(ip("2001:db8:0:1::1")).is_some());
        assert_eq!(network(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }

    #[test]
    fn strangers_do_not_take_the_places_of_the_known() {
        let crowd = crowd();
        let mut member = crowd.enter(ip("10.0.0.1")).unwrap();
        assert!(member.become_known() && member.become_known());
        let _strangers: Vec<_> =
            ["10.0.0.2", "10.0.0.2", "10.0.0.3"].map(|it| crowd.enter(ip(it)).unwrap()).into();
        assert!(crowd.enter(ip("10.0.0.4")).is_none());
        drop(member);
        assert!(crowd.enter(ip("10.0.0.1")).is_none(), "a known one leaves no stranger's place");
    }

    #[test]
    fn the_known_have_a_limit_too() {
        let crowd = crowd();
        let mut members: Vec<Place> = Vec::new();
        for address in ["10.0.0.1", "10.0.0.1", "10.0.0.2"] {
            let mut place = crowd.enter(ip(address)).unwrap();
            assert!(place.become_known());
            members.push(place);
        }
        let mut crowded = crowd.enter(ip("10.0.0.3")).unwrap();
        assert!(!crowded.become_known());
        members.pop();
        let mut same_network = crowd.enter(ip("10.0.0.1")).unwrap();
        assert!(!same_network.become_known());
        assert!(crowded.become_known());
    }
}
