//! The profile as it is sent.

use std::collections::BTreeMap;

use chorale_people::{
    calendar,
    features::PersonRecord,
    hand_over::{self, Received},
    profiles::{self, Profile},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{app::App, crowd::View, routes, world::World};

/// What the agent knows about one person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProfileBody {
    /// Whether anything is known about the person.
    pub(crate) known: bool,
    /// The instant that it describes, in UTC.
    as_of: String,
    /// Where the knowledge comes from: `channel-only`, this channel's own events, or
    /// `channel-and-linked`, with summaries that linked agents gave. Everything but `linked` is made
    /// of this channel's own events; recommendations and rankings are made of both.
    knowledge: &'static str,
    /// What linked agents gave.
    linked: Vec<LinkedSummary>,
    /// Whether this store is the person's home.
    at_home: bool,
    /// Pseudonyms (channels) that were merged into this person.
    channels: usize,
    /// Everything that took part.
    sources: Vec<String>,
    /// Facts out of purchases.
    facts: Facts,
    /// Categories by interest, strongest first.
    categories: Vec<Category>,
    /// Items by interest, strongest first.
    items: Vec<Interest>,
    /// Items bought again and again, the next due first.
    habits: Vec<Habit>,
    /// Segments that the person belongs to, unless they have refused marketing.
    segments: Vec<String>,
    /// What came over the API.
    activity: Activity,
    /// Place in the space of tastes; empty without a model that has one.
    embedding: Vec<f32>,
}

/// What a linked agent said about the person.
#[derive(Debug, Serialize, ToSchema)]
struct LinkedSummary {
    /// The agent.
    agent: String,
    /// When it said so, in UTC.
    as_of: String,
    /// Until when it is kept, in UTC.
    until: String,
    /// Baskets there.
    baskets: u32,
    /// Last purchase there, in UTC.
    last: Option<String>,
    /// The items that say most, strongest first.
    items: Vec<LinkedItem>,
}

/// An item in a linked agent's summary.
#[derive(Debug, Serialize, ToSchema)]
struct LinkedItem {
    item: String,
    /// Baskets with it there.
    baskets: u32,
    /// Last purchase there, in UTC.
    last: String,
}

/// Facts out of purchases.
#[derive(Debug, Serialize, ToSchema)]
struct Facts {
    /// Baskets.
    baskets: u32,
    /// Money spent, in the store's currency.
    amount: f64,
    /// Different items.
    items: u32,
    /// First purchase, in UTC.
    first: Option<String>,
    /// Last purchase, in UTC.
    last: Option<String>,
    /// Median days between shopping days.
    period_days: Option<f64>,
    /// Baskets by weekday (Monday first) and quarter of the day in UTC.
    time_of_week: Vec<Vec<u32>>,
}

/// Interest in a category.
#[derive(Debug, Serialize, ToSchema)]
struct Category {
    category: String,
    department: String,
    /// Purchases and expectation together, 0 to 1.
    interest: f32,
    /// Share of the person's recency-weighted purchases, 0 to 1.
    bought: f32,
    /// Share of what the global model expects, 0 to 1; 0 without a model.
    expected: f32,
}

/// Interest in an item.
#[derive(Debug, Serialize, ToSchema)]
struct Interest {
    item: String,
    category: String,
    /// Only the order means something.
    score: f32,
    /// Baskets with it so far.
    baskets: u32,
}

/// Something bought again and again.
#[derive(Debug, Serialize, ToSchema)]
struct Habit {
    item: String,
    /// Baskets with it so far.
    baskets: u32,
    /// Median days from one purchase to the next.
    period_days: f64,
    /// Last purchase, in UTC.
    last: String,
    /// Expected next purchase, in UTC.
    due: String,
    /// Whether that lies before `as_of`.
    overdue: bool,
}

/// What came over the API.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Activity {
    /// Events by type.
    counts: BTreeMap<String, usize>,
    /// The latest events, newest first, at most ten.
    latest: Vec<Latest>,
}

/// A late event.
#[derive(Debug, Serialize, ToSchema)]
struct Latest {
    /// Its type.
    #[serde(rename = "type")]
    kind: String,
    /// Its item.
    item: Option<String>,
    /// When, in UTC.
    time: String,
}

const LATEST: usize = 10;

impl ProfileBody {
    /// The profile of a person, or of somebody who is unknown.
    pub(crate) fn of(app: &App, view: Option<&View>, world: &World) -> Self {
        let nobody = PersonRecord::default();
        let record = view.map_or(&nobody, |view| &view.record);
        let Profile {
            as_of_s, sources, at_home, rhythm, categories, items, habits, embedding, ..
        } = Profile::of(record, &world.serving);
        Self {
            known: view.is_some(),
            as_of: calendar::instant(as_of_s),
            knowledge: match view {
                Some(view) if !view.received.is_empty() => "channel-and-linked",
                _ => "channel-only",
            },
            linked: view.into_iter().flat_map(|v| &v.received).map(LinkedSummary::of).collect(),
            at_home,
            channels: view.map_or(0, |view| view.members.len()),
            sources: sources.iter().map(ToString::to_string).collect(),
            facts: Facts::of(&rhythm),
            categories: categories.into_iter().map(Category::of).collect(),
            items: items.into_iter().map(Interest::of).collect(),
            habits: habits.into_iter().map(Habit::of).collect(),
            segments: view.map(|view| routes::segments_of(app, view, world)).unwrap_or_default(),
            activity: view.map(Activity::of).unwrap_or_default(),
            embedding,
        }
    }
}

impl LinkedSummary {
    fn of(received: &Received) -> Self {
        let summary = &received.summary;
        let item = |item: &hand_over::Item| LinkedItem {
            item: item.item.clone(),
            baskets: item.baskets,
            last: calendar::instant(item.last_s),
        };
        Self {
            agent: summary.from.clone(),
            as_of: calendar::instant(summary.time_s),
            until: calendar::instant(received.until_s),
            baskets: summary.baskets,
            last: (summary.baskets > 0).then(|| calendar::instant(summary.last_s)),
            items: summary.items.iter().map(item).collect(),
        }
    }
}

impl Facts {
    fn of(rhythm: &profiles::Rhythm) -> Self {
        let bought = rhythm.baskets > 0;
        Self {
            baskets: rhythm.baskets,
            amount: rhythm.amount,
            items: rhythm.items,
            first: bought.then(|| calendar::instant(rhythm.first_s)),
            last: bought.then(|| calendar::instant(rhythm.last_s)),
            period_days: rhythm.period_days,
            time_of_week: rhythm.time_of_week.iter().map(|day| day.to_vec()).collect(),
        }
    }
}

impl Category {
    fn of(interest: profiles::CategoryInterest) -> Self {
        let profiles::CategoryInterest { department, category, bought, expected, interest } =
            interest;
        Self { category, department, interest, bought, expected }
    }
}

impl Interest {
    fn of(interest: profiles::ItemInterest) -> Self {
        let profiles::ItemInterest { item, category, score, baskets } = interest;
        Self { item, category, score, baskets }
    }
}

impl Habit {
    fn of(habit: profiles::Habit) -> Self {
        Self {
            item: habit.item,
            baskets: habit.baskets,
            period_days: habit.period_days,
            last: calendar::instant(habit.last_s),
            due: calendar::instant(habit.due_s),
            overdue: habit.overdue,
        }
    }
}

impl Activity {
    fn of(view: &View) -> Self {
        let mut counts = BTreeMap::new();
        for event in &view.live {
            *counts.entry(event.kind.clone()).or_default() += 1;
        }
        let latest = view.live.iter().rev().take(LATEST).map(|event| Latest {
            kind: event.kind.clone(),
            item: event.item.clone(),
            time: calendar::instant(event.time_s),
        });
        Self { counts, latest: latest.collect() }
    }
}
