//! Conversations to prompts, by the template of the file or by one of a few well-known formats.
//!
//! Invariant: what a user wrote cannot end its message or begin another: special tokens in it are broken up before the
//! template sees it. Tools are absent: models that run here are told of them in words (the dialect room).

mod formats;
mod template;

use crate::error::GgufError;
use crate::tokenizer::Tokenizer;

use template::Template;

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions. All of them are joined and come first.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message.
    #[must_use]
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// What stands for a user's message where a conversation begins with the assistant and the template wants a user first.
const NOTHING_SAID: &str = "…";

/// A model's way of writing conversations down.
pub(crate) struct Chat {
    template: Template,
    /// Where a format has marks that are plain text, an answer ends at them.
    stops: Vec<String>,
    has_system: bool,
}

impl Chat {
    /// The format that is named, else the file's own template, else the format that its tokens suggest.
    pub(crate) fn new(named: Option<&str>, template: Option<&str>, tokenizer: &Tokenizer) -> Result<Self, GgufError> {
        let format = match (named, template) {
            (Some(name), _) => Some(formats::named(name).ok_or_else(|| {
                let names: Vec<_> = formats::ALL.iter().map(|format| format.name).collect();
                GgufError::Unsupported(format!("the chat format {name:?}; there are {}", names.join(", ")))
            })?),
            (None, Some(_)) => None,
            (None, None) => Some(formats::suggested(tokenizer)),
        };
        let (begin, end) = tokenizer.marks();
        let source = format.map_or_else(|| template.unwrap_or_default(), |format| format.template);
        let template = Template::new(source, begin, end)?;
        let stops = format.map_or(&[][..], |format| format.stops).iter().map(ToString::to_string).collect();
        let has_system = template.shows_system();
        Ok(Self { template, stops, has_system })
    }

    /// Stop sequences of the format.
    pub(crate) fn stops(&self) -> &[String] {
        &self.stops
    }

    /// The prompt for the assistant's next message.
    pub(crate) fn prompt(&self, messages: &[ChatMessage], tokenizer: &Tokenizer) -> Result<String, GgufError> {
        let guarded = messages.iter().map(|message| ChatMessage::new(message.role, tokenizer.guard(&message.content)));
        let mut messages = arrange(guarded);
        if !self.has_system {
            into_first_user(&mut messages);
        }
        let rendered = self.template.render(&messages);
        let first = messages.iter().position(|message| message.role != Role::System);
        match first {
            // Some templates insist that the user begins.
            Some(first) if rendered.is_err() && messages[first].role == Role::Assistant => {
                messages.insert(first, ChatMessage::new(Role::User, NOTHING_SAID));
                self.template.render(&messages)
            }
            _ => rendered,
        }
    }
}

/// All instructions first, as one message; neighbours of the same role joined.
fn arrange(messages: impl Iterator<Item = ChatMessage>) -> Vec<ChatMessage> {
    let (systems, others): (Vec<_>, Vec<_>) = messages.partition(|message| message.role == Role::System);
    let mut arranged: Vec<ChatMessage> = Vec::new();
    for message in systems.into_iter().chain(others) {
        match arranged.last_mut() {
            Some(last) if last.role == message.role => {
                last.content.push_str("\n\n");
                last.content.push_str(&message.content);
            }
            _ => arranged.push(message),
        }
    }
    arranged
}

/// For models that know no instructions: the user says them first.
fn into_first_user(messages: &mut Vec<ChatMessage>) {
    if messages.first().is_some_and(|message| message.role == Role::System) {
        let system = messages.remove(0).content;
        match messages.iter_mut().find(|message| message.role == Role::User) {
            Some(user) => user.content = format!("{system}\n\n{}", user.content),
            None => messages.insert(0, ChatMessage::new(Role::User, system)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_come_first_and_neighbours_are_joined() {
        let said =
            [(Role::User, "a"), (Role::System, "x"), (Role::User, "b"), (Role::Assistant, "c"), (Role::System, "y")];
        let mut arranged = arrange(said.into_iter().map(|(role, content)| ChatMessage::new(role, content)));
        let expected = [(Role::System, "x\n\ny"), (Role::User, "a\n\nb"), (Role::Assistant, "c")];
        assert_eq!(arranged, expected.map(|(role, content)| ChatMessage::new(role, content)));
        into_first_user(&mut arranged);
        assert_eq!(arranged[0], ChatMessage::new(Role::User, "x\n\ny\n\na\n\nb"));
        assert_eq!(arranged.len(), 2);
    }
}
