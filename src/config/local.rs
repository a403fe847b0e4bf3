//! The section about models that run in this process.

use serde::{Deserialize, Serialize};

use super::value::{Size, Span, optional};

/// Models in GGUF files.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalModelsSection {
    /// Folder of the files, `<dir>/<repo_id>/<filename>`; empty means `models` in the data directory.
    #[serde(deserialize_with = "optional")]
    pub dir: Option<String>,
    /// Threads that compute; 0 means one for each core, at most eight.
    pub threads: usize,
    /// Models in memory at the same time; a further one takes the place of one that nobody uses.
    pub max_resident: usize,
    /// Tokens of context for definitions that name none; 0 means what the model was trained for.
    pub context_window: u32,
    /// Memory that all of them together may take; 0 means nine tenths of what the machine has to spare.
    pub memory_limit: Size,
    /// An unused model leaves memory after so long; 0 means when its place is needed.
    pub idle_unload: Span,
    /// Longest wait for a place in memory.
    pub wait_timeout: Span,
}

impl Default for LocalModelsSection {
    fn default() -> Self {
        Self {
            dir: None,
            threads: 0,
            max_resident: 1,
            context_window: 32_768,
            memory_limit: Size::bytes(0),
            idle_unload: Span::secs(0),
            wait_timeout: Span::secs(120),
        }
    }
}
