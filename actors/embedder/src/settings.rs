//! What the embedder needs to know.

use std::path::PathBuf;

/// Which model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// all-MiniLM-L6-v2 from a folder with `model.safetensors`, `tokenizer.json` and `config.json`.
    MiniLm {
        /// The folder.
        dir: PathBuf,
    },
    /// A deterministic bag of hashed words: equal texts are equal, texts with common words are alike. For tests.
    TestHash,
    /// None: everything goes by words.
    Off,
}

/// Settings of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedderSettings {
    /// Which model.
    pub model: Choice,
    /// Threads that compute, 1 to 8. Default: the number of cores, at most 4.
    pub threads: usize,
    /// Texts that may wait in each lane; a call that does not fit is refused as busy. 0 refuses all.
    pub queue: usize,
    /// Query vectors that are kept.
    pub query_cache: usize,
}

impl Default for EmbedderSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { model: Choice::Off, threads: cores.min(4), queue: 4096, query_cache: 2048 }
    }
}

/// Whether texts can be embedded at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// The weights are being read and checked.
    Loading,
    /// Yes.
    Ready,
    /// No, and why.
    Unavailable(String),
}
