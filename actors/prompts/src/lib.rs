//! The prompts room: versioned, editable texts for extraction, summaries, consolidation, tools and chat rules.
//!
//! - [`Prompts::render`] resolves a key for a bot (its own edit, the global edit, the built-in text) and puts values in.
//! - [`DEFINITIONS`] are the built-in texts. They live in `config/prompts/` and in the program, never in the database.
//! - Values are data: [`fenced`] puts a text between marks that it cannot contain.
//!
//! Deliberately absent: expressions, loops and conditions in templates.

mod cache;
mod error;
mod language;
mod prompts;
mod registry;
mod repository;
mod template;
mod validate;

pub use error::PromptError;
pub use language::{MissingVariable, Syntax, SyntaxError, fenced, one_line};
pub use prompts::{ListFilter, Prompts, Rendered, Reset};
pub use registry::{DEFINITIONS, Definition, Kind, PLAIN_TEXT, Variable, definition};
pub use template::{BODY_MAX, Draft, Key, Scope, Source, Template, Version};
pub use validate::{Trial, Validation};
