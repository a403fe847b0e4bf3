//! The `memory` tool: long-term facts. Deleting is undoable, and several at once are deleted only after they were shown.
//!
//! A bot that knows its users apart touches only what is about the present one; in other bots' memories nobody sees more
//! than what is about themselves.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use greenroom_memory::context::{Rendering, render_memories};
use greenroom_memory::memories::clean_tag;
use greenroom_memory::{
    DeleteOptions, Memory, MemoryDraft, MemoryHit, MemoryPatch, MemorySearch, Namespace, Outcome, StoreOptions,
    StoredMemory, TombstoneReason,
};
use greenroom_profile::Profiles;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, invalid, line, needed, not_found, user_name};
use crate::desk::Neighbours;
use crate::outcome::{ErrorKind, ToolOutcome};
use crate::tool::{BoxFuture, CallContext, Effects, Scope, Tool, ToolSpec, parse};
use crate::tools::ToolRooms;

const ABOUT: &str = "Long-term memory: lasting facts about the user and your life together. search before you say that you do \
                     not know something; store what should be known in later conversations, as one sentence in the third \
                     person; update or delete what has turned out wrong, by the id that search shows in brackets.";
/// Similarity below which a memory is not what was meant.
const MEANT: f64 = 0.3;
/// Candidates that are looked at and shown before something is deleted.
const CANDIDATES: usize = 10;
/// Memories that one confirmed wish deletes.
const MOST_DELETED: usize = 5;
/// Importance of what is stored when nobody says.
const IMPORTANCE: f32 = 0.6;
/// Characters of a memory in a list.
const SHOWN: usize = 300;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// What to do.
    action: Action,
    /// For search: what to look for. For update and delete without memory_id: words that describe the memory.
    #[schemars(length(max = 4000))]
    query: Option<String>,
    /// For store: the fact. For update: its new wording.
    #[schemars(length(max = 4000))]
    content: Option<String>,
    /// For update and delete: id as shown by search.
    #[schemars(length(max = 64))]
    memory_id: Option<String>,
    /// For search: how many at most.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 20))]
    n_results: u32,
    /// For store and update: how much it matters, 0 to 1; 0.6 if not given when storing.
    #[schemars(range(min = 0.0, max = 1.0))]
    importance: Option<f32>,
    /// For store and update: topics such as preference, event or work; misc if not given when storing.
    #[schemars(length(max = 12))]
    tags: Option<Vec<String>>,
    /// For search: own, all, or the slug of another bot.
    #[schemars(length(max = 64))]
    scope: Option<String>,
    /// For delete by query: really delete what matches, five memories at most.
    #[serde(default)]
    confirm: bool,
}

fn five() -> u32 {
    5
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    Search,
    Store,
    Update,
    Delete,
}

struct MemoryTool {
    spec: ToolSpec,
    memory: Memory,
    profiles: Profiles,
    neighbours: Option<Arc<dyn Neighbours>>,
}

pub(super) fn tool(rooms: &ToolRooms, timeout: Duration) -> Arc<dyn Tool> {
    Arc::new(MemoryTool {
        spec: ToolSpec::built_in::<Arguments>("memory", ABOUT, Scope::Memory, timeout),
        memory: rooms.memory.clone(),
        profiles: rooms.profiles.clone(),
        neighbours: rooms.neighbours.clone(),
    })
}

impl Tool for MemoryTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effects(&self, arguments: &Value) -> Effects {
        let confirmed = arguments["confirm"] == true;
        match (arguments["action"].as_str(), arguments.get("memory_id")) {
            (Some("store"), _) | (Some("update" | "delete"), Some(_)) => Effects::Idempotent,
            (Some("delete"), None) if !confirmed => Effects::ReadOnly,
            // What fits best the second time is another one.
            (Some("update" | "delete"), None) => Effects::Dangerous,
            _ => Effects::ReadOnly,
        }
    }

    fn call<'a>(&'a self, cx: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        Box::pin(async {
            let done = match parse(arguments) {
                Ok(arguments) => self.serve(cx, arguments).await,
                Err(refused) => Err(refused),
            };
            done.unwrap_or_else(|refused| refused)
        })
    }
}

impl MemoryTool {
    async fn serve(&self, cx: &CallContext, wanted: Arguments) -> Done {
        match wanted.action {
            Action::Search => self.search(cx, wanted).await,
            Action::Store => store(cx, wanted).await,
            Action::Update => update(cx, wanted).await,
            Action::Delete => delete(cx, wanted).await,
        }
    }

    async fn search(&self, cx: &CallContext, wanted: Arguments) -> Done {
        let query = needed(wanted.query, "query", "search")?;
        let limit = usize::try_from(wanted.n_results).unwrap_or(usize::MAX);
        let name = user_name(&self.profiles, cx).await;
        let how = Rendering { name: Some(&name), now: cx.now, zone: cx.zone.clone(), ids: true };
        let others = self.others(cx, wanted.scope.as_deref())?;
        let hits = match &others {
            None => {
                let user = cx.confined_to().cloned();
                cx.namespace.search_memories(MemorySearch { limit, user, ..MemorySearch::new(query) }).await?
            }
            Some(namespaces) => {
                let search = MemorySearch {
                    limit,
                    user: Some(cx.user.clone()),
                    count_access: false,
                    ..MemorySearch::new(query)
                };
                self.memory.search_everywhere(namespaces, search).await?
            }
        };
        let hits = hits.hits;
        if hits.is_empty() {
            return Ok(ToolOutcome::success("No memories match.").with_data(json!([])));
        }
        let mut text = String::new();
        let mut sources: Vec<_> = hits.iter().map(|hit| &hit.source).collect();
        sources.dedup();
        for (n, source) in sources.iter().enumerate().filter(|(n, source)| !sources[..*n].contains(source)) {
            let of: Vec<MemoryHit> = hits.iter().filter(|hit| hit.source == **source).cloned().collect();
            if others.is_some() {
                let _ = write!(text, "{}# Memory of the bot {source}\n\n", if n == 0 { "" } else { "\n" });
            }
            text.push_str(&render_memories(&of, &how));
        }
        let relevance: Vec<String> =
            hits.iter().map(|hit| format!("{} {:.2}", hit.memory.short_id(), hit.relevance)).collect();
        let _ = write!(text, "\nRelevance by id: {}", relevance.join(", "));
        Ok(ToolOutcome::success(text).with_data(hits.iter().map(data).collect()))
    }

    /// The memories to look into; `None` for the bot's own.
    fn others(&self, cx: &CallContext, scope: Option<&str>) -> Result<Option<Vec<Namespace>>, ToolOutcome> {
        let scope = scope.map(|scope| scope.trim().to_lowercase()).filter(|scope| *scope != "own");
        let Some(scope) = scope.filter(|scope| scope != cx.bot.as_str()) else { return Ok(None) };
        let known = self.neighbours.as_ref().map(|neighbours| neighbours.namespaces()).unwrap_or_default();
        if scope == "all" {
            let mut all: Vec<Namespace> = known.into_iter().filter(|other| other.bot() != &cx.bot).collect();
            all.push(cx.namespace.clone());
            return Ok(Some(all));
        }
        let found: Vec<Namespace> = known.iter().filter(|other| other.bot().as_str() == scope).cloned().collect();
        if found.is_empty() {
            let slugs: Vec<&str> = known.iter().take(50).map(|other| other.bot().as_str()).collect();
            let slugs = if slugs.is_empty() { String::new() } else { format!(" Bots: {}.", slugs.join(", ")) };
            return Err(not_found(format!(
                "There is no bot '{}': scope is own, all or a bot.{slugs}",
                line(&scope, 64)
            )));
        }
        Ok(Some(found))
    }
}

fn data(hit: &MemoryHit) -> Value {
    json!({
        "id": hit.memory.id, "source": hit.source, "content": hit.memory.content, "tags": hit.memory.tags,
        "importance": hit.memory.importance, "relevance": hit.relevance,
    })
}

async fn store(cx: &CallContext, wanted: Arguments) -> Done {
    let content = needed(wanted.content, "content", "store")?;
    let draft = MemoryDraft {
        tags: tags(&wanted.tags.unwrap_or_default()),
        importance: wanted.importance.unwrap_or(IMPORTANCE),
        user: Some(cx.user.clone()),
        ..MemoryDraft::new(content)
    };
    let stored = cx.namespace.store_memory(draft, StoreOptions::default()).await?;
    let id = &stored.id.simple().to_string()[..8];
    let text = match stored.outcome {
        Outcome::Inserted | Outcome::Updated => format!("Stored as memory [{id}]."),
        Outcome::Duplicate => format!("Known already as memory [{id}], which counts for more now."),
    };
    Ok(ToolOutcome::success(text).with_data(json!({"id": stored.id, "outcome": stored.outcome})))
}

/// Topics as models write them, in the form in which they are kept.
fn tags(given: &[String]) -> Vec<String> {
    let plain = |tag: &String| {
        let words: Vec<String> =
            tag.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_lowercase).collect();
        clean_tag(&words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-"))
    };
    given.iter().filter_map(plain).collect()
}

async fn update(cx: &CallContext, wanted: Arguments) -> Done {
    if wanted.content.is_none() && wanted.importance.is_none() && wanted.tags.is_none() {
        return Err(invalid("Give at least one of content, importance, tags."));
    }
    let target = match (&wanted.memory_id, wanted.query) {
        (Some(id), _) => own(cx, id).await?,
        (None, Some(query)) => {
            let best = matching(cx, query).await?.into_iter().next();
            best.ok_or_else(|| not_found("No memory matches."))?.memory
        }
        (None, None) => return Err(invalid("'memory_id' or 'query' is required for update.")),
    };
    let patch = MemoryPatch {
        content: wanted.content,
        importance: wanted.importance,
        tags: wanted.tags.map(|given| tags(&given)).filter(|tags| !tags.is_empty()),
        if_updated_at: Some(target.updated_at),
    };
    let now = cx.namespace.update(&target.id.to_string(), patch).await?;
    let text = format!("Memory [{}] now says: {}", now.short_id(), line(&now.content, SHOWN));
    Ok(ToolOutcome::success(text).with_data(json!({"id": now.id, "content": now.content})))
}

async fn delete(cx: &CallContext, wanted: Arguments) -> Done {
    let targets = match (&wanted.memory_id, wanted.query) {
        (Some(id), _) => vec![own(cx, id).await?],
        (None, Some(query)) => {
            let found: Vec<StoredMemory> = matching(cx, query).await?.into_iter().map(|hit| hit.memory).collect();
            if found.is_empty() {
                return Err(not_found("No memory matches."));
            }
            if !wanted.confirm || found.len() > MOST_DELETED {
                return Ok(candidates(&found, wanted.confirm));
            }
            found
        }
        (None, None) => return Err(invalid("'memory_id' or 'query' is required for delete.")),
    };
    let mut gone = Vec::new();
    for target in &targets {
        let reason = Some(TombstoneReason::Tool);
        let options = DeleteOptions { reason, by: Some(cx.bot.to_string()), ..DeleteOptions::default() };
        gone.extend(cx.namespace.delete_memory(&target.id.to_string(), options).await?.deleted);
    }
    let lines: Vec<String> = targets.iter().map(shown).collect();
    let text = format!("Deleted (can be restored):\n{}", lines.join("\n"));
    Ok(ToolOutcome::success(text).with_data(json!({"deleted": gone})))
}

/// What would be deleted: nothing has been.
fn candidates(found: &[StoredMemory], confirmed: bool) -> ToolOutcome {
    let lines: Vec<String> = found.iter().map(shown).collect();
    let next = match confirmed || found.len() > MOST_DELETED {
        true => format!("More than {MOST_DELETED} match: delete them one by one with memory_id, or narrow the query"),
        false => "Delete one with memory_id, or all of these by the same call with confirm: true".to_owned(),
    };
    ToolOutcome::success(format!("Nothing was deleted yet. These match:\n{}\n{next}.", lines.join("\n")))
        .with_data(json!({"deleted": [], "candidates": found.iter().map(|memory| memory.id).collect::<Vec<_>>()}))
}

fn shown(memory: &StoredMemory) -> String {
    format!("- [{}] {}", memory.short_id(), line(&memory.content, SHOWN))
}

/// The memory of an id, if the bot may touch it in this turn.
async fn own(cx: &CallContext, id: &str) -> Result<StoredMemory, ToolOutcome> {
    let id = id.trim().trim_matches(['[', ']', '#']);
    let found = cx.namespace.memory(id).await?;
    match cx.confined_to() {
        Some(user) if found.user.as_ref() != Some(user) => {
            Err(ToolOutcome::failed(ErrorKind::NotFound, format!("memory '{}' not found.", line(id, 64))))
        }
        _ => Ok(found),
    }
}

/// Memories that a description may mean, best first.
async fn matching(cx: &CallContext, query: String) -> Result<Vec<MemoryHit>, ToolOutcome> {
    let search = MemorySearch {
        limit: CANDIDATES,
        min_relevance: Some(MEANT),
        user: cx.confined_to().cloned(),
        count_access: false,
        ..MemorySearch::new(query)
    };
    Ok(cx.namespace.search_memories(search).await?.hits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_brought_into_form() {
        let given = ["User Preferences".to_owned(), "#work".into(), "🎉".into(), "a_b".into()];
        assert_eq!(tags(&given), ["user-preferences", "work", "a_b"]);
    }
}
