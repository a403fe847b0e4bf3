//! Why a model file cannot be used, or an answer does not come.

use std::path::PathBuf;

use crate::quant::Quant;

/// What went wrong with a file, a prompt or the engine. No variant carries a prompt or an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// There is no such file.
    #[error("the model file {} does not exist", .0.display())]
    Missing(PathBuf),
    /// The file cannot be opened or mapped.
    #[error("the model file cannot be read: {0}")]
    Unreadable(String),
    /// The file begins otherwise than GGUF files do.
    #[error("the file is not a GGUF model")]
    NotGguf,
    /// The file ends before what its header promises.
    #[error("the model file is truncated: it should have {expected} bytes and has {found}")]
    Truncated {
        /// Bytes that the header speaks of, at least.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The header contradicts itself or exceeds every sensible bound.
    #[error("the model file is malformed: {0}")]
    Malformed(String),
    /// A family of models that this engine cannot run.
    #[error("models of the architecture {0:?} are not supported")]
    UnsupportedArchitecture(String),
    /// Weights in a format that this engine cannot read.
    #[error("weights of the format {0} are not supported")]
    UnsupportedQuantization(Quant),
    /// Something else that this engine cannot do.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// Weights and the smallest useful context do not fit into memory.
    #[error("the model needs {needed} bytes of memory and {available} are available")]
    TooBig {
        /// Bytes for the weights, the smallest context and the buffers.
        needed: u64,
        /// Bytes that may be used.
        available: u64,
    },
    /// The prompt alone fills the context.
    #[error("the prompt has {tokens} tokens and the context {limit}")]
    ContextTooLong {
        /// Tokens of the prompt.
        tokens: u32,
        /// Tokens of the context; at least one of them is left for the answer.
        limit: u32,
    },
    /// The chat template of the file cannot render this conversation.
    #[error("the chat template failed: {0}")]
    Template(String),
    /// As many requests are waiting as may.
    #[error("too many requests are waiting for this model")]
    Busy,
    /// The engine was unloaded.
    #[error("the model is not loaded")]
    Unloaded,
    /// The engine failed; it has to be loaded again.
    #[error("the engine failed: {0}")]
    Failed(String),
}
