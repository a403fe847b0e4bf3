//! What bots can do beside talking: one typed catalogue of tools, and what runs a model's calls.
//!
//! - [`Tools`] is the handle: the catalogue, and what of it a bot is offered in a turn ([`Wish`] to [`Offer`]).
//! - [`Session`] takes the calls of one turn: each is looked up among what was offered, its arguments are repaired, checked
//!   against the schema and counted, and it gets exactly one [`ToolOutcome`], whatever the tool does.
//! - [`Tool`] is what a tool implements; `builtin/` holds those that ship with the program.
//!
//! Invariants: only what was offered runs; a failure is never told as success; what comes from outside is marked as such in
//! a way that it cannot forge. Deliberately absent: models, turns and how formats spell calls (the turn and dialect rooms).

mod availability;
mod builtin;
mod check;
mod dates;
mod desk;
mod offer;
mod outcome;
mod redact;
mod schema;
mod session;
mod tool;
mod tools;

pub use builtin::{HOME_LEGACY, HOME_NATIVE, home_instructions_key};
pub use desk::{DeskError, DeskModel, ModelDesk, Neighbours};
pub use offer::{Offer, Wish};
pub use outcome::{ErrorKind, ToolOutcome};
pub use redact::{redacted, redacted_text};
pub use session::{Limits, Prepared, Session};
pub use tool::{BoxFuture, CallContext, Effects, Origin, Scope, Tool, ToolFamily, ToolSpec, parse};
pub use tools::{Timeouts, ToolRooms, ToolSettings, Tools};
