//! What the scheduler is told from outside.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::job::JobType;

/// Settings of the scheduler.
#[derive(Clone)]
pub struct SchedulerSettings {
    /// Whether jobs run. Background tasks are done either way.
    pub enabled: bool,
    /// How often due jobs are looked for.
    pub check_interval: Duration,
    /// How long after its start the scheduler leaves the house alone.
    pub start_delay: Duration,
    /// Runs and tasks at once; of one bot always one.
    pub concurrency: usize,
    /// How long after a turn its bot's memories are extracted.
    pub nudge_delay: Duration,
    /// Share of the interval by which each slot is moved at random, 0 to 1.
    pub jitter: f64,
    /// How long work may go on after it was asked to stop.
    pub grace: Duration,
    /// Intervals of jobs that are created from now on, where they differ from the built-in ones.
    pub intervals: HashMap<JobType, Duration>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SchedulerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("SchedulerSettings");
        shown.field("enabled", &self.enabled).field("check_interval", &self.check_interval).finish_non_exhaustive()
    }
}

impl Default for SchedulerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            check_interval: Duration::from_secs(30),
            start_delay: Duration::from_secs(5),
            concurrency: 4,
            nudge_delay: Duration::from_secs(60),
            jitter: 0.1,
            grace: Duration::from_secs(10),
            intervals: HashMap::new(),
            clock: Arc::new(SystemClock),
        }
    }
}
