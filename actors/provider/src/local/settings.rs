//! How local models are kept.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of the models that run in this process.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// Folder of the model files: `<models_dir>/<repo_id>/<filename>`.
    pub models_dir: PathBuf,
    /// Threads that compute an answer.
    pub threads: usize,
    /// Models that may be in memory at the same time.
    pub max_resident: usize,
    /// Tokens of context for definitions that name none; never more than a model was trained for.
    pub context: u32,
    /// Bytes that all local models together may take; without it, nine tenths of what the machine has to spare.
    pub memory_limit: Option<u64>,
    /// How long an unused model stays in memory; without it, until its place is needed.
    pub idle_unload: Option<Duration>,
    /// How long a call waits for a place in memory.
    pub wait_limit: Duration,
    /// How long a model that could not be loaded is not tried again.
    pub failure_pause: Duration,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            models_dir: "models".into(),
            threads: 2,
            max_resident: 1,
            context: 32_768,
            memory_limit: None,
            idle_unload: None,
            wait_limit: Duration::from_secs(120),
            failure_pause: Duration::from_secs(30),
        }
    }
}
