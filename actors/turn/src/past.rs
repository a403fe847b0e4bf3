//! What a bot has before it when a turn begins: the newest messages, summaries of what lies before them, and what is
//! known about the user and the bot. Reading only; what of it fits is decided later.
//!
//! Raw messages and a summary that covers them never come together: reading leaves out covered messages while summaries
//! are wanted, and brings them back when they are not.

use greenroom_memory::summaries::{Summary, SummaryError};
use greenroom_memory::{MemoryError, SaidMessage};
use greenroom_profile::TurnProfiles;
use greenroom_protocol::{Message, Role, UserId};
use jiff::Timestamp;

use crate::activity;
use crate::answer::TurnFailure;
use crate::history::estimate;
use crate::pipeline::{context_budget, epoch};
use crate::plan::{HistoryScope, TurnPlan};
use crate::turn::TurnShared;

/// Rows read at first; how many more are needed is guessed from what these cost.
const FIRST_PAGE: usize = 128;
/// Most rows looked at for one turn.
const MOST_ROWS: usize = 4096;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// The newest messages, oldest first.
    pub(crate) messages: Vec<Message>,
    /// Whether there are older ones that were not read.
    pub(crate) goes_on: bool,
    /// Summaries of what lies before, oldest first.
    pub(crate) summaries: Vec<Summary>,
    /// What is known about user and bot.
    pub(crate) profiles: Option<TurnProfiles>,
}

impl Past {
    /// How much was said, whatever tools did meanwhile.
    pub(crate) fn said(&self) -> usize {
        self.messages.iter().filter(|message| message.role != Role::Tool).count()
    }
}

/// Reads the past of a turn. A stateless bot has none but what the client sent along.
///
/// # Errors
/// When the messages cannot be read. Without summaries or profiles the turn goes on and says so.
pub(crate) async fn read(shared: &TurnShared) -> Result<Past, TurnFailure> {
    let plan = &shared.plan;
    if !plan.persona.requires_memory {
        return Ok(Past { messages: plan.prompt.earlier.clone(), ..Past::default() });
    }
    let profiles = &shared.room.rooms.profiles;
    let (messages, summaries, profiles) =
        tokio::join!(messages(plan), summaries(plan), profiles.for_turn(&plan.user, &plan.persona.slug));
    let (messages, goes_on) = messages.map_err(|error| {
        tracing::warn!(%error, bot = %plan.persona.slug, "history could not be read");
        TurnFailure::new(error.class(), "the message store is not available")
    })?;
    let summaries = summaries.unwrap_or_else(|error| {
        tracing::warn!(%error, bot = %plan.persona.slug, "summaries could not be read");
        shared.warn("memory_incomplete: summaries of earlier conversations could not be read");
        Vec::new()
    });
    let profiles = profiles.inspect_err(|error| {
        tracing::warn!(%error, bot = %plan.persona.slug, "profiles could not be read");
        shared.warn("memory_incomplete: profiles could not be read");
    });
    Ok(Past { messages, goes_on, summaries, profiles: profiles.ok() })
}

/// The user whose messages alone the bot may see; `None` when it sees everybody's.
pub(crate) fn scope(plan: &TurnPlan) -> Option<&UserId> {
    match plan.persona.history_scope {
        HistoryScope::Bot => None,
        HistoryScope::User => Some(&plan.user),
    }
}

/// Whether summaries take part in the turn.
fn with_summaries(plan: &TurnPlan) -> bool {
    plan.include_summaries && !plan.home_mode && plan.settings.summarization_max_in_context > 0
}

async fn summaries(plan: &TurnPlan) -> Result<Vec<Summary>, SummaryError> {
    if !with_summaries(plan) {
        return Ok(Vec::new());
    }
    plan.namespace.summaries_for_context(scope(plan), plan.settings.summarization_max_in_context).await
}

/// The messages that may fit, newest first page by page, and whether there are older ones. An agent keeps its own thread.
async fn messages(plan: &TurnPlan) -> Result<(Vec<Message>, bool), MemoryError> {
    if plan.persona.agent_backend.is_some() {
        return Ok((Vec::new(), true));
    }
    let budget = context_budget(plan);
    let cap = usize::try_from(plan.settings.max_context_messages).unwrap_or(usize::MAX);
    let own_row = plan.trigger.row_id(&plan.persona.slug);
    let (mut rows, mut cost, mut before, mut size) = (Vec::new(), 0, None, FIRST_PAGE);
    let goes_on = loop {
        let page = page(plan, before, size).await?;
        let last_page = page.len() < size;
        before = page.last().map(|row| (row.ts, row.seq));
        for row in page.into_iter().filter(|row| row.id != own_row) {
            let content = match row.role {
                Role::Tool => activity::line(row.tool.as_ref(), &row.content, row.ts),
                _ => row.content,
            };
            let message = Message {
                timestamp: Some(epoch(row.ts)),
                db_id: Some(row.id.to_string()),
                ..Message::text(row.role, content)
            };
            cost += estimate(&message);
            rows.push(message);
        }
        let enough = cost > budget || (cap > 0 && rows.len() > cap) || rows.len() >= MOST_ROWS;
        if last_page || enough {
            break enough;
        }
        let each = (cost / rows.len().max(1)).max(1);
        let missing = (budget - cost) / each;
        size = (missing + missing / 8).clamp(FIRST_PAGE, MOST_ROWS);
    };
    rows.reverse();
    Ok((rows, goes_on))
}

async fn page(plan: &TurnPlan, before: Option<(Timestamp, i64)>, size: usize) -> Result<Vec<SaidMessage>, MemoryError> {
    let limit = i64::try_from(size).unwrap_or(i64::MAX);
    if with_summaries(plan) {
        plan.namespace.visible_messages(scope(plan), before, limit).await
    } else {
        let rows = plan.namespace.latest(scope(plan), before, limit).await?;
        Ok(rows.into_iter().map(SaidMessage::from).collect())
    }
}
