//! The dialect room: how models that have no function calling of their own speak of tools in text, and where families of
//! models deviate.
//!
//! - [`Splitter`] takes one pass of a model's text apart while it streams: prose goes out at once, calls are kept back.
//! - [`tools_prompt`], [`stops`] and [`continuation`] are the other direction: what a prompt says about tools.
//! - [`LeakFilter`] takes leaked protocol out of text on every path; [`Adapter`] does what one family of models needs.
//! - [`json`] reads what models take for JSON; [`canonical`] maps the names they invent onto the tools there are.
//!
//! Invariant: text that arrives in pieces gives the same prose and the same calls however it was cut. Everything here is a
//! pure function of text and bounded in memory. Deliberately absent: running tools, asking models, any I/O.

mod adapter;
mod alias;
mod call;
mod closing;
mod continuation;
mod fences;
mod format;
pub mod json;
mod leak;
mod line;
mod look;
mod markers;
mod names;
mod prompt;
mod react;
mod splitter;
mod xml;

pub use adapter::Adapter;
pub use alias::canonical;
pub use call::{Malformed, TextCall};
pub use continuation::{Told, continuation};
pub use format::{ToolFormat, stops};
pub use leak::LeakFilter;
pub use prompt::{Outline, tools_prompt};
pub use splitter::{Parsed, Splitter, Step};
