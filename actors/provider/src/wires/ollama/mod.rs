//! Ollama's own interface, `/api/chat` (providers.md §5.7).
//!
//! `request` writes what goes out, `reader` says what a line of an answer means, and `discover` reads what the server tells
//! of its models. Deliberately absent: `keep_alive`, which is the server's to decide, and fetching images from elsewhere.

#[cfg(test)]
mod corpus;
pub(crate) mod discover;
mod reader;
mod request;

pub(super) use self::reader::reader;
pub(super) use self::request::write;
