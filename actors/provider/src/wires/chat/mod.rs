//! The Chat Completions wire: OpenAI, OpenRouter, vLLM, llama.cpp and anything compatible.
//!
//! `request` writes what goes out, `chunk` and `reader` understand what comes back, and `mistral` finds the tool calls that a
//! server left in the text.

pub(super) mod chunk;
#[cfg(test)]
mod corpus;
mod mistral;
mod reader;
mod request;

pub(super) use reader::reader;
pub(super) use request::write;
