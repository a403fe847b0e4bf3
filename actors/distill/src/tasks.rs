//! Bodies of the small tasks of the queue (memory.md §16.5): setting a memory's meaning, fitting a conversation into fewer
//! tokens, making vectors.

use greenroom_embedder::{Lane, MAX_BATCH};
use greenroom_memory::{MeaningPatch, MemoryError};
use greenroom_protocol::Role;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::brief::BotBrief;
use crate::completer::{Ask, estimate};
use crate::distill::{Distill, NEUTRAL};
use crate::error::DistillError;
use crate::model::Work;

/// Tokens that the text in place of earlier messages may take.
const COMPACT_TOKENS: u32 = 400;
/// Least tokens that a conversation can be fitted into.
const LEAST_TARGET: usize = 64;
/// Most memories whose vectors one task makes.
const MOST_MEMORIES: usize = 256;

/// Payload of `meaning_update`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct MeaningUpdate {
    /// The memory, by id or by its first digits.
    pub memory_id: String,
    /// Why it was shared.
    #[serde(default)]
    pub intent: Option<String>,
    /// What hangs on it.
    #[serde(default)]
    pub stakes: Option<String>,
    /// 0 to 1.
    #[serde(default)]
    pub emotional_charge: Option<f32>,
    /// All keywords anew.
    #[serde(default)]
    pub recurrence_keywords: Option<Vec<String>>,
    /// All tags anew.
    #[serde(default)]
    pub updated_tags: Option<Vec<String>>,
}

/// Result of `meaning_update`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MeaningUpdated {
    /// Whether there is such a memory.
    pub updated: bool,
    /// The memory.
    pub memory_id: String,
}

/// A message of `context_compaction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextMessage {
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub content: String,
}

/// Result of `context_compaction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// System messages, one system message in place of what was left out, and the newest messages.
    pub messages: Vec<ContextMessage>,
    /// Messages that were left out.
    pub messages_removed: usize,
    /// Estimated tokens before.
    pub original_tokens: usize,
    /// Estimated tokens after.
    pub compacted_tokens: usize,
    /// `llm`, `heuristic` or `none`.
    pub method: &'static str,
}

/// Result of `embedding_generation`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EmbeddingsGenerated {
    /// A vector for each text, `null` for a blank one.
    pub embeddings: Vec<Option<Vec<f32>>>,
    /// Memories that have new vectors.
    pub updated: usize,
    /// Memories that do not exist or could not be embedded.
    pub failed: usize,
    /// Numbers of a vector.
    pub embedding_dim: usize,
    /// The model.
    pub model: String,
}

impl Distill {
    /// Sets what is known of a memory's meaning; absent fields stay.
    ///
    /// # Errors
    /// [`DistillError::Memory`] for an ambiguous or malformed id or a malformed field.
    pub async fn update_meaning(
        &self,
        brief: &BotBrief,
        update: &MeaningUpdate,
    ) -> Result<MeaningUpdated, DistillError> {
        let patch = MeaningPatch {
            intent: update.intent.clone(),
            stakes: update.stakes.clone(),
            emotional_charge: update.emotional_charge,
            keywords: update.recurrence_keywords.clone(),
            tags: update.updated_tags.clone(),
        };
        match brief.namespace.set_meaning(&update.memory_id, patch).await {
            Ok(memory) => Ok(MeaningUpdated { updated: true, memory_id: memory.id.to_string() }),
            Err(MemoryError::NotFound(..)) => {
                Ok(MeaningUpdated { updated: false, memory_id: update.memory_id.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Fits a conversation into a number of tokens: the newest messages stay, the others become one text.
    ///
    /// # Errors
    /// [`DistillError::Invalid`] for a target that nothing fits into; [`DistillError::Prompt`].
    pub async fn compact_context(
        &self,
        brief: Option<&BotBrief>,
        messages: &[ContextMessage],
        target_tokens: usize,
        model: Option<&str>,
        cancel: &CancellationToken,
    ) -> Result<Compacted, DistillError> {
        if target_tokens < LEAST_TARGET {
            return Err(DistillError::Invalid(format!("target_token_count must be at least {LEAST_TARGET}")));
        }
        let cost = |message: &ContextMessage| estimate(&message.content);
        let original_tokens: usize = messages.iter().map(cost).sum();
        if original_tokens <= target_tokens {
            return Ok(Compacted {
                messages: messages.to_vec(),
                messages_removed: 0,
                original_tokens,
                compacted_tokens: original_tokens,
                method: "none",
            });
        }
        let (system, talk): (Vec<_>, Vec<_>) = messages.iter().cloned().partition(|it| it.role == Role::System);
        let fixed: usize = system.iter().map(cost).sum();
        let note = (COMPACT_TOKENS as usize).min(target_tokens / 3);
        let mut left = target_tokens.saturating_sub(fixed + note);
        let mut keep = talk.len();
        while keep > 0 && cost(&talk[keep - 1]) <= left {
            keep -= 1;
            left -= cost(&talk[keep]);
        }
        let (removed, kept) = talk.split_at(keep);
        let (text, method) = self.compacted_text(brief, removed, note, model, cancel).await?;
        let mut result = system;
        result.push(ContextMessage { role: Role::System, content: text });
        result.extend(kept.iter().cloned());
        let compacted_tokens = result.iter().map(cost).sum();
        Ok(Compacted { messages: result, messages_removed: removed.len(), original_tokens, compacted_tokens, method })
    }

    async fn compacted_text(
        &self,
        brief: Option<&BotBrief>,
        removed: &[ContextMessage],
        tokens: usize,
        model: Option<&str>,
        cancel: &CancellationToken,
    ) -> Result<(String, &'static str), DistillError> {
        let mut lines = String::new();
        for message in removed {
            let indented = message.content.trim().lines().collect::<Vec<_>>().join("\n    ");
            lines.push_str(&format!("{}: {indented}\n", message.role.as_str()));
        }
        let of_bot = brief.and_then(|brief| brief.summarize_model.as_deref());
        if let Ok(model) = self.models().choose(Work::Summaries, model, of_bot) {
            let slug = brief.map(|brief| &brief.slug);
            let variables = [("messages", lines.as_str())];
            let task = self.prompts().render("history.summarization.single", slug, &variables).await?.text;
            let max_tokens = u32::try_from(tokens).unwrap_or(COMPACT_TOKENS);
            let ask = Ask { system: NEUTRAL, user: &task, max_tokens, temperature: 0.2, json: false };
            match model.complete(&ask, cancel).await {
                Ok(answer) => return Ok((fitted(&answer.text, tokens), "llm")),
                Err(error) => tracing::warn!(%error, "a conversation is compacted by rule"),
            }
        }
        // By rule: what was asked, newest last, as far as it fits.
        let mut asked = String::new();
        for message in removed.iter().rev().filter(|message| message.role == Role::User) {
            let line: String =
                message.content.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(120).collect();
            if estimate(&asked) + estimate(&line) + 16 > tokens {
                break;
            }
            asked.insert_str(0, &format!("- {line}\n"));
        }
        let text = format!("{} earlier messages were left out. The user wrote among others:\n{asked}", removed.len());
        Ok((fitted(&text, tokens), "heuristic"))
    }

    /// Makes vectors of texts, and new vectors for memories.
    ///
    /// # Errors
    /// [`DistillError::Invalid`] for too many, [`DistillError::Memory`] when there is no embedder.
    pub async fn generate_embeddings(
        &self,
        brief: &BotBrief,
        texts: Vec<String>,
        memory_ids: &[String],
    ) -> Result<EmbeddingsGenerated, DistillError> {
        if texts.len() > MAX_BATCH || memory_ids.len() > MOST_MEMORIES {
            let most = format!("at most {MAX_BATCH} texts and {MOST_MEMORIES} memories are embedded at once");
            return Err(DistillError::Invalid(most));
        }
        let embedder = brief.namespace.embedder();
        let mut result = EmbeddingsGenerated {
            embedding_dim: greenroom_embedder::DIMENSION,
            model: embedder.model_id().to_owned(),
            ..EmbeddingsGenerated::default()
        };
        if !texts.is_empty() {
            let vectors = embedder.embed(texts, Lane::Background).await.map_err(MemoryError::from)?;
            result.embeddings = vectors.into_iter().map(|vector| vector.map(|v| v.as_slice().to_vec())).collect();
        }
        let mut ids = Vec::new();
        for reference in memory_ids {
            match brief.namespace.memory(reference).await {
                Ok(memory) => ids.push(memory.id),
                Err(error @ (MemoryError::Store(_) | MemoryError::Actor(_))) => return Err(error.into()),
                Err(_) => {} // counted as failed below
            }
        }
        if !ids.is_empty() {
            result.updated = usize::try_from(brief.namespace.embed_memories(&ids).await?).unwrap_or(ids.len());
        }
        result.failed = memory_ids.len().saturating_sub(result.updated);
        Ok(result)
    }
}

/// A text cut to a number of estimated tokens.
fn fitted(text: &str, tokens: usize) -> String {
    text.chars().take(tokens.saturating_sub(4) * 4).collect()
}
