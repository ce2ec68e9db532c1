//! `POST /v1/rank`: a search's candidates in, their order for this person out.

use std::sync::Arc;

use axum::extract::State;
use chorale_people::live::Purpose;
use serde::Deserialize;
use utoipa::ToSchema;

use super::recommend::Offers;
use crate::{
    app::{App, checked},
    choose::{Offer, Scored},
    problem::{Failures, Problem},
    request::{Answer, Body, Context, Fallback},
};

/// A search's result, to be ordered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    /// The customer's id. Give this or `session`.
    #[schema(max_length = 256, example = "customer-42")]
    user: Option<String>,
    /// The session's id, for visitors without a login.
    #[schema(max_length = 256)]
    session: Option<String>,
    /// What was searched for. It is compared with items' titles, ids and categories, and not kept.
    #[serde(default)]
    query: String,
    /// 1 to 1000 items in the search engine's own order, best first.
    #[schema(min_items = 1, max_items = 1000)]
    candidates: Vec<Candidate>,
    /// Whether to say why.
    #[serde(default)]
    explain: bool,
}

/// One item of a search's result.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Candidate {
    /// The item's id; items unknown here keep the place that the search engine gave them.
    #[schema(min_length = 1, max_length = 256)]
    item: String,
    /// The search engine's score, on any scale; without scores the order counts.
    score: Option<f64>,
}

const CANDIDATES_MAX: usize = 1000;

/// Weight of the person's taste beside the search engine's relevance, both in units of their
/// deviation among the candidates: both have an equal voice.
const TASTE_WEIGHT: f64 = 1.0;

/// Weight of the share of the query's words that an item's words hold.
const WORDS_WEIGHT: f64 = 0.5;

/// Order a search's candidates
///
/// Every candidate comes back once. Without anything known about the person, the search engine's
/// order stands but for the query's words.
#[utoipa::path(
    post, path = "/v1/rank", tag = "recommendations",
    request_body(content = Search, example = json!({
        "user": "customer-42", "query": "green tea",
        "candidates": [{"item": "OOLONG"}, {"item": "SENCHA"}]
    })),
    responses((status = 200, body = Answer<Offers>), Failures)
)]
pub(super) async fn rank(
    State(app): State<Arc<App>>,
    context: Context,
    Body(search): Body<Search>,
) -> Result<Answer<Offers>, Problem> {
    let candidates = &search.candidates;
    if candidates.is_empty() || candidates.len() > CANDIDATES_MAX {
        return Err(Problem::bad(format!("send 1 to {CANDIDATES_MAX} candidates")));
    }
    for candidate in candidates {
        checked("item", &candidate.item)?;
    }
    let who = app.subject(search.user.as_deref(), search.session.as_deref())?;
    let world = app.world();
    let view = app.view(who, &world);
    let agreed = view.as_deref().is_none_or(|view| app.allows(view, Purpose::Personalisation));
    let fallback = match &view {
        None => Some(Fallback::UnknownUser),
        Some(_) if !agreed => Some(Fallback::NoConsent),
        Some(_) => None,
    };
    let scored = view.as_deref().filter(|_| agreed).map(|view| Scored::of(Some(view), &world));
    let places: Vec<Option<u32>> =
        candidates.iter().map(|candidate| world.shelf.index_of(&candidate.item)).collect();
    let all_scored = candidates.iter().all(|candidate| candidate.score.is_some());
    let relevance = standard(candidates.iter().enumerate().map(|(position, candidate)| {
        match candidate.score {
            Some(score) if all_scored => score,
            // The gain of a place as DCG has it.
            _ => 1.0 / (position as f64 + 2.0).log2(),
        }
    }));
    let taste = standard(places.iter().map(|place| match (place, &scored) {
        (Some(place), Some(scored)) => f64::from(scored.sums[*place as usize]),
        _ => f64::NAN,
    }));
    let words = words(&search.query);
    let mut ranked: Vec<(usize, f64, f64, f64)> = (0..candidates.len())
        .map(|at| {
            let text = places[at].and_then(|place| world.shelf.line(place)).map(|line| {
                format!("{} {} {}", line.title().unwrap_or_default(), line.item, line.category)
            });
            let text = text.unwrap_or_else(|| candidates[at].item.clone());
            let matched = WORDS_WEIGHT * share(&words, &text);
            let liked = TASTE_WEIGHT * taste[at];
            (at, relevance[at] + liked + matched, liked, matched)
        })
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let items = ranked.into_iter().map(|(at, score, liked, matched)| {
        let known = places[at].zip(scored.as_ref());
        let personal = known.filter(|_| liked > 0.0 && liked >= relevance[at].max(0.0));
        let offered =
            personal.and_then(|(place, scored)| scored.offer(place, &world, search.explain));
        let line = places[at].and_then(|place| world.shelf.line(place));
        let plain = || Offer {
            item: candidates[at].item.clone(),
            title: line.and_then(|line| line.title()).map(str::to_owned),
            category: line.map(|line| line.category.clone()).unwrap_or_default(),
            score: 0.0,
            source: "search".into(),
            reasons: search.explain.then(|| {
                let place = format!("place {} of the search", at + 1);
                let words = (matched > 0.0).then(|| "holds words of the query".to_owned());
                std::iter::once(place).chain(words).collect()
            }),
        };
        Offer { score: score as f32, ..offered.unwrap_or_else(plain) }
    });
    let offers = Offers { items: items.collect(), next: None };
    Ok(context.answer(&world, "rank", fallback, offers))
}

/// Values in units of their standard deviation around their mean; what is not finite gets 0, the
/// mean.
fn standard(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let count = finite.len().max(1) as f64;
    let mean = finite.iter().sum::<f64>() / count;
    let variance = finite.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let deviation = variance.sqrt();
    let scaled = |value: f64| match value.is_finite() && deviation > 0.0 && deviation.is_finite() {
        true => (value - mean) / deviation,
        false => 0.0,
    };
    values.into_iter().map(scaled).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(32)
        .map(str::to_lowercase)
        .collect()
}

/// Share of the words that the text holds.
fn share(wanted: &[String], text: &str) -> f64 {
    if wanted.is_empty() {
        return 0.0;
    }
    let text = text.to_lowercase();
    let held = wanted.iter().filter(|word| text.contains(word.as_str())).count();
    held as f64 / wanted.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_and_words() {
        assert_eq!(standard([1.0, 3.0, f64::NAN].into_iter()), [-1.0, 1.0, 0.0]);
        assert_eq!(standard([2.0, 2.0].into_iter()), [0.0, 0.0]);
        assert_eq!(standard([f64::MAX, f64::MIN].into_iter()), [0.0, 0.0]);
        assert_eq!(share(&words("Green  tea!"), "SENCHA green TEA"), 1.0);
        assert_eq!(share(&words("绿茶 x"), "龙井绿茶"), 0.5);
        assert_eq!(share(&words(""), "anything"), 0.0);
    }
}
