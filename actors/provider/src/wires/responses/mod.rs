//! The Responses wire: OpenAI's Responses API, at OpenAI and at xAI.
//!
//! `request` writes what goes out; nothing is stored at the provider. `reader` understands the events that come back, and
//! `items` puts tool calls together from them.

#[cfg(test)]
mod corpus;
mod items;
mod reader;
mod request;

pub(super) use reader::reader;
pub(super) use request::write;
