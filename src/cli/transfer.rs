//! Reading files that are being moved in: lines of JSON, or one array however large, in bounded memory. What a piece of
//! a file means is `meaning`'s, how far an import has come is `checkpoint`'s, and `batch` packs records for the wire.

pub mod batch;
pub mod chatgpt;
pub mod checkpoint;
pub mod meaning;
pub mod pieces;
pub mod progress;
