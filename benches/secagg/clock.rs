//! CPU time and peak memory of this process, so that a busy machine disturbs the figures little.

use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};

/// CPU seconds that this process has used so far, all threads together.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Seconds of a monotonic clock.
pub(crate) fn wall_seconds() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Least CPU seconds of `repeats` runs of `work`, each on what `prepare` made for it. Neither the
/// preparation nor dropping the result counts.
pub(crate) fn best_cpu<I, O>(
    repeats: usize,
    prepare: impl FnMut() -> I,
    work: impl FnMut(I) -> O,
) -> f64 {
    best(cpu_seconds, repeats, prepare, work)
}

/// [`best_cpu`] by the wall clock.
pub(crate) fn best_wall<I, O>(
    repeats: usize,
    prepare: impl FnMut() -> I,
    work: impl FnMut(I) -> O,
) -> f64 {
    best(wall_seconds, repeats, prepare, work)
}

fn best<I, O>(
    clock: fn() -> f64,
    repeats: usize,
    mut prepare: impl FnMut() -> I,
    mut work: impl FnMut(I) -> O,
) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..repeats.max(1) {
        let input = black_box(prepare());
        let start = clock();
        let output = black_box(work(input));
        least = least.min(clock() - start);
        drop(output);
    }
    least
}

/// Starts a new measurement of the peak memory. Where the system cannot, the peak is that of the
/// process's lifetime.
pub(crate) fn reset_peak_memory() {
    // Linux: "5" resets the high-water mark of the resident set.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Most bytes resident since [`reset_peak_memory`]; `None` where the system does not tell.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
