//! A window as a model is shown it: one numbered line for each message, with who speaks (memory.md §8.2). Pure.

use greenroom_memory::upkeep::{Window, WindowMessage};
use greenroom_protocol::Role;

use super::facts::Evidence;

/// The text, and what in it counts as evidence.
pub(super) fn conversation(window: &Window, names: &[&str]) -> (String, Evidence) {
    let mut evidence = Evidence::new(names);
    let mut text = String::new();
    if let Some(first) = window.messages.first() {
        let date = first.ts.strftime("%A %Y-%m-%d");
        text.push_str(&format!("{date} (UTC)\n"));
    }
    for message in &window.context {
        evidence.context(&message.content);
        push(&mut text, "-", if message.role == Role::User { "earlier user" } else { "earlier assistant" }, message);
    }
    for message in &window.messages {
        let (number, who) = match message.role {
            Role::User => (evidence.user(message.id, &message.content), "user"),
            _ => (evidence.other(&message.content), "assistant"),
        };
        push(&mut text, &number.to_string(), who, message);
    }
    (text, evidence)
}

/// One message. Its own line breaks are indented, so that no message can begin a line of the conversation.
fn push(text: &mut String, number: &str, who: &str, message: &WindowMessage) {
    let indented = message.content.trim().lines().collect::<Vec<_>>().join("\n    ");
    text.push_str(&format!("[{number}] {who}: {indented}\n"));
}
