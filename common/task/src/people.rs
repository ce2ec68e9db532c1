//! Persons as tasks see them, and how their counts become the unit vector of their taste.

use chorale_plan::Pseudonym;

/// One person's items within the plan's data window, at one agent.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    /// The pseudonym; it never enters a part.
    pub who: Pseudonym,
    /// Catalogue index and count, by ascending index.
    pub items: &'a [(u32, f32)],
}

/// A stream of persons by strictly ascending pseudonym, each once.
pub trait People {
    /// The next person, or `None` after the last.
    fn next_person(&mut self) -> Option<Person<'_>>;
}

/// Persons held in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryPeople {
    persons: Vec<(Pseudonym, Vec<(u32, f32)>)>,
    next: usize,
}

/// Two records of one person: the caller must merge them, or the person would count twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("two records carry the same pseudonym: merge a person's items before training")]
pub struct PeopleError;

/// How a count becomes a weight before the person's vector is scaled to norm 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighting {
    /// 1 for every item bought at all.
    Binary,
    /// The square root of the count.
    SquareRoot,
    /// ln(1 + count).
    Logarithm,
}

/// Largest count of one item at one person; larger ones are cut so that no overflow can reach a
/// weight.
pub const COUNT_MAX: f32 = 1_048_576.0;

/// Parts are scaled to the clip times this, 1 - 2^-22: rounding 64-bit results to `f32` errs by at
/// most 2^-24 relative, so that the norm of the stored part is still at most the clip.
pub(crate) const BELOW_ONE: f64 = 1.0 - 1.0 / 4_194_304.0;

impl MemoryPeople {
    /// Persons in any order; they are sorted here.
    ///
    /// # Errors
    /// [`PeopleError`] when a pseudonym is there twice.
    pub fn new(mut persons: Vec<(Pseudonym, Vec<(u32, f32)>)>) -> Result<Self, PeopleError> {
        persons.sort_by_key(|(who, _)| *who);
        if persons.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(PeopleError);
        }
        Ok(Self { persons, next: 0 })
    }

    /// Number of persons.
    #[must_use]
    pub fn len(&self) -> usize {
        self.persons.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.persons.is_empty()
    }

    /// Starts again at the first person.
    pub fn rewind(&mut self) {
        self.next = 0;
    }
}

impl People for MemoryPeople {
    fn next_person(&mut self) -> Option<Person<'_>> {
        let (who, items) = self.persons.get(self.next)?;
        self.next += 1;
        Some(Person { who: *who, items })
    }
}

impl Weighting {
    /// Parses `binary`, `square-root` or `logarithm`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "binary" => Some(Self::Binary),
            "square-root" => Some(Self::SquareRoot),
            "logarithm" => Some(Self::Logarithm),
            _ => None,
        }
    }

    /// As [`Weighting::parse`] reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::SquareRoot => "square-root",
            Self::Logarithm => "logarithm",
        }
    }

    /// The weight of a count that is positive and finite.
    #[must_use]
    pub fn of(self, count: f32) -> f64 {
        let count = f64::from(count.min(COUNT_MAX));
        match self {
            Self::Binary => 1.0,
            Self::SquareRoot => count.sqrt(),
            Self::Logarithm => count.ln_1p(),
        }
    }

    /// The person's vector of norm 1 (empty for a person without items): items outside
    /// `0..items` and counts that are not positive and finite are left out, repeated items are
    /// added up, indices come out strictly ascending. Whatever a store's records hold, the norm
    /// is 1 up to rounding in `f64`.
    pub fn unit_vector(self, history: &[(u32, f32)], items: u32, out: &mut Vec<(u32, f64)>) {
        out.clear();
        out.extend(
            history
                .iter()
                .filter(|(item, count)| *item < items && *count > 0.0 && count.is_finite())
                .map(|&(item, count)| (item, f64::from(count))),
        );
        if !out.is_sorted_by(|a, b| a.0 < b.0) {
            out.sort_by_key(|entry| entry.0);
            out.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    kept.1 += later.1;
                }
                same
            });
        }
        let mut squares = 0.0;
        for (_, value) in out.iter_mut() {
            *value = self.of(value.min(f64::from(COUNT_MAX)) as f32);
            squares += *value * *value;
        }
        let norm = squares.sqrt();
        if norm > 0.0 {
            out.iter_mut().for_each(|(_, value)| *value /= norm);
        } else {
            // Counts so small that their weights vanish.
            out.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_people_come_sorted_and_once() {
        let who = |byte| Pseudonym::from_bytes([byte; 32]);
        let mut people =
            MemoryPeople::new(vec![(who(3), vec![(0, 1.0)]), (who(1), vec![])]).unwrap();
        assert_eq!(people.next_person().unwrap().who, who(1));
        assert_eq!(people.next_person().unwrap().items, &[(0, 1.0)]);
        assert!(people.next_person().is_none());
        people.rewind();
        assert_eq!(people.next_person().unwrap().who, who(1));
        assert_eq!(
            MemoryPeople::new(vec![(who(1), vec![]), (who(1), vec![])]).unwrap_err(),
            PeopleError
        );
    }

    #[test]
    fn hostile_records_are_cleaned() {
        let mut out = Vec::new();
        let history =
            [(9, 1.0), (2, f32::NAN), (1, -4.0), (0, f32::INFINITY), (3, 2.0), (1, 1.0), (3, 1.0)];
        Weighting::Binary.unit_vector(&history, 5, &mut out);
        assert_eq!(out.iter().map(|e| e.0).collect::<Vec<_>>(), [1, 3]);
        assert!((out[0].1 - 0.5f64.sqrt()).abs() < 1e-15);
        Weighting::SquareRoot.unit_vector(&history, 5, &mut out);
        assert!((out[1].1 - 0.75f64.sqrt()).abs() < 1e-15);
        Weighting::Logarithm.unit_vector(&[(0, f32::MIN_POSITIVE / 4.0)], 5, &mut out);
        assert!(out.iter().all(|(_, value)| value.is_finite()));
    }

    proptest! {
        #[test]
        fn the_norm_is_one_or_zero(
            history: Vec<(u8, f32)>,
            weighting in prop_oneof![
                Just(Weighting::Binary), Just(Weighting::SquareRoot), Just(Weighting::Logarithm)
            ],
        ) {
            let history: Vec<(u32, f32)> = history.iter().map(|&(i, c)| (u32::from(i), c)).collect();
            let mut out = Vec::new();
            weighting.unit_vector(&history, 200, &mut out);
            let squares: f64 = out.iter().map(|(_, v)| v * v).sum();
            prop_assert!(out.is_empty() || (squares - 1.0).abs() < 1e-12);
            prop_assert!(out.is_sorted_by(|a, b| a.0 < b.0));
            prop_assert!(out.iter().all(|(item, _)| *item < 200));
        }
    }
}
