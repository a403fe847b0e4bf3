//! The ground floor: wire types, turn events, identifiers and error classes.
//!
//! Everything here is plain data and pure functions. No I/O, no actors, no clocks: times and random identifiers are
//! made by callers through the constructors in [`ids`]. Rooms above share this vocabulary and nothing else.

pub mod animation;
pub mod chat;
pub mod completion;
pub mod error;
pub mod event;
pub mod fields;
pub mod frame;
pub mod ids;
pub mod message;
pub mod sse;
pub mod status;
pub mod time;
pub mod usage;

pub use animation::Animation;
pub use chat::{ChatRequest, Sampling};
pub use error::{ErrorBody, ErrorClass};
pub use event::{FinishReason, TurnEvent, TurnHeader};
pub use ids::{BotSlug, MessageId, RequestId, TurnId, UserId};
pub use message::{Message, Part, Role, ToolCall};
pub use status::TurnStatus;
pub use usage::{TokenUsage, Usage};
