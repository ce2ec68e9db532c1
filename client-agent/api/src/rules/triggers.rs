//! Triggers: occasions to write to a customer.

use std::collections::BTreeMap;

use chorale_people::{
    calendar::{self, DAY_S},
    event::Kind,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::days;
use crate::{crowd::View, shelf::Shelf};

/// An occasion.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Trigger {
    /// Which kind.
    pub(crate) kind: TriggerKind,
    /// The rule that fired, in words and numbers.
    pub(crate) rule: String,
    /// The items that it is about.
    pub(crate) items: Vec<String>,
    /// Since when it holds, or when it is due, in UTC.
    pub(crate) at: String,
}

/// Kinds of occasion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TriggerKind {
    /// Something lies in the cart.
    CartReminder,
    /// Something that is bought again and again is due.
    Replenishment,
    /// A customer stays away.
    WinBack,
    /// Something was bought a while ago, and not reviewed.
    ReviewRequest,
}

/// A cart is left alone for at least so long, and reminded of for so long, in seconds.
const CART_IDLE_S: (i64, i64) = (3600, 7 * DAY_S);

/// Baskets with an item from which on it has a rhythm.
const REPLENISH_BASKETS: u32 = 3;

/// A purchase is due from so many days before its expected day.
const REPLENISH_EARLY_DAYS: f64 = 3.0;

/// After so many missed periods a habit is taken as given up.
const REPLENISH_MISSED_MAX: f64 = 2.0;

/// Baskets, own gaps and days after which somebody stays away, and days after which they are gone.
const WIN_BACK: (u32, f64, f64, f64) = (3, 3.0, 30.0, 365.0);

/// Days after a purchase in which a review may be asked for.
const REVIEW_DAYS: (f64, f64) = (7.0, 21.0);

/// Most items in one trigger.
const ITEMS_MAX: usize = 5;

/// All triggers of a person at `now_s` (Unix seconds).
pub(crate) fn all(view: &View, shelf: &Shelf, now_s: i64) -> Vec<Trigger> {
    let found = [
        cart_reminder(view, shelf, now_s),
        replenishment(view, shelf, now_s),
        win_back(view, now_s),
        review_request(view, shelf, now_s),
    ];
    found.into_iter().flatten().collect()
}

fn cart_reminder(view: &View, shelf: &Shelf, now_s: i64) -> Option<Trigger> {
    let mut cart: BTreeMap<u32, i64> = BTreeMap::new();
    for event in &view.record.events {
        match event.kind {
            Kind::CartAdd => {
                cart.insert(event.item, event.time_s);
            }
            Kind::CartRemove | Kind::Purchase => {
                cart.remove(&event.item);
            }
            _ => {}
        }
    }
    let last = *cart.values().max()?;
    let idle_s = now_s - last;
    (CART_IDLE_S.0..=CART_IDLE_S.1).contains(&idle_s).then(|| Trigger {
        kind: TriggerKind::CartReminder,
        rule: format!(
            "{} items put into the cart and neither bought nor taken out, the last {} hours ago",
            cart.len(),
            idle_s / 3600
        ),
        items: names(cart.keys().copied(), shelf),
        at: calendar::instant(last),
    })
}

fn replenishment(view: &View, shelf: &Shelf, now_s: i64) -> Option<Trigger> {
    let mut due: Vec<(i64, u32, f64)> = view
        .features
        .items
        .iter()
        .filter(|habit| habit.baskets >= REPLENISH_BASKETS)
        .filter_map(|habit| {
            let (period, due_s) = (habit.period_days?.max(1.0), habit.due_s()?);
            let late = (now_s - due_s) as f64 / DAY_S as f64;
            let fits = late >= -REPLENISH_EARLY_DAYS && late / period <= REPLENISH_MISSED_MAX;
            fits.then_some((due_s, habit.item, period))
        })
        .collect();
    due.sort_by_key(|(due_s, item, _)| (*due_s, *item));
    let (first, _, period) = *due.first()?;
    Some(Trigger {
        kind: TriggerKind::Replenishment,
        rule: format!(
            "{} items bought at least {REPLENISH_BASKETS} times are due by their own median gap; \
             the first comes about every {period} days",
            due.len()
        ),
        items: names(due.iter().map(|(_, item, _)| *item), shelf),
        at: calendar::instant(first),
    })
}

fn win_back(view: &View, now_s: i64) -> Option<Trigger> {
    let features = &view.features;
    let (baskets, gaps, days_min, days_max) = WIN_BACK;
    let period = features.period_days?.max(1.0);
    let away = days(features.last_s, now_s);
    let fires = features.baskets >= baskets
        && away >= gaps * period
        && (days_min..=days_max).contains(&away);
    fires.then(|| Trigger {
        kind: TriggerKind::WinBack,
        rule: format!(
            "{} baskets, about every {period} days, and none for {} days",
            features.baskets, away as i64
        ),
        items: Vec::new(),
        at: calendar::instant(features.last_s),
    })
}

fn review_request(view: &View, shelf: &Shelf, now_s: i64) -> Option<Trigger> {
    let reviewed = |item: u32| {
        let name = shelf.line(item).map(|line| line.item.to_string());
        view.live
            .iter()
            .any(|event| matches!(event.kind.as_str(), "review" | "rating") && event.item == name)
    };
    let fresh = |time_s: i64| (REVIEW_DAYS.0..=REVIEW_DAYS.1).contains(&days(time_s, now_s));
    // Things of every day are not reviewed: only what was bought for the first time.
    let items: Vec<(i64, u32)> = view
        .features
        .items
        .iter()
        .filter(|habit| habit.baskets == 1 && fresh(habit.last_s) && !reviewed(habit.item))
        .map(|habit| (habit.last_s, habit.item))
        .collect();
    let first = items.iter().map(|(time_s, _)| *time_s).min()?;
    Some(Trigger {
        kind: TriggerKind::ReviewRequest,
        rule: format!(
            "{} items bought for the first time {} to {} days ago, without a review",
            items.len(),
            REVIEW_DAYS.0,
            REVIEW_DAYS.1
        ),
        items: names(items.into_iter().map(|(_, item)| item), shelf),
        at: calendar::instant(first),
    })
}

fn names(items: impl Iterator<Item = u32>, shelf: &Shelf) -> Vec<String> {
    items
        .filter_map(|item| shelf.line(item).map(|line| line.item.to_string()))
        .take(ITEMS_MAX)
        .collect()
}
