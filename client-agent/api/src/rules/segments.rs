//! Segments: conditions on a person's facts.

use chorale_people::event::Kind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::days;
use crate::{app::App, crowd::View, routes::value_of, world::World};

/// A segment: everybody for whom all conditions hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Its id, a word of a-z, 0-9 and '-'.
    pub id: String,
    /// For people.
    pub title: String,
    /// The conditions.
    pub all: Vec<Condition>,
}

/// A condition on one fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The fact.
    pub fact: Fact,
    /// The category, for `category-share`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The declared feature, for `feature`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// At least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// At most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// A fact about a person. Somebody who has none of it meets no condition on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// Baskets so far.
    Baskets,
    /// Money spent so far.
    Amount,
    /// Different items bought.
    Items,
    /// Days since the last purchase.
    RecencyDays,
    /// Days since the first purchase.
    TenureDays,
    /// Days since the last purchase in units of the person's own median gap, at least one day.
    Overdue,
    /// Share of the person's baskets-by-item that lies in a category, 0 to 1.
    CategoryShare,
    /// Items looked at, clicked on or put into the cart.
    Glances,
    /// The value of a declared feature.
    Feature,
}

/// The segments that every agent has.
#[must_use]
pub(crate) fn built_in() -> Vec<Segment> {
    let segment = |id: &str, title: &str, all: &[(Fact, Option<f64>, Option<f64>)]| Segment {
        id: id.to_owned(),
        title: title.to_owned(),
        all: all
            .iter()
            .map(|(fact, min, max)| Condition {
                fact: *fact,
                category: None,
                feature: None,
                min: *min,
                max: *max,
            })
            .collect(),
    };
    use Fact::{Baskets, Glances, Overdue, RecencyDays, TenureDays};
    vec![
        segment("newcomers", "First purchase within 30 days", &[(TenureDays, None, Some(30.0))]),
        segment(
            "regulars",
            "Six baskets or more, and in their rhythm",
            &[(Baskets, Some(6.0), None), (Overdue, None, Some(1.5))],
        ),
        segment(
            "slipping",
            "Four baskets or more, and two to four of their own gaps late",
            &[(Baskets, Some(4.0), None), (Overdue, Some(2.0), Some(4.0))],
        ),
        segment(
            "lost",
            "Three baskets or more, over four of their own gaps and 60 days late",
            &[
                (Baskets, Some(3.0), None),
                (Overdue, Some(4.0), None),
                (RecencyDays, Some(60.0), None),
            ],
        ),
        segment(
            "one-time",
            "One basket, 60 days ago or more",
            &[(Baskets, Some(1.0), Some(1.0)), (RecencyDays, Some(60.0), None)],
        ),
        segment(
            "browsers",
            "Looked at three items or more, and bought nothing",
            &[(Glances, Some(3.0), None), (Baskets, None, Some(0.0))],
        ),
    ]
}

impl Segment {
    /// Whether the person belongs to it at `now_s` (Unix seconds).
    pub(crate) fn holds(&self, app: &App, view: &View, world: &World, now_s: i64) -> bool {
        !self.all.is_empty() && self.all.iter().all(|one| one.holds(app, view, world, now_s))
    }
}

impl Condition {
    /// Whether it is about a declared feature.
    #[must_use]
    pub fn is_feature(&self) -> bool {
        self.fact == Fact::Feature
    }

    fn holds(&self, app: &App, view: &View, world: &World, now_s: i64) -> bool {
        self.value(app, view, world, now_s).is_some_and(|value| {
            self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
        })
    }

    fn value(&self, app: &App, view: &View, world: &World, now_s: i64) -> Option<f64> {
        let shelf = &world.shelf;
        let features = &view.features;
        let bought = features.baskets > 0;
        Some(match self.fact {
            Fact::Baskets => f64::from(features.baskets),
            Fact::Amount => features.amount,
            Fact::Items => features.items.len() as f64,
            Fact::RecencyDays => bought.then(|| days(features.last_s, now_s))?,
            Fact::TenureDays => bought.then(|| days(features.first_s, now_s))?,
            Fact::Overdue => days(features.last_s, now_s) / features.period_days?.max(1.0),
            Fact::CategoryShare => {
                let category = self.category.as_deref()?;
                let all: u32 = features.items.iter().map(|habit| habit.baskets).sum();
                let inside = features.items.iter().filter(|habit| {
                    shelf.line(habit.item).is_some_and(|line| line.category == category)
                });
                let inside: u32 = inside.map(|habit| habit.baskets).sum();
                (all > 0).then(|| f64::from(inside) / f64::from(all))?
            }
            Fact::Feature => {
                let wanted = self.feature.as_deref()?;
                let feature = app.features.iter().find(|feature| feature.name == wanted)?;
                value_of(app, feature, view, world, now_s)?
            }
            Fact::Glances => {
                let glance = [Kind::View, Kind::Click, Kind::CartAdd];
                view.record.events.iter().filter(|event| glance.contains(&event.kind)).count()
                    as f64
            }
        })
    }
}
