//! Anthropic's Messages API (providers.md §5.6).
//!
//! `request` writes what goes out from `history` (the conversation as blocks), `tools` and `schema`; `reader` says what the
//! events of an answer mean. Deliberately absent: asking for thinking or sending it back. Models that think by themselves
//! may do so, what they tell of it is passed on as reasoning, and a history without it is valid.

#[cfg(test)]
mod corpus;
mod history;
mod reader;
#[cfg(test)]
mod reference;
mod request;
mod schema;
mod tools;

pub(super) use self::reader::reader;
pub(super) use self::request::write;
