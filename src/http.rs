//! The HTTP door: accepting, judging, routing, and the handlers of every route. No hyper type leaves this module.
//!
//! Tables hold nothing but routes; handlers translate between the wire and the rooms and decide nothing the rooms own.

pub mod accept;
pub mod admission;
pub mod answer;
pub mod auth;
pub mod body;
pub mod call;
pub mod door;
pub mod error;
pub mod front;
pub mod metrics;
pub mod openapi;
pub mod origin;
pub mod route;
pub mod routes;
pub mod socket;
pub mod sse;
pub mod status;

mod bots;
mod chat;
mod complete;
mod docs;
mod embeddings;
mod forgetting;
mod health;
mod history;
mod jobs;
mod later;
mod memory;
mod models;
mod profiles;
mod prompts;
mod settings;
mod summaries;
mod tasks;
mod transfer;
mod turn_logs;
mod turns;
mod upkeep;
mod whose;
