//! Rate limits: a token bucket for each caller.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Buckets by caller.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<u32, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Duration,
}

impl Limiter {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: f64::from(per_second.max(1)),
            burst: f64::from(burst.max(1)),
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one request of `caller` at `now` (since any fixed instant), or says how many whole
    /// seconds to wait.
    pub(crate) fn take(&self, caller: u32, now: Duration) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(caller).or_insert(Bucket { tokens: self.burst, filled: now });
        let passed = now.saturating_sub(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(self.burst);
        bucket.filled = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            Ok(())
        } else {
            Err(((1.0 - bucket.tokens) / self.per_second).ceil().max(1.0) as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let limiter = Limiter::new(2, 3);
        let at = |seconds: f64| Duration::from_secs_f64(seconds);
        let taken = (0..5).filter(|_| limiter.take(0, at(1.0)).is_ok()).count();
        assert_eq!(taken, 3);
        assert_eq!(limiter.take(0, at(1.0)), Err(1));
        assert_eq!(limiter.take(1, at(1.0)), Ok(()), "another caller has its own");
        assert_eq!(limiter.take(0, at(1.5)), Ok(()));
        assert_eq!(limiter.take(0, at(1.5)), Err(1));
    }
}
