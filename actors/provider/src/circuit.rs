//! When a failing endpoint is left alone: a pure decision over instants.
//!
//! After some failing calls in a row the circuit opens; when the pause is over, one call at a time is let through as a
//! trial, until one succeeds.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Circuit {
    most: u32,
    pause: Duration,
    failures: u32,
    open_until: Option<Instant>,
    trial: bool,
}

impl Circuit {
    pub(crate) fn new(most: u32, pause: Duration) -> Self {
        Self { most: most.max(1), pause, failures: 0, open_until: None, trial: false }
    }

    /// Whether a call may go out: `Ok(true)` as a trial, or how long to leave the endpoint alone.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<bool, Duration> {
        match self.open_until {
            None => Ok(false),
            Some(until) if now < until => Err(until - now),
            Some(_) if self.trial => Err(Duration::from_secs(1)),
            Some(_) => {
                self.trial = true;
                Ok(true)
            }
        }
    }

    /// The endpoint answered; true when that closed the circuit.
    pub(crate) fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.trial = false;
        self.open_until.take().is_some()
    }

    /// A call failed; true when that opened the circuit, or kept it open.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.trial = false;
        let opens = self.failures >= self.most;
        if opens {
            self.open_until = Some(now + self.pause);
        }
        opens
    }

    /// A trial ended without saying anything about the endpoint.
    pub(crate) fn abandoned(&mut self) {
        self.trial = false;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_closes_after_a_good_trial() {
        let (mut circuit, start) = (Circuit::new(3, Duration::from_secs(30)), Instant::now());
        assert!(!circuit.failed(start) && !circuit.failed(start));
        assert!(!circuit.succeeded());
        assert!(!circuit.failed(start) && !circuit.failed(start));
        assert!(circuit.failed(start) && circuit.is_open());
        assert_eq!(circuit.admit(start + Duration::from_secs(10)), Err(Duration::from_secs(20)));

        let later = start + Duration::from_secs(30);
        assert_eq!(circuit.admit(later), Ok(true));
        assert!(circuit.admit(later).is_err(), "one trial at a time");
        circuit.abandoned();
        assert_eq!(circuit.admit(later), Ok(true));
        assert!(circuit.failed(later));
        assert!(circuit.admit(later).is_err());

        assert_eq!(circuit.admit(later + Duration::from_secs(30)), Ok(true));
        assert!(circuit.succeeded() && !circuit.is_open());
        assert_eq!(circuit.admit(later), Ok(false));
    }
}
