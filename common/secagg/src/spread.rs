//! Independent work spread over the cores of a machine.

use std::num::NonZeroUsize;

/// `work` on every item, on up to `threads` threads; results in the order of the items. Each
/// thread takes one run of neighbouring items, so these should cost about the same.
pub fn spread<T: Sync, O: Send>(
    threads: NonZeroUsize,
    items: &[T],
    work: impl Fn(&T) -> O + Sync,
) -> Vec<O> {
    let each = items.len().div_ceil(threads.get()).max(1);
    if each >= items.len() {
        return items.iter().map(work).collect();
    }
    let run = |part: &[T]| part.iter().map(&work).collect::<Vec<O>>();
    std::thread::scope(|scope| {
        let mut parts = items.chunks(each);
        let own = parts.next().unwrap_or_default();
        let others: Vec<_> = parts.map(|part| scope.spawn(|| run(part))).collect();
        let mut results = run(own);
        for other in others {
            match other.join() {
                Ok(part) => results.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_whatever_the_number_of_threads() {
        for count in [0u32, 1, 2, 7, 100] {
            let items: Vec<u32> = (0..count).collect();
            let expected: Vec<u64> = items.iter().map(|item| u64::from(*item) + 1).collect();
            for threads in [1, 2, 3, 7, 200].into_iter().filter_map(NonZeroUsize::new) {
                assert_eq!(spread(threads, &items, |item| u64::from(*item) + 1), expected);
            }
        }
    }
}
