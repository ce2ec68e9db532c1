//! Recommendations with their reasons.

use serde::{Deserialize, Serialize};

use super::{Serving, Source};
use crate::features::{Features, ItemHabit, PersonRecord};

/// An answer to "what might this person want?".
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendations {
    /// Whether the person is known here; if not, the answer is the same for every newcomer.
    pub known: bool,
    /// What the reader should know about the answer.
    pub note: Option<String>,
    /// Everything that took part.
    pub sources: Vec<Source>,
    /// Digest of the global model, as hexadecimal digits, if one took part.
    pub model: Option<String>,
    /// The items, best first.
    pub items: Vec<Recommendation>,
}

/// One recommended item.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The item.
    pub item: String,
    /// Its category.
    pub category: String,
    /// Blended score; only its order means something.
    pub score: f32,
    /// The source that speaks most for it.
    pub source: Source,
    /// Why, strongest first.
    pub reasons: Vec<Reason>,
}

/// One reason for a recommendation.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Where it comes from.
    pub source: Source,
    /// In words.
    pub text: String,
}

crate::error::redacted!(Recommendations, Recommendation, Reason);

impl Recommendations {
    /// At most `count` items for `record` (`None` for a person who is unknown here), best first;
    /// with `new_only` none that the person has bought here before.
    #[must_use]
    pub fn of(
        record: Option<&PersonRecord>,
        serving: &Serving,
        count: usize,
        new_only: bool,
    ) -> Self {
        let features =
            record.map(|record| Features::of(record, serving.window_end_s())).unwrap_or_default();
        let taste = serving.taste();
        let (counts, recent) = (features.counts(), features.recent_counts());
        let scores = taste.scores(&recent, &counts);
        let sums = taste.sum(&scores);
        let bought: Vec<u32> = counts.iter().map(|(item, _)| *item).collect();
        let exclude: &[u32] = if new_only { &bought } else { &[] };
        let best = chorale_task::top_k(&sums, exclude, count);
        let items = best
            .into_iter()
            .filter_map(|index| {
                let item = serving.catalogue().item(index)?;
                let reasons = reasons(serving, &features, &counts, &scores, index);
                Some(Recommendation {
                    item: item.item_id.clone(),
                    category: item.category.clone(),
                    score: sums[index as usize],
                    source: reasons.first().map_or(Source::LocalPopularity, |r| r.source),
                    reasons,
                })
            })
            .collect();
        let note = match record {
            None => Some("this customer is unknown here: popular items instead".to_owned()),
            Some(_) if counts.is_empty() => {
                Some("this customer has no purchase in the window: popular items instead".into())
            }
            Some(_) if taste.model().is_none() => {
                Some("no global model yet: from this store's own data alone".into())
            }
            Some(_) => None,
        };
        Self {
            known: record.is_some(),
            note,
            sources: taste.sources(),
            model: taste.model().map(ToString::to_string),
            items,
        }
    }
}

/// Every source that speaks for the item, strongest first. `counts` are the person's items as the
/// models take them, `scores` what [`Taste::scores`](super::Taste::scores) made of them.
#[must_use]
pub fn reasons(
    serving: &Serving,
    features: &Features,
    counts: &[(u32, f32)],
    scores: &[(Source, Vec<f32>)],
    index: u32,
) -> Vec<Reason> {
    let mut speaking: Vec<(f32, Source)> = scores
        .iter()
        .map(|(source, scores)| (scores[index as usize], *source))
        .filter(|(score, _)| *score > 0.0)
        .collect();
    speaking.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    speaking
        .into_iter()
        .filter_map(|(_, source)| {
            Some(Reason { source, text: words(serving, features, counts, source, index)? })
        })
        .collect()
}

fn words(
    serving: &Serving,
    features: &Features,
    counts: &[(u32, f32)],
    source: Source,
    index: u32,
) -> Option<String> {
    Some(match source {
        Source::History => {
            let habit = features.items.iter().find(|habit| habit.item == index)?;
            history_words(habit, serving.as_of_s())
        }
        Source::LocalPopularity => "popular at this store".into(),
        Source::GlobalPopularity => "popular across the federation".into(),
        // Without purchases the models say nothing about this person but what is popular.
        Source::MatrixFactorisation | Source::Cooccurrence if counts.is_empty() => {
            "popular across the federation".into()
        }
        Source::MatrixFactorisation => "fits this customer's taste".into(),
        Source::Cooccurrence => {
            let names: Vec<&str> = serving
                .taste()
                .because_of(index, counts)
                .into_iter()
                .filter(|own| *own != index)
                .filter_map(|own| Some(serving.catalogue().item(own)?.item_id.as_str()))
                .collect();
            if names.is_empty() {
                "goes with what this customer buys".into()
            } else {
                format!("goes with {}", names.join(" and "))
            }
        }
    })
}

fn history_words(habit: &ItemHabit, now_s: i64) -> String {
    let times = if habit.baskets == 1 { "once".into() } else { format!("{} times", habit.baskets) };
    let ago = (now_s - habit.last_s).max(0) / crate::calendar::DAY_S;
    match habit.period_days {
        Some(period) => format!("bought {times}, about every {period} days, last {ago} days ago"),
        None => format!("bought {times}, {ago} days ago"),
    }
}
