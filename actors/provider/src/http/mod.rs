//! Calling a model server over HTTP, whatever it speaks: targets with their headers, attempts and pauses, an answer read
//! under a clock, refusals and what is learned from them.
//!
//! What a server speaks is a wire's affair ([`crate::wires`]): a wire writes requests and reads single events. Everything
//! that all wires have in common happens here once: framing, stop sequences, the estimate of usage, and the order in which
//! an answer's end is told.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod fold;
pub(crate) mod learned;
mod lines;
pub(crate) mod progress;
pub(crate) mod refusal;
pub(crate) mod stop_guard;
pub(crate) mod target;
