//! `GET /v1/attribution`: from exposure over click to purchase.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use chorale_people::{calendar::DAY_S, live::LiveEvent};
use serde::Serialize;
use utoipa::ToSchema;

use super::segments::blocking;
use crate::{
    app::App,
    problem::{Failures, Problem},
    request::{Answer, Context},
};

/// What became of this agent's answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Attribution {
    /// By scenario and model.
    arms: Vec<Arm>,
}

/// What became of the answers of one scenario under one model.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Arm {
    /// The scenario, or the kind of answer.
    scenario: String,
    /// First digits of the model's digest, or `none`.
    model: String,
    /// Answers that at least one event names.
    answers: usize,
    /// Events `impression`.
    impressions: u64,
    /// Events `click`.
    clicks: u64,
    /// Purchases that name the answer, or follow within seven days a click of the same person on
    /// the same item that does.
    purchases: u64,
    /// Money of those purchases.
    amount: f64,
}

/// A purchase is a click's within as many seconds.
const AFTER_CLICK_S: i64 = 7 * DAY_S;

#[derive(Default)]
struct Tally {
    arms: BTreeMap<(String, String), Arm>,
    answers: BTreeMap<(String, String), std::collections::BTreeSet<String>>,
}

/// From exposure over click to purchase, by scenario and model
///
/// Events belong to an answer by their `request_id`.
#[utoipa::path(
    get, path = "/v1/attribution", tag = "recommendations",
    responses((status = 200, body = Answer<Attribution>), Failures)
)]
pub(super) async fn attribution(
    State(app): State<Arc<App>>,
    context: Context,
) -> Result<Answer<Attribution>, Problem> {
    let world = app.world();
    let arms = {
        let (app, world) = (Arc::clone(&app), Arc::clone(&world));
        blocking(move || {
            let mut tally = Tally::default();
            for who in app.shared.crowd.everybody(None) {
                if let Some(view) = app.view(who, &world) {
                    tally.person(&view.live);
                }
            }
            tally.finish()
        })
        .await?
    };
    Ok(context.answer(&world, "attribution", None, Attribution { arms }))
}

impl Tally {
    /// One person's events by ascending time.
    fn person(&mut self, events: &[LiveEvent]) {
        for (position, event) in events.iter().enumerate() {
            let own = event.request.as_deref();
            let request = match event.kind.as_str() {
                "impression" | "click" => own,
                "purchase" => own.or_else(|| clicked(&events[..position], event)),
                _ => continue,
            };
            let Some((key, request)) = request.and_then(|id| Some((key(id)?, id))) else {
                continue;
            };
            self.answers.entry(key.clone()).or_default().insert(request.to_owned());
            let arm = self.arms.entry(key).or_default();
            match event.kind.as_str() {
                "impression" => arm.impressions += 1,
                "click" => arm.clicks += 1,
                _ => {
                    arm.purchases += 1;
                    arm.amount += event.amount;
                }
            }
        }
    }

    fn finish(self) -> Vec<Arm> {
        let Self { arms, answers } = self;
        arms.into_iter()
            .map(|(key, arm)| Arm {
                answers: answers.get(&key).map_or(0, std::collections::BTreeSet::len),
                scenario: key.0,
                model: key.1,
                ..arm
            })
            .collect()
    }
}

/// The answer whose click on the same item came last before a purchase.
fn clicked<'a>(before: &'a [LiveEvent], purchase: &LiveEvent) -> Option<&'a str> {
    before
        .iter()
        .rev()
        .take_while(|event| purchase.time_s - event.time_s <= AFTER_CLICK_S)
        .find(|event| {
            event.kind == "click" && event.item == purchase.item && event.request.is_some()
        })
        .and_then(|event| event.request.as_deref())
}

/// Scenario and model out of a request's id.
fn key(request: &str) -> Option<(String, String)> {
    let mut parts = request.split('.');
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time_s: i64, kind: &str, item: &str, request: Option<&str>) -> LiveEvent {
        LiveEvent {
            id: 0,
            time_s,
            kind: kind.into(),
            item: Some(item.into()),
            quantity: 1.0,
            amount: 2.0,
            discount: 0.0,
            channel: 0,
            basket: None,
            session: None,
            request: request.map(str::to_owned),
            text: None,
        }
    }

    #[test]
    fn purchases_follow_clicks_within_a_week() {
        let (home, cart) = (Some("home.none.1"), Some("cart.none.2"));
        let mut tally = Tally::default();
        tally.person(&[
            event(0, "impression", "A", home),
            event(1, "impression", "B", home),
            event(2, "click", "A", home),
            event(3, "view", "A", None),
            event(4, "purchase", "A", None),
            event(5, "purchase", "B", None),
            event(6, "purchase", "B", cart),
            event(3 + 8 * DAY_S, "purchase", "A", None),
        ]);
        let arms = tally.finish();
        let seen: Vec<_> = arms
            .iter()
            .map(|a| (a.scenario.as_str(), a.answers, a.impressions, a.clicks, a.purchases))
            .collect();
        assert_eq!(seen, [("cart", 1, 0, 0, 1), ("home", 1, 2, 1, 1)]);
        assert!((arms[1].amount - 2.0).abs() < 1e-9);
    }
}
