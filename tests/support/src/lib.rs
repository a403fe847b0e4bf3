//! What Greenroom is tested and measured with: things that play the world outside the server.
//!
//! Everything here speaks over real sockets, so that whatever is tested against it runs unchanged. Deliberately absent:
//! any dependency on a room of the server, which could then share a misunderstanding with its own test.

pub mod load;
pub mod upstream;
