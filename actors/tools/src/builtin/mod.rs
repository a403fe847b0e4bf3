//! The tools that ship with the program, each in a file of its own: its arguments as a type, from which its schema follows,
//! and the call. They stand on the rooms they are about and hold no rules of those.

mod entity;
mod history;
mod home;
mod home_native;
mod memory;
mod model;
mod news;
mod own;
mod profile;
mod reading;
mod search;
mod time;
mod web_fetch;

use greenroom_memory::MemoryError;
use greenroom_memory::summaries::SummaryError;
use greenroom_profile::{ProfileError, Profiles};
use greenroom_protocol::ErrorClass;

pub use home_native::{HOME_LEGACY, HOME_NATIVE, home_instructions_key};

use crate::availability::Shelf;
use crate::outcome::{ErrorKind, ToolOutcome};
use crate::tool::CallContext;
use crate::tools::{Timeouts, ToolRooms};

/// All tools that the rooms make possible, in the order in which they are offered.
pub(crate) fn all(rooms: &ToolRooms, timeouts: &Timeouts) -> Vec<Shelf> {
    let mut shelves = vec![
        Shelf::One(memory::tool(rooms, timeouts.data)),
        Shelf::One(history::tool(rooms, timeouts.data)),
        Shelf::One(profile::tool(rooms, timeouts.data)),
        Shelf::One(own::tool(rooms, timeouts.data)),
        Shelf::One(time::tool(timeouts.time)),
    ];
    if let Some(web) = &rooms.web {
        shelves.push(Shelf::One(search::tool(web.clone(), timeouts)));
        shelves.push(Shelf::One(news::tool(web.clone(), timeouts)));
        shelves.push(Shelf::One(web_fetch::tool(web.clone(), timeouts)));
    }
    let server = |id: &str| rooms.mcp.as_ref().and_then(|mcp| mcp.server(id));
    if let Some(server) = server(HOME_NATIVE) {
        shelves.push(Shelf::Family(home_native::family(server, timeouts.home_native)));
    }
    if let Some(server) = server(HOME_LEGACY) {
        shelves.push(Shelf::One(home::tool(server, timeouts.home)));
    }
    if let Some(desk) = &rooms.desk {
        shelves.push(Shelf::One(model::tool(desk.clone(), timeouts.model)));
    }
    shelves
}

/// What a tool's work gives: an error is an outcome already.
type Done = Result<ToolOutcome, ToolOutcome>;

fn invalid(text: impl Into<String>) -> ToolOutcome {
    ToolOutcome::failed(ErrorKind::InvalidArguments, text)
}

fn not_found(text: impl Into<String>) -> ToolOutcome {
    ToolOutcome::failed(ErrorKind::NotFound, text)
}

/// An argument that this action needs.
fn needed<T>(value: Option<T>, name: &str, action: &str) -> Result<T, ToolOutcome> {
    value.ok_or_else(|| invalid(format!("'{name}' is required for {action}.")))
}

/// What a room refused: in its own words when they are about the arguments, else in general ones.
fn refused(class: ErrorClass, words: String, what: &str) -> ToolOutcome {
    match class {
        ErrorClass::InvalidRequest | ErrorClass::NotFound | ErrorClass::Conflict => {
            ToolOutcome::failed(class.into(), format!("{words}."))
        }
        class => {
            tracing::warn!(what, class = class.code(), "a room failed a tool");
            let now = if class == ErrorClass::Internal { "" } else { " now" };
            ToolOutcome::failed(class.into(), format!("The {what} cannot be used{now}."))
        }
    }
}

impl From<MemoryError> for ToolOutcome {
    fn from(error: MemoryError) -> Self {
        let words = match &error {
            MemoryError::Ambiguous { candidates, .. } => {
                format!("{error}: {}", candidates.iter().map(uuid::Uuid::to_string).collect::<Vec<_>>().join(", "))
            }
            _ => error.to_string(),
        };
        refused(error.class(), words, "memory")
    }
}

impl From<SummaryError> for ToolOutcome {
    fn from(error: SummaryError) -> Self {
        refused(error.class(), error.to_string(), "memory")
    }
}

impl From<ProfileError> for ToolOutcome {
    fn from(error: ProfileError) -> Self {
        let words = match &error {
            ProfileError::Invalid(complaints) => {
                complaints.iter().map(|complaint| complaint.msg.clone()).collect::<Vec<_>>().join("; ")
            }
            _ => error.to_string().trim_end_matches('.').to_owned(),
        };
        refused(error.class(), words, "profile")
    }
}

/// What the user wants to be called; the id when nobody knows.
async fn user_name(profiles: &Profiles, cx: &CallContext) -> String {
    let known = profiles.user_text(&cx.user).await.ok();
    known.and_then(|known| known.display_name.clone()).unwrap_or_else(|| cx.user.to_string())
}

/// A stored text as one line of an answer, so that it cannot pose as another line, of at most `most` characters.
fn line(text: &str, most: usize) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        // Only the beginning of a long text is needed.
        if out.len() > most.saturating_mul(4) {
            break;
        }
    }
    match out.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", out[..end].trim_end()),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(line(" a\n\nb\u{0}c\t d ", 99), "a b c d");
        assert_eq!(line("eins zwei drei", 5), "eins…");
        assert_eq!(line(&"ä".repeat(50), 10), format!("{}…", "ä".repeat(10)));
        assert_eq!(line("", 3), "");
    }
}
