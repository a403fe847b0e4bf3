//! When a job runs next: pure functions over instants.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// Longest pause after failures.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);
/// Failures in a row after which a job is switched off.
pub(crate) const MOST_FAILURES: i32 = 8;
/// Tries of one instant that interruptions may cost.
pub(crate) const MOST_ATTEMPTS: i16 = 3;

/// A later time; intervals are bounded, so this does not overflow in this age.
pub(crate) fn after(time: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// The slot behind `slot`: one interval later, moved by `jitter` intervals (-1 to 1). Slots that have passed meanwhile are
/// left out, however many there are.
pub(crate) fn next_slot(slot: Timestamp, interval: Duration, now: Timestamp, jitter: f64) -> Timestamp {
    let late = Duration::try_from(now.duration_since(slot)).unwrap_or_default();
    let step = interval.max(Duration::from_secs(1));
    let missed = u32::try_from(late.as_secs() / step.as_secs().max(1)).unwrap_or(u32::MAX);
    let ahead = step.saturating_mul(missed.saturating_add(1));
    let shift = step.mul_f64(jitter.abs().min(1.0));
    let ahead = if jitter < 0.0 { ahead.saturating_sub(shift) } else { ahead.saturating_add(shift) };
    after(slot, ahead).max(after(now, Duration::from_secs(1)))
}

/// The pause after so many failures in a row: the interval doubled each time, at most a day.
pub(crate) fn back_off(interval: Duration, failures: i32) -> Duration {
    let doublings = u32::try_from(failures.clamp(0, 20)).unwrap_or_default();
    interval.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

/// A number from -`width` to `width`, as random as the id.
pub(crate) fn spread(id: Uuid, width: f64) -> f64 {
    let bits = u32::try_from(id.as_u128() >> 96).unwrap_or_default();
    (f64::from(bits) / f64::from(u32::MAX)).mul_add(2.0, -1.0) * width
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: f64) -> Timestamp {
        Timestamp::from_second((hours * 3600.0) as i64).unwrap()
    }

    #[test]
    fn missed_slots_count_once() {
        assert_eq!(next_slot(at(0.0), HOUR, at(0.0), 0.0), at(1.0));
        assert_eq!(next_slot(at(0.0), HOUR, at(0.5), 0.0), at(1.0));
        assert_eq!(next_slot(at(0.0), HOUR, at(100.5), 0.0), at(101.0));
        assert_eq!(next_slot(at(0.0), HOUR, at(1.0), 0.0), at(2.0));
        // A slot in the future, as after a change of the interval.
        assert_eq!(next_slot(at(5.0), HOUR, at(0.0), 0.0), at(6.0));
    }

    #[test]
    fn jitter_never_leads_into_the_past() {
        assert_eq!(next_slot(at(0.0), HOUR, at(0.0), 0.1), at(1.1));
        assert_eq!(next_slot(at(0.0), HOUR, at(0.0), -0.1), at(0.9));
        assert_eq!(next_slot(at(0.0), HOUR, at(0.95), -0.1), after(at(0.95), Duration::from_secs(1)));
        for _ in 0..1000 {
            assert!(spread(Uuid::new_v4(), 0.1).abs() <= 0.1);
        }
        assert_eq!(spread(Uuid::nil(), 0.1), -0.1);
        assert_eq!(spread(Uuid::max(), 0.1), 0.1);
    }

    #[test]
    fn pauses_double_up_to_a_day() {
        assert_eq!(back_off(HOUR, 0), HOUR);
        assert_eq!(back_off(HOUR, 1), 2 * HOUR);
        assert_eq!(back_off(HOUR, 4), 16 * HOUR);
        assert_eq!(back_off(HOUR, 5), LONGEST_PAUSE);
        assert_eq!(back_off(HOUR, i32::MAX), LONGEST_PAUSE);
        assert_eq!(back_off(168 * HOUR, 1), LONGEST_PAUSE);
    }
}
