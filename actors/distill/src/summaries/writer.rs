//! Asking a model for summaries: one conversation (in chunks when it is long), several at once, or a fold of summaries.
//! Nothing is read or stored here, and no transaction is open while a model works.

use greenroom_dialect::json;
use greenroom_memory::summaries::{Sections, SourceMessage, Summary};
use greenroom_prompts::{PromptError, Prompts};
use greenroom_protocol::BotSlug;
use tokio_util::sync::CancellationToken;

use super::format::{chunks, paragraphs, tokens, when};
use super::limits::Limits;
use super::{answer, quality};
use crate::{Ask, Completer, ModelError};

const SINGLE: &str = "history.summarization.single";
const BATCH: &str = "history.summarization.batch";
const ROLL_UP: &str = "history.summarization.rollup";
/// The neutral role for all calls.
const ROLE: &str = "You condense conversations faithfully and concisely. You add nothing of your own.";
const TEMPERATURE: f64 = 0.3;
const BATCH_TEMPERATURE: f64 = 0.2;
/// For asking again.
const SOBER: f64 = 0.1;
/// Tokens of an answer when a person waits for it; also of one that asks a second time.
const LONG_ANSWER: u32 = 620;
/// Tokens of one session's share in a batch answer, and of the whole at least.
const BATCH_SHARE: u32 = 320;
const BATCH_LEAST: u32 = 900;
/// Folding partial summaries repeats itself until one is left; more rounds than this help nobody.
const MOST_ROUNDS: usize = 8;

/// Why a summary could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The prompt.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The model answered, but not with a summary.
    #[error("the model's answer is not a usable summary")]
    Unusable,
}

impl WriteError {
    /// Whether the model did not answer at all, so that the next call will hardly fare better.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Model(error) if error.is_transient() && !matches!(error, ModelError::Cancelled | ModelError::Empty))
    }

    /// Whether the caller gave up.
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self, Self::Model(ModelError::Cancelled))
    }
}

/// A written summary.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    pub(crate) sections: Sections,
    /// Chunks it was made of.
    pub(crate) parts: i16,
}

/// A model at work on one bot's summaries.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) completer: Completer,
    pub(crate) prompts: Prompts,
    pub(crate) bot: BotSlug,
    pub(crate) limits: Limits,
    /// Most tokens of a single answer.
    pub(crate) answer: u32,
    /// Whether a meagre summary is asked for once more.
    pub(crate) quality_retry: bool,
    pub(crate) cancel: CancellationToken,
}

impl Writer {
    /// Summarises one conversation. A long one is summarised chunk by chunk, and the parts are folded into one.
    pub(crate) async fn single(&self, messages: &[SourceMessage]) -> Result<Written, WriteError> {
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return Err(WriteError::Unusable) };
        let time = when(first.ts, last.ts);
        let chunks = chunks(paragraphs(messages), self.limits.chunk);
        let source_chars: usize = chunks.iter().map(|chunk| chunk.chars().count()).sum();
        let sections = match chunks.as_slice() {
            [] => return Err(WriteError::Unusable),
            [whole] => self.checked(SINGLE, "messages", &format!("({time})\n{whole}"), source_chars).await?,
            parts => {
                let mut written = Vec::with_capacity(parts.len());
                for (n, part) in parts.iter().enumerate() {
                    let head = format!("({time}; part {} of {})", n + 1, parts.len());
                    let sections = self.ask(SINGLE, "messages", &format!("{head}\n{part}"), TEMPERATURE).await?;
                    written.push(format!("{head}\n{}", said(&sections)));
                }
                self.folded(written).await?
            }
        };
        Ok(Written { sections, parts: i16::try_from(chunks.len()).unwrap_or(i16::MAX) })
    }

    /// Folds summaries of a longer past, oldest first, into one.
    pub(crate) async fn fold(&self, summaries: &[Summary]) -> Result<Sections, WriteError> {
        let parts = summaries
            .iter()
            .map(|summary| format!("({})\n{}", when(summary.start, summary.end), said(&summary.sections)));
        self.folded(parts.collect()).await
    }

    async fn folded(&self, mut parts: Vec<String>) -> Result<Sections, WriteError> {
        for _ in 0..MOST_ROUNDS {
            let mut groups = grouped(parts, self.limits.chunk);
            if groups.len() == 1
                && let Some(last) = groups.pop()
            {
                return self.ask(ROLL_UP, "summaries", &last, TEMPERATURE).await;
            }
            parts = Vec::with_capacity(groups.len());
            for group in groups {
                parts.push(said(&self.ask(ROLL_UP, "summaries", &group, TEMPERATURE).await?));
            }
        }
        Err(WriteError::Unusable)
    }

    /// Summarises several conversations in one call; `None` for those that the answer leaves out or treats too briefly.
    pub(crate) async fn batch(&self, sessions: &[Vec<SourceMessage>]) -> Result<Vec<Option<Sections>>, WriteError> {
        let mut blob = String::new();
        let mut sizes = Vec::with_capacity(sessions.len());
        for (n, messages) in sessions.iter().enumerate() {
            let time = messages.first().zip(messages.last()).map(|(a, b)| when(a.ts, b.ts)).unwrap_or_default();
            let text = paragraphs(messages).join("\n");
            sizes.push(text.chars().count());
            blob.push_str(&format!("Session {} ({time})\n{text}\n\n", n + 1));
        }
        let prompt = self.prompts.render(BATCH, Some(&self.bot), &[("sessions_blob", blob.trim_end())]).await?;
        let share = BATCH_SHARE.saturating_mul(u32::try_from(sessions.len()).unwrap_or(u32::MAX));
        let max_tokens = share.min(self.completer.max_output_tokens()).max(BATCH_LEAST);
        let mut ask = Ask { system: ROLE, user: &prompt.text, max_tokens, temperature: BATCH_TEMPERATURE, json: true };
        let mut read = json::repair(&self.completer.complete(&ask, &self.cancel).await?.text);
        if read.is_none() {
            (ask.json, ask.temperature) = (false, SOBER);
            read = json::repair(&self.completer.complete(&ask, &self.cancel).await?.text);
        }
        let found = answer::batch(&read.ok_or(WriteError::Unusable)?, sessions.len());
        Ok(found.into_iter().zip(sizes).map(|(found, size)| found.filter(|s| quality::is_enough(s, size))).collect())
    }

    /// Asks, and once more when the answer says too little and that is wished for; the better one is taken.
    async fn checked(&self, key: &str, name: &str, text: &str, source_chars: usize) -> Result<Sections, WriteError> {
        let first = self.ask(key, name, text, TEMPERATURE).await?;
        if !self.quality_retry || quality::is_enough(&first, source_chars) {
            return Ok(first);
        }
        match self.ask(key, name, text, SOBER).await {
            Ok(second) if quality::is_enough(&second, source_chars) => Ok(second),
            _ => Ok(first),
        }
    }

    /// One call whose answer is labelled text. One that ends at its limit is asked again with more room.
    async fn ask(&self, key: &str, name: &str, text: &str, temperature: f64) -> Result<Sections, WriteError> {
        let prompt = self.prompts.render(key, Some(&self.bot), &[(name, text)]).await?;
        let room = if temperature < TEMPERATURE { LONG_ANSWER } else { self.answer };
        let mut ask = Ask { system: ROLE, user: &prompt.text, max_tokens: room, temperature, json: false };
        let mut answered = self.completer.complete(&ask, &self.cancel).await?;
        if answered.truncated && room < LONG_ANSWER {
            ask.max_tokens = LONG_ANSWER;
            answered = self.completer.complete(&ask, &self.cancel).await?;
        }
        let sections = Sections::parse(&answered.text);
        if sections.is_blank() { Err(WriteError::Unusable) } else { Ok(sections) }
    }
}

/// A summary as material for another one.
fn said(sections: &Sections) -> String {
    let text = sections.render();
    text.split_once('\n').map_or(text.clone(), |(_, body)| body.to_owned())
}

/// Parts put together in groups of at most `limit` tokens and at least two parts, so that every round gets on.
fn grouped(parts: Vec<String>, limit: usize) -> Vec<String> {
    let mut groups: Vec<(usize, String)> = Vec::new();
    for part in parts {
        match groups.last_mut() {
            Some((count, group)) if *count < 2 || tokens(group) + tokens(&part) < limit => {
                *count += 1;
                group.push_str("\n\n");
                group.push_str(&part);
            }
            _ => groups.push((1, part)),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_of_folding_gets_on() {
        let mut parts: Vec<String> = (0..100).map(|n| format!("{n} {}", "x".repeat(2_000))).collect();
        let mut rounds = 0;
        while parts.len() > 1 {
            let before = parts.len();
            parts = grouped(parts, 64);
            assert!(parts.len() <= before.div_ceil(2));
            rounds += 1;
        }
        assert!(rounds <= MOST_ROUNDS);
        assert_eq!(grouped(vec!["a".into(), "b".into(), "c".into()], 1_000), ["a\n\nb\n\nc"]);
    }
}
