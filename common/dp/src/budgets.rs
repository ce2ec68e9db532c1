//! Several caps kept together: rounds are set aside, end, and leave the windows as time goes on.
//!
//! A round is admitted iff it fits *every* cap that covers it, exactly. For a cap with a window W
//! this keeps the sum of all charges that were dated within any W below the cap: of the rounds
//! dated within (a, a + W], take the one that was set aside last, at second r. All others were set
//! aside before, so each was under way at r, and counted, or dated at s > a with
//! s + W > a + W >= r, and counted. Rounds are dated when they end, which is no earlier than their
//! last byte leaves.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::{Cap, CapExceeded, Frees, Rho, Settlement};

/// Caps with what is spent and reserved, keyed by round.
///
/// Time is Unix seconds, given by the caller, and never goes back here: an instant before one that
/// was seen counts as the latest one seen. So a clock that goes back frees no window, and dates no
/// charge too early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets<K> {
    accounts: Vec<Account<K>>,
    latest_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Account<K> {
    cap: Cap,
    /// Sum of what ended and has not left the window.
    settled: Rho,
    /// Rounds under way.
    open: BTreeMap<K, Rho>,
    /// Rounds that ended, with their charge; of a window, those inside.
    charges: BTreeMap<K, Rho>,
    /// The same by time, for windows.
    dated: VecDeque<(u64, K)>,
}

/// How much of a cap is used, for people and for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The cap.
    #[serde(flatten)]
    pub cap: Cap,
    /// What ended and counts.
    pub spent: Rho,
    /// What rounds under way hold.
    pub reserved: Rho,
    /// When the oldest charge leaves the window, Unix seconds; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frees_at_s: Option<u64>,
}

impl<K: Ord + Clone> Budgets<K> {
    /// Nothing spent under `caps`.
    #[must_use]
    pub fn new(caps: impl IntoIterator<Item = Cap>) -> Self {
        let account = |cap| Account {
            cap,
            settled: Rho::zero(),
            open: BTreeMap::new(),
            charges: BTreeMap::new(),
            dated: VecDeque::new(),
        };
        Self { accounts: caps.into_iter().map(account).collect(), latest_s: 0 }
    }

    /// Whether a round of `task` that costs `asked` fits every cap at `now_s`. Changes nothing.
    ///
    /// # Errors
    /// [`CapExceeded`] names the first cap that it does not fit.
    pub fn admit(&self, task: &str, asked: &Rho, now_s: u64) -> Result<(), Box<CapExceeded>> {
        let now_s = now_s.max(self.latest_s);
        let mut covering = self.accounts.iter().filter(|account| account.cap.covers(Some(task)));
        covering.try_for_each(|account| account.admit(asked, now_s))
    }

    /// Sets a round's cost aside without asking whether it fits: for what was admitted, and for
    /// records that were written under other caps. A round whose task is not known counts in all.
    pub fn reserve(&mut self, round: K, task: Option<&str>, cost: &Rho, now_s: u64) {
        self.advance(now_s);
        for account in self.accounts.iter_mut().filter(|account| account.cap.covers(task)) {
            account.open.insert(round.clone(), cost.clone());
        }
    }

    /// Ends a round that was set aside; dates it where its charge stands. Any other is unknown here
    /// and nothing happens.
    pub fn settle(&mut self, round: &K, settlement: Settlement, now_s: u64) {
        self.advance(now_s);
        let date = self.latest_s;
        for account in &mut self.accounts {
            account.settle(round, settlement, date);
        }
    }

    /// Takes a charge back that stood. Rounds that have left a window, or are unknown, are no
    /// longer in it.
    pub fn give_back(&mut self, round: &K) {
        for account in &mut self.accounts {
            if let Some(cost) = account.charges.remove(round) {
                account.settled = less(&account.settled, &cost);
                account.dated.retain(|(_, dated)| dated != round);
            }
        }
    }

    /// Every cap with what counts in it at `now_s`.
    #[must_use]
    pub fn standing(&self, now_s: u64) -> Vec<Standing> {
        let now_s = now_s.max(self.latest_s);
        self.accounts.iter().map(|account| account.standing(now_s)).collect()
    }

    /// The latest second that was seen.
    #[must_use]
    pub fn latest_s(&self) -> u64 {
        self.latest_s
    }

    fn advance(&mut self, now_s: u64) {
        self.latest_s = self.latest_s.max(now_s);
        for account in &mut self.accounts {
            account.expire(self.latest_s);
        }
    }
}

impl<K: Ord + Clone> Account<K> {
    /// Rounds in order of time with the second from which they no longer count.
    fn leaving(&self) -> impl Iterator<Item = (u64, &Rho)> {
        let window = self.cap.window_s();
        self.dated.iter().filter_map(move |(date, round)| {
            Some((date.saturating_add(window?), self.charges.get(round)?))
        })
    }

    fn expire(&mut self, now_s: u64) {
        let Some(window) = self.cap.window_s() else { return };
        while let Some((_, round)) =
            self.dated.pop_front_if(|(date, _)| date.saturating_add(window) <= now_s)
        {
            if let Some(cost) = self.charges.remove(&round) {
                self.settled = less(&self.settled, &cost);
            }
        }
    }

    fn settled_at(&self, now_s: u64) -> Rho {
        let gone = self.leaving().take_while(|(leaves, _)| *leaves <= now_s);
        gone.fold(self.settled.clone(), |rest, (_, cost)| less(&rest, cost))
    }

    fn reserved(&self) -> Rho {
        self.open.values().cloned().sum()
    }

    fn admit(&self, asked: &Rho, now_s: u64) -> Result<(), Box<CapExceeded>> {
        let used = &self.settled_at(now_s) + &self.reserved();
        if &used + asked <= self.cap.rho {
            return Ok(());
        }
        let frees = self.frees(asked, &used, now_s);
        Err(Box::new(CapExceeded { cap: self.cap.clone(), used, asked: asked.clone(), frees }))
    }

    fn frees(&self, asked: &Rho, used: &Rho, now_s: u64) -> Frees {
        if *asked > self.cap.rho {
            return Frees::Never;
        }
        let mut rest = used.clone();
        for (leaves, cost) in self.leaving().skip_while(|(leaves, _)| *leaves <= now_s) {
            rest = less(&rest, cost);
            if &rest + asked <= self.cap.rho {
                return Frees::At(leaves);
            }
        }
        // What is left is under way, or never leaves.
        let open = less(&rest, &self.reserved());
        if &open + asked <= self.cap.rho { Frees::WhenRoundsEnd } else { Frees::Never }
    }

    fn settle(&mut self, round: &K, settlement: Settlement, date: u64) {
        let Some(cost) = self.open.remove(round) else { return };
        if settlement == Settlement::Refunded {
            return;
        }
        self.settled = &self.settled + &cost;
        self.charges.insert(round.clone(), cost);
        if self.cap.days.is_some() {
            self.dated.push_back((date, round.clone()));
        }
    }

    fn standing(&self, now_s: u64) -> Standing {
        Standing {
            cap: self.cap.clone(),
            spent: self.settled_at(now_s),
            reserved: self.reserved(),
            frees_at_s: self.leaving().map(|(leaves, _)| leaves).find(|leaves| *leaves > now_s),
        }
    }
}

/// `sum` without a part of it. The part was added before; were it larger, the sum stays.
fn less(sum: &Rho, part: &Rho) -> Rho {
    Rho::new(sum.as_rational() - part.as_rational()).unwrap_or_else(|_| sum.clone())
}

#[cfg(test)]
mod tests;
