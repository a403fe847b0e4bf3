//! How often a failing actor is started again: a pure decision over instants.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What a supervisor does with a child that ended without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Start it again, within a budget.
    Restart {
        /// How many restarts ...
        most: usize,
        /// ... within how long.
        within: Duration,
        /// What follows when they are spent.
        then: Exhausted,
    },
    /// Fail the supervisor at once: for supervisors, whose children are gone with them.
    Escalate,
}

/// What follows a spent budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// Mark the child down and try again at this interval; the rest of the tree keeps serving.
    RetryEvery(Duration),
    /// Fail the supervisor, and so in the end the process.
    Escalate,
}

impl Policy {
    /// Providers, namespaces, bots, connections: 5 in 60 s, then down and tried every 30 s.
    pub const WORKER: Self = Self::Restart {
        most: 5,
        within: Duration::from_secs(60),
        then: Exhausted::RetryEvery(Duration::from_secs(30)),
    };
    /// Store and journal: 5 in 60 s, then the process ends.
    pub const VITAL: Self = Self::Restart { most: 5, within: Duration::from_secs(60), then: Exhausted::Escalate };
    /// Doors and the scheduler: 3 in 60 s, then the process ends.
    pub const DOOR: Self = Self::Restart { most: 3, within: Duration::from_secs(60), then: Exhausted::Escalate };
}

/// First pause before a restart; it doubles with each further failure in the window.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The failures of one child within the window.
#[derive(Debug, Default)]
pub struct Budget {
    failures: VecDeque<Instant>,
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    RestartIn(Duration),
    DownFor(Duration),
    Escalate,
}

impl Budget {
    pub(crate) fn spend(&mut self, policy: Policy, now: Instant) -> Verdict {
        let Policy::Restart { most, within, then } = policy else { return Verdict::Escalate };
        while self.failures.front().is_some_and(|at| now.duration_since(*at) > within) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let spent = self.failures.len();
        if spent <= most {
            let doubled = FIRST_PAUSE.saturating_mul(1 << (spent - 1).min(16));
            return Verdict::RestartIn(doubled.min(LONGEST_PAUSE));
        }
        self.failures.pop_front();
        match then {
            Exhausted::RetryEvery(pause) => Verdict::DownFor(pause),
            Exhausted::Escalate => Verdict::Escalate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_the_budget_is_spent() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        let pauses: Vec<_> = (0..5).map(|_| budget.spend(Policy::VITAL, now)).collect();
        let expected: Vec<_> =
            [100, 200, 400, 800, 1600].map(|ms| Verdict::RestartIn(Duration::from_millis(ms))).into();
        assert_eq!(pauses, expected);
        assert_eq!(budget.spend(Policy::VITAL, now), Verdict::Escalate);
    }

    #[test]
    fn a_worker_goes_down_and_comes_back() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        for _ in 0..5 {
            budget.spend(Policy::WORKER, now);
        }
        assert_eq!(budget.spend(Policy::WORKER, now), Verdict::DownFor(Duration::from_secs(30)));
        let later = now + Duration::from_secs(61);
        assert_eq!(budget.spend(Policy::WORKER, later), Verdict::RestartIn(FIRST_PAUSE));
    }

    #[test]
    fn a_door_has_three_tries() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        for _ in 0..3 {
            assert!(matches!(budget.spend(Policy::DOOR, now), Verdict::RestartIn(_)));
        }
        assert_eq!(budget.spend(Policy::DOOR, now), Verdict::Escalate);
    }
}
