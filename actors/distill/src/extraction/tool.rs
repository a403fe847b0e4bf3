//! Facts from messages that a caller brings along: the tool `facts_extract` (memory.md §8.1).

use greenroom_protocol::{Role, UserId};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::facts::{self, Dropped, Evidence, Fact};
use super::settle::{Found, Origin};
use super::{ExtractOptions, FACT_TOKENS, Reader, heuristic};
use crate::brief::BotBrief;
use crate::distill::Distill;
use crate::error::DistillError;
use crate::model::ModelError;

/// Most messages of a call.
const MOST_MESSAGES: usize = 200;
/// Most characters of all messages together.
const MOST_CHARS: usize = 100_000;

/// A message to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolMessage {
    /// Who speaks; only the user's lines are read.
    pub role: Role,
    /// The text.
    pub content: String,
}

/// A fact as a tool reports it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolFact {
    /// One sentence.
    pub content: String,
    /// The primary one first.
    pub tags: Vec<String>,
    /// 0 to 1.
    pub importance: f32,
    /// 0 to 1.
    pub confidence: f32,
    /// Key of the profile attribute that it proposes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_key: Option<String>,
    /// Value of that attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_value: Option<Value>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FactsExtracted {
    /// The facts.
    pub facts: Vec<ToolFact>,
    /// Facts that were dropped by a check.
    pub facts_dropped: usize,
    /// Memories that came of them; 0 when nothing was to be stored.
    pub facts_stored: usize,
    /// `llm` or `heuristic`.
    pub extraction_method: &'static str,
}

impl Distill {
    /// Reads messages for facts about `user`, and stores them if `store`. The messages themselves are not stored, so the
    /// memories have no source.
    ///
    /// # Errors
    /// [`DistillError::Invalid`] for too many or too long messages or a technical user; [`DistillError`].
    pub async fn extract_from(
        &self,
        brief: &BotBrief,
        user: &UserId,
        messages: &[ToolMessage],
        store: bool,
        options: &ExtractOptions,
        cancel: &CancellationToken,
    ) -> Result<FactsExtracted, DistillError> {
        let began = std::time::Instant::now();
        let characters: usize = messages.iter().map(|message| message.content.chars().count()).sum();
        if messages.len() > MOST_MESSAGES || characters > MOST_CHARS {
            let most = format!("at most {MOST_MESSAGES} messages of together {MOST_CHARS} characters are read");
            return Err(DistillError::Invalid(most));
        }
        if user.as_str() == super::SYSTEM_USER {
            return Err(DistillError::Invalid("user_id must name a person".into()));
        }
        let reader = match self.reader(brief, options)? {
            Ok(reader) => reader,
            Err(reason) => return Err(ModelError::NoModel(reason).into()),
        };
        let (found, dropped) = self.read_messages(brief, user, messages, &reader, cancel).await?;
        let mut result = FactsExtracted {
            facts: found.iter().map(reported).collect(),
            facts_dropped: dropped.len(),
            facts_stored: 0,
            extraction_method: reader.method(),
        };
        if store && brief.requires_memory {
            let facts = found.into_iter().map(|fact| Fact { sources: Vec::new(), ..fact }).collect();
            let found = Found { facts, dropped, user: user.clone(), began };
            result.facts_stored = self.settle(brief, &reader, Origin::Tool, found, cancel).await?.stored;
        }
        Ok(result)
    }

    async fn read_messages(
        &self,
        brief: &BotBrief,
        user: &UserId,
        messages: &[ToolMessage],
        reader: &Reader,
        cancel: &CancellationToken,
    ) -> Result<(Vec<Fact>, Vec<Dropped>), DistillError> {
        let Reader::Model(model) = reader else {
            let said = messages.iter().filter(|message| message.role == Role::User);
            return Ok((heuristic::facts(said.map(|message| (Uuid::nil(), message.content.as_str()))), Vec::new()));
        };
        let mut evidence = Evidence::new(&[user.as_str(), &brief.name]);
        let mut text = String::new();
        for message in messages.iter().filter(|message| matches!(message.role, Role::User | Role::Assistant)) {
            let (number, who) = match message.role {
                Role::User => (evidence.user(Uuid::nil(), &message.content), "user"),
                _ => (evidence.other(&message.content), "assistant"),
            };
            let indented = message.content.trim().lines().collect::<Vec<_>>().join("\n    ");
            text.push_str(&format!("[{number}] {who}: {indented}\n"));
        }
        let variables = [("conversation", text.as_str())];
        let task = self.prompts().render("memory.extraction.fact", Some(&brief.slug), &variables).await?.text;
        self.ask_json(model, &task, FACT_TOKENS, cancel, |reply| facts::read(reply, &evidence)).await
    }
}

fn reported(fact: &Fact) -> ToolFact {
    ToolFact {
        content: fact.content.clone(),
        tags: fact.tags.clone(),
        importance: fact.importance,
        confidence: fact.confidence,
        profile_key: fact.attribute.as_ref().map(|wish| wish.key.clone()),
        profile_value: fact.attribute.as_ref().and_then(|wish| wish.value.clone()),
    }
}
