//! What bots have learnt (http-api §11): statistics, search, one memory with its history, editing, deleting. Forgetting,
//! restoring and previews are in `forgetting`, the work on the whole of a memory in `upkeep`.

use greenroom_memory::retrieval::{MemoryHit, MemoryMethod, MemorySearch};
use greenroom_memory::{DeleteOptions, MemoryError, MemoryOrder, MemoryPatch, StoredMemory, TombstoneReason};
use greenroom_protocol::ErrorClass;
use greenroom_protocol::fields::Fields;
use greenroom_protocol::time::wire_time;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;
use super::history::{QUERY_LIMIT, clamped};
use super::transfer::plain;
use super::whose::{Whose, narrowed, whole_memory};

/// Most memories of an answer.
const MOST: i64 = 500;
/// Most tags a search may name.
const TAGS: usize = 100;
/// What counts as important when nobody says.
const IMPORTANT: f32 = 0.7;

/// A memory as clients see it.
fn item(memory: &StoredMemory, relevance: Option<f64>) -> Value {
    json!({
        "id": memory.id, "content": memory.content, "importance": plain(memory.importance),
        "relevance": relevance, "tags": memory.tags, "created_at": wire_time(memory.created_at),
        "updated_at": wire_time(memory.updated_at), "last_accessed": memory.last_accessed_at.map(wire_time),
        "access_count": memory.access_count, "source_message_ids": memory.sources,
        "confidence": plain(memory.confidence), "superseded_by": memory.superseded_by,
        "superseded_at": memory.superseded_at.map(wire_time),
    })
}

/// A memory that is not there, in the words clients know.
pub(super) fn missing(id: &str) -> impl FnOnce(MemoryError) -> ApiError {
    let id: String = id.chars().take(64).collect();
    move |error| match error {
        MemoryError::NotFound(..) => ApiError::not_found(format!("Memory '{id}' not found")),
        error => error.into(),
    }
}

/// `GET /v1/memory/stats`.
pub async fn stats(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let stats = whose.namespace.stats().await?;
    let mut told = json!(stats);
    told["bot_id"] = json!(whose.slug());
    told["index"] = json!(whose.namespace.index_status());
    answer::json(&told)
}

/// `POST /v1/memory/search`.
pub async fn search(mut call: Call) -> Answer {
    whole_memory(&call)?;
    let (root, members) = call.either().await?;
    let mut fields = Fields::of_map(root, &members);
    let word = fields.text("method").some().unwrap_or_else(|| "all".into());
    let method = MemoryMethod::parse(&word.to_lowercase());
    if method.is_none() {
        fields.complain("literal_error", "method", "Input should be 'all', 'embedding', 'text' or 'high-importance'");
    }
    let method = method.unwrap_or_default();
    let query = match method {
        MemoryMethod::HighImportance => fields.text_max("query", QUERY_LIMIT).some().unwrap_or_default(),
        _ => fields.required_text("query", QUERY_LIMIT),
    };
    let alias = clamped(&mut fields, "n_results", 10, MOST);
    let limit = clamped(&mut fields, "limit", alias, MOST);
    let min_importance = fields.number("min_importance", 0.0, 1.0).some().filter(|least| *least > 0.0);
    let min_relevance = fields.number("min_relevance", 0.0, 1.0).some();
    let tags = tags(&mut fields).unwrap_or_default();
    let user = narrowed(&call, &mut fields, "user_id")?;
    let explain = fields.boolean("explain").some().unwrap_or(false);
    let bot = fields.text_max("bot_id", 256).some();
    fields.finish()?;
    let whose = Whose::named(&call.house, bot.as_deref())?;
    let important = (method == MemoryMethod::HighImportance).then_some(IMPORTANT);
    let search = MemorySearch {
        method,
        limit: usize::try_from(limit).unwrap_or_default(),
        min_importance: min_importance.map(|least| least as f32).or(important),
        min_relevance,
        tags,
        user,
        count_access: true,
        settings: call.house.retrieval(&whose.bot),
        ..MemorySearch::new(query.clone())
    };
    let found = whose.namespace.search_memories(search).await?;
    let results: Vec<Value> = found.hits.iter().map(|hit| hit_view(hit, explain)).collect();
    let mut told = json!({
        "bot_id": whose.slug(), "method": word, "query": query, "total_count": results.len(), "results": results,
    });
    if explain {
        told["legs"] = json!(found.legs);
    }
    answer::json(&told)
}

fn hit_view(hit: &MemoryHit, explain: bool) -> Value {
    let mut view = item(&hit.memory, Some(hit.relevance));
    if explain {
        view["parts"] = json!(hit.parts);
    }
    view
}

/// A list of texts.
fn tags(fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let items = match fields.raw("tags") {
        None | Some(Value::Null) => return None,
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Some(Value::String(list)) => Some(list.split(',').map(str::to_owned).collect::<Vec<_>>()),
        Some(_) => None,
    };
    let items: Option<Vec<String>> = items.filter(|items: &Vec<String>| items.len() <= TAGS);
    if items.is_none() {
        fields.complain("list_type", "tags", format!("Input should be a list of at most {TAGS} texts"));
    }
    items
}

/// `GET /v1/memory`: by importance.
pub async fn list(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let limit = clamped(&mut fields, "limit", 20, MOST);
    let order = match fields.text("order").some().as_deref() {
        None | Some("importance") => MemoryOrder::Importance,
        Some("recent") => MemoryOrder::Recent,
        Some(_) => {
            fields.complain("literal_error", "order", "Input should be 'importance' or 'recent'");
            MemoryOrder::Importance
        }
    };
    fields.finish()?;
    let memories = whose.namespace.list_memories(order, 0.0, limit).await?;
    let results: Vec<Value> = memories.iter().map(|memory| item(memory, None)).collect();
    answer::json(&json!({
        "bot_id": whose.slug(), "method": "list", "query": "", "total_count": results.len(), "results": results,
    }))
}

/// `GET /v1/memory/{memory_id}`: one memory, with those that it took the place of.
pub async fn get(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let id = call.param("memory_id");
    let memory = whose.namespace.memory(id).await.map_err(missing(id))?;
    let chain = whose.namespace.chain(&memory.id.to_string()).await.map_err(missing(id))?;
    let mut view = item(&memory, None);
    view["intent"] = json!(memory.meaning.intent);
    view["stakes"] = json!(memory.meaning.stakes);
    view["emotional_charge"] = json!(memory.meaning.emotional_charge.map(plain));
    view["keywords"] = json!(memory.meaning.keywords);
    view["history"] = chain.iter().map(|memory| item(memory, None)).collect();
    answer::json(&view)
}

/// `PATCH /v1/memory/{memory_id}`.
pub async fn patch(mut call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let body = call.json().await?;
    let mut fields = Fields::of("body", &body)?;
    let content = fields.text("content").some();
    let importance = fields.number("importance", 0.0, 1.0).some().map(|number| number as f32);
    let tags = tags(&mut fields);
    let if_updated_at = fields.text("if_updated_at").some().and_then(|text| {
        let read = text.trim().parse::<Timestamp>().ok();
        if read.is_none() {
            fields.complain("datetime_parsing", "if_updated_at", "Input should be an RFC 3339 time");
        }
        read
    });
    fields.finish()?;
    if content.is_none() && importance.is_none() && tags.is_none() {
        let message = "At least one of content, importance or tags must be given";
        return Err(ApiError::said(ErrorClass::InvalidRequest, message));
    }
    let id = call.param("memory_id");
    let patch = MemoryPatch { content, importance, tags, if_updated_at };
    let memory = whose.namespace.update(id, patch).await.map_err(missing(id))?;
    answer::json(&item(&memory, None))
}

/// `DELETE /v1/memory/{memory_id}`: into the tombstones, unless `hard`.
pub async fn delete(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let hard = fields.boolean("hard").some().unwrap_or(false);
    let restore_previous = fields.boolean("restore_previous").some().unwrap_or(false);
    fields.finish()?;
    let id = call.param("memory_id");
    let by = call.caller.name.as_ref().map(ToString::to_string);
    let memory = whose.namespace.memory_id(id).await.map_err(missing(id))?;
    let options = DeleteOptions { hard, restore_previous, reason: Some(TombstoneReason::Admin), by };
    let deleted = whose.namespace.delete_memory(&memory.to_string(), options).await.map_err(missing(id))?;
    answer::json(&json!({
        "success": true, "memory_id": memory, "message": format!("Memory {memory} deleted"),
        "batch_id": deleted.batch_id, "deleted_ids": deleted.deleted, "reactivated_ids": deleted.reactivated,
    }))
}
