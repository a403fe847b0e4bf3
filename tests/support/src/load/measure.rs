//! Figures about processes, read from `/proc`, and the arithmetic of rounds.

use std::collections::HashMap;
use std::fs;

/// Memory of one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Resident, as the kernel counts it.
    pub resident: u64,
    /// Proportional: pages shared by n processes count 1/n. Equals `resident` where it cannot be read.
    pub proportional: u64,
}

/// The memory of a process, or zero when it is gone.
#[must_use]
pub fn memory_of(pid: u32) -> Memory {
    let resident = kibibytes(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or(0) * 1024;
    let proportional = kibibytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:").map_or(resident, |kib| kib * 1024);
    Memory { resident, proportional }
}

fn kibibytes(file: &str, field: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Seconds of CPU a process has used, its waited-for children not counted.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    // `utime` and `stime` are the 14th and 15th fields; the second one, in parentheses, may contain blanks. The unit is
    // USER_HZ, which is 100 on every Linux that Rust runs on.
    let ticks = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| {
        let behind = stat.rsplit_once(") ")?.1.to_owned();
        let mut fields = behind.split_whitespace().skip(11);
        let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(user + system)
    });
    ticks.unwrap_or(0.0) / 100.0
}

/// All processes below `pid`: children, their children and so on.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(own) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(parent) = parent_of(own) {
            children.entry(parent).or_default().push(own);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![pid]);
    while let Some(parent) = next.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.push(child);
            next.push(child);
        }
    }
    found
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The most files this process may open, if it raised its soft limit.
pub(super) fn open_file_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|hard| hard.parse().ok()).unwrap_or(1024)
}

/// The middle value; zero for none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which the given share (0 to 1) of values lies.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = (last as f64 * share).round() as usize;
    sorted[place.min(last)]
}

/// Bytes of a mebibyte.
pub const MEBIBYTE: f64 = 1_048_576.0;

/// Bytes in mebibytes, as the table shows them.
#[must_use]
pub fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / MEBIBYTE)
}

/// A count as a number to calculate with.
pub(super) fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_cpu_and_a_parent() {
        let own = std::process::id();
        let memory = memory_of(own);
        assert!(memory.resident > 1_000_000 && memory.proportional > 0);
        let parent = parent_of(own).unwrap();
        assert!(descendants(parent).contains(&own));
        assert!(open_file_limit() >= 256);
        assert_eq!(memory_of(u32::MAX).resident, 0);
        let started = std::time::Instant::now();
        while cpu_seconds(own) < 0.02 && started.elapsed().as_secs() < 5 {
            std::hint::black_box(descendants(own));
        }
        assert!(cpu_seconds(own) >= 0.02);
    }

    #[test]
    fn the_middle_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.9) - 5.0).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }
}
