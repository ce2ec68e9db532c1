//! Indications of abuse, for a person to look at. Nothing here decides anything.

use std::collections::BTreeSet;

use chorale_people::{calendar::DAY_S, event::Kind, live::LiveEvent};
use serde::Serialize;
use utoipa::ToSchema;

use crate::crowd::View;

/// An indication.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Indication {
    /// `returns`, `coupon-abuse` or `account-takeover`.
    pub(crate) kind: &'static str,
    /// The rule that fired, with the numbers that it saw.
    pub(crate) rule: String,
}

/// Days back that returns are counted over.
const RETURNS_DAYS: i64 = 90;

/// Returned pieces, and their share of the pieces bought, from which on the rule fires.
const RETURNS: (f64, f64) = (3.0, 0.5);

/// Hours and coupons in them.
const COUPONS: (i64, usize) = (24, 5);

/// Failed logins within an hour before one that succeeds.
const FAILED_LOGINS: usize = 5;

/// Different sessions that buy within an hour.
const BUYING_SESSIONS: usize = 3;

/// All indications about a person at `now_s` (Unix seconds).
pub(crate) fn all(view: &View, now_s: i64) -> Vec<Indication> {
    [returns(view, now_s), coupons(view), takeover(view)].into_iter().flatten().collect()
}

fn returns(view: &View, now_s: i64) -> Option<Indication> {
    let since = now_s - RETURNS_DAYS * DAY_S;
    let pieces = |kind: Kind| -> f64 {
        let events = view.record.from(since).iter().filter(|event| event.kind == kind);
        events.map(|event| f64::from(event.quantity)).sum()
    };
    let (bought, back) = (pieces(Kind::Purchase), pieces(Kind::Return));
    (back >= RETURNS.0 && back >= RETURNS.1 * bought).then(|| Indication {
        kind: "returns",
        rule: format!(
            "{back} pieces returned of {bought} bought within {RETURNS_DAYS} days; fires from {} \
             pieces and a share of {}",
            RETURNS.0, RETURNS.1
        ),
    })
}

fn coupons(view: &View) -> Option<Indication> {
    let times: Vec<i64> = of_kind(view, "coupon").map(|event| event.time_s).collect();
    let most = most_within(&times, COUPONS.0 * 3600);
    (most >= COUPONS.1).then(|| Indication {
        kind: "coupon-abuse",
        rule: format!("{most} coupons within {} hours; fires from {}", COUPONS.0, COUPONS.1),
    })
}

fn takeover(view: &View) -> Option<Indication> {
    let failed: Vec<i64> = of_kind(view, "login-failed").map(|event| event.time_s).collect();
    for login in of_kind(view, "login") {
        let hour = login.time_s - 3600..=login.time_s;
        let before = failed.iter().filter(|time_s| hour.contains(time_s)).count();
        if before >= FAILED_LOGINS {
            return Some(Indication {
                kind: "account-takeover",
                rule: format!(
                    "{before} failed logins within the hour before one that succeeded; fires from \
                     {FAILED_LOGINS}"
                ),
            });
        }
    }
    let buying: Vec<&LiveEvent> =
        of_kind(view, "purchase").filter(|event| event.session.is_some()).collect();
    let most = buying
        .iter()
        .map(|first| {
            let hour = first.time_s..=first.time_s + 3600;
            let sessions: BTreeSet<Option<u64>> = buying
                .iter()
                .filter(|event| hour.contains(&event.time_s))
                .map(|event| event.session)
                .collect();
            sessions.len()
        })
        .max()
        .unwrap_or(0);
    (most >= BUYING_SESSIONS).then(|| Indication {
        kind: "account-takeover",
        rule: format!(
            "purchases from {most} sessions within an hour; fires from {BUYING_SESSIONS}"
        ),
    })
}

fn of_kind<'a>(view: &'a View, kind: &'a str) -> impl Iterator<Item = &'a LiveEvent> {
    view.live.iter().filter(move |event| event.kind == kind)
}

/// Most of the ascending `times` that lie within `span_s` seconds.
fn most_within(times: &[i64], span_s: i64) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (at, time_s) in times.iter().enumerate() {
        while times[first] < time_s - span_s {
            first += 1;
        }
        most = most.max(at + 1 - first);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_window() {
        assert_eq!(most_within(&[0, 10, 20, 100, 101, 102, 103], 20), 4);
        assert_eq!(most_within(&[], 20), 0);
    }
}
