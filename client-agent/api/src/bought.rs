//! Who bought what, by numbers: popularity, and items that sell together, at this store.

use std::collections::HashMap;

use chorale_plan::Pseudonym;

/// Distinct items by person, and persons by item.
#[derive(Default)]
pub(crate) struct Bought {
    numbers: HashMap<Pseudonym, u32>,
    items_of: Vec<Vec<u32>>,
    buyers_of: Vec<Vec<u32>>,
}

/// Added to the geometric mean of two items' buyers, so that a pair that was bought together once
/// does not outrank one that was a hundred times.
const SHRINKAGE: f64 = 10.0;

impl Bought {
    /// Notes that a person bought an item; again changes nothing. Whether it was new.
    pub(crate) fn add(&mut self, who: Pseudonym, item: u32) -> bool {
        let next = self.items_of.len() as u32;
        let person = *self.numbers.entry(who).or_insert(next);
        if person == next {
            self.items_of.push(Vec::new());
        }
        let items = &mut self.items_of[person as usize];
        let Err(place) = items.binary_search(&item) else { return false };
        items.insert(place, item);
        if self.buyers_of.len() <= item as usize {
            self.buyers_of.resize_with(item as usize + 1, Vec::new);
        }
        self.buyers_of[item as usize].push(person);
        true
    }

    /// Forgets persons.
    pub(crate) fn remove(&mut self, who: &[Pseudonym]) {
        for who in who {
            let Some(person) = self.numbers.remove(who) else { continue };
            for item in std::mem::take(&mut self.items_of[person as usize]) {
                self.buyers_of[item as usize].retain(|buyer| *buyer != person);
            }
        }
    }

    /// For each of the first `items` items, how many persons bought it.
    pub(crate) fn counts(&self, items: usize) -> Vec<u32> {
        let mut counts: Vec<u32> =
            self.buyers_of.iter().take(items).map(|buyers| buyers.len() as u32).collect();
        counts.resize(items, 0);
        counts
    }

    /// Items bought by the buyers of `item`: the number of common buyers over the geometric mean
    /// of both numbers plus [`SHRINKAGE`], best first, ties to the smaller index, at most `count`.
    pub(crate) fn together(&self, item: u32, count: usize) -> Vec<(u32, f64)> {
        let Some(buyers) = self.buyers_of.get(item as usize) else { return Vec::new() };
        let mut common = vec![0u32; self.buyers_of.len()];
        for buyer in buyers {
            for other in &self.items_of[*buyer as usize] {
                common[*other as usize] += 1;
            }
        }
        common[item as usize] = 0;
        let mut near: Vec<(u32, f64)> = common
            .iter()
            .enumerate()
            .filter(|(_, common)| **common > 0)
            .map(|(other, common)| {
                let both = buyers.len() as f64 * self.buyers_of[other].len() as f64;
                (other as u32, f64::from(*common) / (both.sqrt() + SHRINKAGE))
            })
            .collect();
        let better = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if count < near.len() {
            near.select_nth_unstable_by(count, better);
            near.truncate(count);
        }
        near.sort_unstable_by(better);
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(byte: u8) -> Pseudonym {
        Pseudonym::from_bytes([byte; 32])
    }

    #[test]
    fn counted_once_and_forgotten() {
        let mut bought = Bought::default();
        for (person, item) in [(1, 0), (1, 2), (1, 0), (2, 0), (2, 2), (3, 0), (3, 1)] {
            bought.add(who(person), item);
        }
        assert_eq!(bought.counts(4), [3, 1, 2, 0]);
        let near = bought.together(0, 9);
        assert_eq!(near.iter().map(|(item, _)| *item).collect::<Vec<_>>(), [2, 1]);
        assert!((near[0].1 - 2.0 / (6f64.sqrt() + SHRINKAGE)).abs() < 1e-12);
        assert_eq!(bought.together(0, 1).len(), 1);
        bought.remove(&[who(3)]);
        assert_eq!(bought.counts(4), [2, 0, 2, 0]);
        assert!(bought.together(7, 3).is_empty());
        assert!(bought.add(who(3), 1));
    }
}
