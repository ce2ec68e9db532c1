//! What the person bought before, recent purchases counting more. It costs no privacy: it never
//! leaves the agent.

use super::Scorer;

/// One purchase of one item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Purchase {
    /// Catalogue index.
    pub item: u32,
    /// How often or how much, positive.
    pub count: f32,
    /// Days from the purchase to now, at least 0.
    pub age_days: f32,
}

/// The decayed count of each item, by ascending index: Σ count · 2^(-age/half-life). Purchases
/// with a count or age that is negative or not finite are left out.
#[must_use]
pub fn decayed(purchases: &[Purchase], half_life_days: f32) -> Vec<(u32, f32)> {
    let mut sums = std::collections::BTreeMap::new();
    for purchase in purchases {
        let Purchase { item, count, age_days } = *purchase;
        if count > 0.0 && count.is_finite() && age_days >= 0.0 && age_days.is_finite() {
            let weight = f64::from(count) * (-f64::from(age_days / half_life_days)).exp2();
            *sums.entry(item).or_insert(0.0) += weight;
        }
    }
    sums.into_iter().map(|(item, weight)| (item, weight as f32)).collect()
}

/// Scores an item by the person's own (decayed) count of it; see [`decayed`].
#[derive(Clone, Copy, Debug)]
pub struct LocalHistory {
    items: usize,
}

impl LocalHistory {
    /// Over a catalogue of `items` items.
    #[must_use]
    pub fn new(items: usize) -> Self {
        Self { items }
    }
}

impl Scorer for LocalHistory {
    fn items(&self) -> usize {
        self.items
    }

    fn score(&self, history: &[(u32, f32)], out: &mut [f32]) {
        let inside = out.len().min(self.items);
        out[..inside].fill(0.0);
        for &(item, count) in history {
            if (item as usize) < inside && count > 0.0 && count.is_finite() {
                out[item as usize] += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_it_after_a_half_life() {
        let purchase = |item, count, age_days| Purchase { item, count, age_days };
        let history = decayed(
            &[
                purchase(4, 2.0, 120.0),
                purchase(1, 1.0, 0.0),
                purchase(4, 1.0, 0.0),
                purchase(2, -1.0, 0.0),
                purchase(2, 1.0, f32::NAN),
            ],
            120.0,
        );
        assert_eq!(history, [(1, 1.0), (4, 2.0)]);
        let scores = LocalHistory::new(6).scores(&history);
        assert_eq!(scores, [0.0, 1.0, 0.0, 0.0, 2.0, 0.0]);
    }
}
