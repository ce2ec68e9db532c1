//! One person's profile: interests, habits, rhythm and a place in the space of tastes.

use std::collections::BTreeMap;

use chorale_wire::Digest;
use serde::{Deserialize, Serialize};

use super::{Serving, Source};
use crate::{
    calendar::DAY_S,
    features::{Features, ItemHabit, PersonRecord},
};

/// What the agent knows about one person, in words and numbers. Stored sealed; never leaves.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The instant that it describes, Unix seconds.
    pub as_of_s: i64,
    /// Digest of the global model that took part, if one did.
    pub model: Option<Digest>,
    /// Everything that took part.
    pub sources: Vec<Source>,
    /// Whether this store is the person's home.
    pub at_home: bool,
    /// How often, when and for how much the person shops.
    pub rhythm: Rhythm,
    /// Categories by interest, strongest first.
    pub categories: Vec<CategoryInterest>,
    /// Items by interest, strongest first.
    pub items: Vec<ItemInterest>,
    /// Items bought again and again, the next due first.
    pub habits: Vec<Habit>,
    /// Place in the space of tastes; empty without a model that has one.
    pub embedding: Vec<f32>,
}

/// How a person shops.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rhythm {
    /// Baskets.
    pub baskets: u32,
    /// Money spent.
    pub amount: f64,
    /// Different items.
    pub items: u32,
    /// First purchase, Unix seconds.
    pub first_s: i64,
    /// Last purchase, Unix seconds.
    pub last_s: i64,
    /// Median days between shopping days.
    pub period_days: Option<f64>,
    /// Baskets by weekday (Monday first) and quarter of the day in UTC.
    pub time_of_week: [[u32; 4]; 7],
}

/// Interest in one category.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoryInterest {
    /// Department.
    pub department: String,
    /// Category.
    pub category: String,
    /// Share of the person's recency-weighted purchases, 0 to 1.
    pub bought: f32,
    /// Share of what the global model expects of the person, 0 to 1; 0 without a model.
    pub expected: f32,
    /// Both together, 0 to 1.
    pub interest: f32,
}

/// Interest in one item.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemInterest {
    /// The item.
    pub item: String,
    /// Its category.
    pub category: String,
    /// Blended score; only its order means something.
    pub score: f32,
    /// Baskets with it so far.
    pub baskets: u32,
}

/// Something bought again and again.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Habit {
    /// The item.
    pub item: String,
    /// Baskets with it so far.
    pub baskets: u32,
    /// Median days from one purchase to the next.
    pub period_days: f64,
    /// Last purchase, Unix seconds.
    pub last_s: i64,
    /// Expected next purchase, Unix seconds.
    pub due_s: i64,
    /// Whether it was due before the profile's instant.
    pub overdue: bool,
}

/// Entries of each list.
const LENGTH: usize = 10;

/// Baskets with an item from which on it is a habit: two gaps at least.
const HABIT_BASKETS: u32 = 3;

/// After so many missed periods a habit is taken as given up.
const MISSED_PERIODS: f64 = 4.0;

/// Share of the person's own purchases in a category's interest where there is a global model.
const BOUGHT_SHARE: f32 = 0.7;

crate::error::redacted!(Profile, Rhythm, CategoryInterest, ItemInterest, Habit);

impl Profile {
    /// The profile of `record` within the served window.
    #[must_use]
    pub fn of(record: &PersonRecord, serving: &Serving) -> Self {
        let features = Features::of(record, serving.window_end_s());
        let taste = serving.taste();
        let (counts, recent) = (features.counts(), features.recent_counts());
        let scores = taste.scores(&recent, &counts);
        Self {
            as_of_s: serving.as_of_s(),
            model: taste.model().copied(),
            sources: taste.sources(),
            at_home: record.at_home,
            rhythm: rhythm(&features),
            categories: categories(serving, &recent, &scores),
            items: items(serving, &features, &scores),
            habits: habits(serving, &features),
            embedding: taste.embed(&counts),
        }
    }
}

fn rhythm(features: &Features) -> Rhythm {
    Rhythm {
        baskets: features.baskets,
        amount: features.amount,
        items: features.items.len() as u32,
        first_s: features.first_s,
        last_s: features.last_s,
        period_days: features.period_days,
        time_of_week: features.time_of_week,
    }
}

/// Shares of purchases and shares of expectation, by category.
fn categories(
    serving: &Serving,
    recent: &[(u32, f32)],
    scores: &[(Source, Vec<f32>)],
) -> Vec<CategoryInterest> {
    let mut bought = vec![0.0f64; serving.taste().items()];
    for &(item, weight) in recent {
        bought[item as usize] += f64::from(weight);
    }
    let expected = expected(serving.taste().items(), scores);
    let has_model = expected.iter().any(|share| *share > 0.0);
    let all: f64 = bought.iter().sum();
    let catalogue = serving.catalogue();
    let mut sums = vec![(0.0f64, 0.0f64); catalogue.categories().len()];
    for (index, category) in catalogue.category_of().iter().enumerate() {
        let sum = &mut sums[*category as usize];
        sum.0 += if all > 0.0 { bought[index] / all } else { 0.0 };
        sum.1 += expected[index];
    }
    let own = match (has_model, all > 0.0) {
        (true, true) => BOUGHT_SHARE,
        (true, false) => 0.0,
        (false, _) => 1.0,
    };
    let interest =
        |(bought, expected): (f64, f64)| own * bought as f32 + (1.0 - own) * expected as f32;
    let interests: Vec<f32> = sums.iter().map(|sum| interest(*sum)).collect();
    chorale_task::top_k(&interests, &[], LENGTH)
        .into_iter()
        .map(|place| place as usize)
        .filter(|&place| interests[place] > 0.0)
        .map(|place| {
            let (department, category) = catalogue.categories()[place].clone();
            let (bought, expected) = (sums[place].0 as f32, sums[place].1 as f32);
            CategoryInterest { department, category, bought, expected, interest: interests[place] }
        })
        .collect()
}

/// Softmax over the sum of the global sources' scores in units of their deviation: all zero
/// without a model.
fn expected(items: usize, scores: &[(Source, Vec<f32>)]) -> Vec<f64> {
    let mut sums = vec![0.0f32; items];
    let mut global = false;
    for (source, scores) in scores {
        if !matches!(source, Source::History | Source::LocalPopularity) {
            global = true;
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
        }
    }
    if !global {
        return vec![0.0; items];
    }
    chorale_task::scorers::Scale::Standard.apply(&mut sums);
    let most = sums.iter().copied().fold(f32::MIN, f32::max);
    let exponentials: Vec<f64> = sums.iter().map(|&sum| f64::from(sum - most).exp()).collect();
    let total: f64 = exponentials.iter().sum();
    exponentials.iter().map(|value| value / total).collect()
}

fn items(
    serving: &Serving,
    features: &Features,
    scores: &[(Source, Vec<f32>)],
) -> Vec<ItemInterest> {
    let sums = serving.taste().sum(scores);
    let baskets: BTreeMap<u32, u32> =
        features.items.iter().map(|habit| (habit.item, habit.baskets)).collect();
    let best = chorale_task::top_k(&sums, &[], LENGTH);
    best.into_iter()
        .filter_map(|index| {
            let item = serving.catalogue().item(index)?;
            Some(ItemInterest {
                item: item.item_id.clone(),
                category: item.category.clone(),
                score: sums[index as usize],
                baskets: baskets.get(&index).copied().unwrap_or(0),
            })
        })
        .collect()
}

impl ItemHabit {
    /// Whether it was bought often enough to speak of a habit.
    #[must_use]
    pub fn is_habit(&self) -> bool {
        self.baskets >= HABIT_BASKETS
    }
}

/// When an item is due again, Unix seconds, unless it has no rhythm or was given up before
/// `now_s`.
#[must_use]
pub fn habit_due_s(habit: &ItemHabit, now_s: i64) -> Option<i64> {
    let (period_days, due_s) = (habit.period_days?, habit.due_s()?);
    let missed = (now_s - due_s) as f64 / (period_days.max(1.0) * DAY_S as f64);
    (missed <= MISSED_PERIODS).then_some(due_s)
}

fn habits(serving: &Serving, features: &Features) -> Vec<Habit> {
    let now_s = serving.as_of_s();
    let mut habits: Vec<Habit> = features
        .items
        .iter()
        .filter(|habit| habit.is_habit())
        .filter_map(|habit| {
            let (period_days, due_s) = (habit.period_days?, habit_due_s(habit, now_s)?);
            Some(Habit {
                item: serving.catalogue().item(habit.item)?.item_id.clone(),
                baskets: habit.baskets,
                period_days,
                last_s: habit.last_s,
                due_s,
                overdue: due_s < now_s,
            })
        })
        .collect();
    // What is due next, and of equally due things the more frequent.
    habits.sort_by(|a, b| a.due_s.cmp(&b.due_s).then(b.baskets.cmp(&a.baskets)));
    habits.sort_by_key(|habit| habit.overdue);
    habits.truncate(LENGTH);
    habits
}
