//! Writing summaries again from the raw history (memory.md §13.8). Each old summary goes in the transaction that stores
//! its replacement, so that no message is ever without both visibility and summary, whatever fails in between.

use std::collections::HashSet;

use greenroom_memory::summaries::{Conversation, RebuildScope};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::pass::Job;
use super::{RunOptions, Summaries, SummarizeError, SummarizeResult, rules};
use crate::BotBrief;

/// What to rebuild and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebuildOptions {
    /// So many conversations, the newest; 0 means all.
    pub sessions: usize,
    /// Only conversations that end at or after it.
    pub start: Option<Timestamp>,
    /// Only conversations that begin at or before it.
    pub end: Option<Timestamp>,
    /// Delete old summaries within the rebuilt time that got no replacement; their messages become visible.
    pub purge_existing: bool,
    /// Whether a summary by rule is stored where no model answers.
    pub use_heuristic: bool,
    /// The model that the request names.
    pub model: Option<String>,
}

impl Summaries {
    /// Writes the newest conversations' summaries again, stale ones first.
    ///
    /// # Errors
    /// [`SummarizeError`]; what was stored before a failure of the database stays stored.
    pub async fn rebuild(
        &self,
        brief: &BotBrief,
        options: &RebuildOptions,
        cancel: &CancellationToken,
    ) -> Result<SummarizeResult, SummarizeError> {
        let _flight = self.enter(&brief.slug)?;
        let begun = Timestamp::now();
        let run = RunOptions {
            use_heuristic: options.use_heuristic,
            model: options.model.clone(),
            on_demand: true,
            max_tokens_per_chunk: None,
        };
        let mut pass = self.pass(brief, &run, cancel)?;
        pass.refresh_stale().await?;
        let scope = RebuildScope { sessions: options.sessions, start: options.start, end: options.end };
        let mut sessions = brief.namespace.rebuildable_sessions(&rules(brief), &scope).await?;
        sessions.sort_by_key(Conversation::start);
        let period = span(&sessions);
        let covered: Vec<(Uuid, Vec<Uuid>)> =
            sessions.iter().filter_map(|session| Some((session.rows.first()?.id, session.covered_by()))).collect();
        let left = pass.work(sessions.into_iter().map(Job::fresh).collect()).await?;
        for _ in &left.outdated {
            pass.note("a conversation changed meanwhile and keeps its summaries".into());
        }
        if let (Some(period), true, false) = (period, options.purge_existing, cancel.is_cancelled()) {
            // What failed keeps what it had.
            let kept: HashSet<Uuid> = covered
                .into_iter()
                .filter(|(key, _)| left.failed.contains(key) || left.outdated.contains(key))
                .flat_map(|(_, ids)| ids)
                .collect();
            for id in brief.namespace.summaries_within(period, begun).await? {
                if !kept.contains(&id) {
                    pass.delete(id).await?;
                }
            }
        }
        Ok(pass.finish())
    }
}

fn span(sessions: &[Conversation]) -> Option<(Timestamp, Timestamp)> {
    let start = sessions.iter().map(Conversation::start).min()?;
    let end = sessions.iter().map(Conversation::end).max()?;
    Some((start, end))
}
