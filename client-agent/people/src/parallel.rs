//! The same work on many things, on all cores.

use std::{num::NonZero, panic::resume_unwind};

/// `work` on each of `things`, on all cores; the results are in the order of the things.
pub(crate) fn map<T: Send, R: Send>(things: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = things.len().div_ceil(threads).max(1);
    let mut things = things.into_iter();
    std::thread::scope(|scope| {
        let (work, mut parts) = (&work, Vec::new());
        loop {
            let part: Vec<T> = things.by_ref().take(share).collect();
            if part.is_empty() {
                break;
            }
            parts.push(scope.spawn(move || part.into_iter().map(work).collect::<Vec<_>>()));
        }
        let results = parts.into_iter();
        results.flat_map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn order_stays() {
        for count in [0, 1, 2, 3, 100] {
            let doubled = super::map((0..count).collect(), |number: i32| 2 * number);
            assert_eq!(doubled, (0..count).map(|number| 2 * number).collect::<Vec<_>>());
        }
    }
}
