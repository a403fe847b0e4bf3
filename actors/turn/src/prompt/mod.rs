//! Building the system prompt: named sections in a fixed order, and what goes into them.

mod builder;
mod temporal;

pub(crate) use builder::{PromptBuilder, position};
pub(crate) use temporal::temporal_context;
