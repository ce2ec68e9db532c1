//! CPU time of a thread, peak memory of the process, and length of messages.

use std::time::Duration;

use chorale_wire::{codec, limits::CONTROL_BYTES_MAX};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Runs `work` and returns the CPU time that this thread spent in it.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = thread_time();
    let value = work();
    (value, thread_time().saturating_sub(begin))
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// The most memory that the process ever had resident, in bytes; `None` where the system does not
/// say (it is a line of Linux's `/proc/self/status`).
pub(super) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Bytes of a control message on the wire, without framing.
pub(super) fn length<T: Serialize>(message: &T) -> u64 {
    codec::encode(message, CONTROL_BYTES_MAX).map_or(0, |bytes| bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_time_and_sleep_does_not() {
        #[expect(clippy::disallowed_methods, reason = "that sleep costs nothing is the test")]
        let (_, asleep) = timed(|| std::thread::sleep(Duration::from_millis(30)));
        assert!(asleep < Duration::from_millis(20), "{asleep:?}");
        let (sum, awake) = timed(|| {
            (0..3_000_000u64)
                .fold(0u64, |sum, x| std::hint::black_box(sum ^ x.wrapping_mul(sum | 3)))
        });
        assert!(awake > Duration::ZERO, "{sum}");
    }

    #[test]
    fn the_process_uses_memory() {
        if std::path::Path::new("/proc/self/status").exists() {
            assert!(peak_memory_bytes().is_some_and(|bytes| bytes > 100_000));
        }
    }
}
