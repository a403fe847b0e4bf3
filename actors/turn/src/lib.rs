//! Turns: one prompt and everything done to answer it.
//!
//! [`Turns`] begins a turn from a [`TurnPlan`]; a supervised actor owns it, runs the seven stages (the sixth is a loop of
//! model passes and tool calls), and appends what happens to an append-only log. Viewers pull from that log by cursor
//! ([`Viewer`]), the journal writes it behind. The end is stored first and announced second.

mod activity;
mod answer;
mod assembly;
mod carry;
mod ending;
mod error;
mod history;
mod journal;
mod kit;
mod log;
mod pass;
mod past;
mod pipeline;
mod plan;
mod prompt;
mod recovery;
mod reminders;
mod rounds;
mod settings;
mod single;
mod speaker;
mod stage;
mod structured;
mod tool_loop;
mod tool_record;
mod turn;
mod turn_logs;
mod turns;
mod voice;

pub use answer::EndWish;
pub use error::TurnError;
pub use log::Viewer;
pub use plan::{HistoryScope, Persona, TurnPlan};
pub use settings::TurnSettings;
pub use single::{SingleAnswer, SingleCall, SingleError};
pub use turn::TurnRef;
pub use turn_logs::{
    ToolCallEntry, ToolCallEvent, ToolCallFilter, TurnDetail, TurnFilter, TurnLogs, TurnPage, TurnSummary,
};
pub use turns::{Abort, EndHook, EndedTurn, TurnCounts, TurnRooms, Turns, TurnsSettings};
