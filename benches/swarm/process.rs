//! What a process has used, as Linux tells it.

use std::{fs, io};

/// Clock ticks a second in `/proc`: 100 on every Linux, whatever its kernel's own rate (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time and the largest resident memory of a process so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds in user and kernel mode, all threads.
    pub(crate) cpu_s: f64,
    /// High-water mark of resident memory (VmHWM), in bytes.
    pub(crate) peak_bytes: u64,
}

impl Usage {
    /// Reads `/proc/PID`.
    ///
    /// # Errors
    /// The process is gone, or this is no Linux.
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        Self::parse(&stat, &status)
            .ok_or_else(|| io::Error::other(format!("/proc/{process} cannot be read")))
    }

    /// The program's name stands in brackets and may hold spaces; fields 14 and 15 of the whole are
    /// the 12th and 13th after it.
    fn parse(stat: &str, status: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let mut ticks = fields.split_whitespace().skip(11);
        let (user, kernel): (u64, u64) = (ticks.next()?.parse().ok()?, ticks.next()?.parse().ok()?);
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let peak_kib: u64 = peak.split_whitespace().next()?.parse().ok()?;
        Some(Self { cpu_s: (user + kernel) as f64 / TICKS_PER_SECOND, peak_bytes: peak_kib * 1024 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_and_spaces_do_not_confuse() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4 5 0 0 0 150 25 0 0 20 0 1 0 99 1 1";
        let usage = Usage::parse(stat, "VmPeak:\t9 kB\nVmHWM:\t   2048 kB\n");
        assert_eq!(usage.map(|usage| usage.cpu_s), Some(1.75));
        assert_eq!(usage.map(|usage| usage.peak_bytes), Some(2 << 20));
        assert!(Usage::parse("7 (a) S 1", "VmHWM: 1 kB").is_none());
    }
}
