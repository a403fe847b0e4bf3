//! Work on the whole of a memory (http-api §11): new vectors, and merging what says the same. Both run once at a time per
//! bot, with the request or, with `async`, as a task. When the client leaves, work that runs with its request stops.

use greenroom_distill::summaries::SummarizeError;
use greenroom_distill::{ConsolidateOptions, DistillError};
use greenroom_embedder::EmbedError;
use greenroom_memory::episodes::RegenerateMode;
use greenroom_memory::{MemoryError, Namespace};
use greenroom_protocol::fields::Fields;
use greenroom_scheduler::{JobType, TaskType};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;
use super::later;
use super::whose::{Whose, whole_memory};

/// `POST /v1/memory/regenerate-embeddings`.
pub async fn regenerate(mut call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let (root, members) = call.either().await?;
    let mut fields = Fields::of_map(root, &members);
    let mode = fields.text("mode").some().unwrap_or_else(|| "all".into());
    if !matches!(mode.as_str(), "missing" | "all") {
        fields.complain("literal_error", "mode", "Input should be 'missing' or 'all'");
    }
    let later = fields.boolean("async").some().unwrap_or(false);
    fields.finish()?;
    if later {
        return later::submit(&call, &whose, TaskType::EmbeddingGeneration, json!({"mode": mode})).await;
    }
    let mode = if mode == "missing" { RegenerateMode::Missing } else { RegenerateMode::All };
    regenerated(&whose.namespace, mode).await
}

/// A missing model is told with 200 and `success: false`, as the existing frontends expect.
async fn regenerated(namespace: &Namespace, mode: RegenerateMode) -> Answer {
    let cancel = CancellationToken::new();
    let _stop = cancel.clone().drop_guard();
    match namespace.regenerate_embeddings(mode, &cancel).await {
        Ok(done) => answer::json(&json!({
            "success": true, "updated": done.updated, "failed": done.failed, "embedding_dim": done.embedding_dim,
            "messages_queued": done.messages_queued, "complete": done.complete,
            "message": format!("{} vectors made, {} failed", done.updated, done.failed),
        })),
        Err(MemoryError::Embedding(EmbedError::Unavailable(_))) => answer::json(&json!({
            "success": false, "updated": 0, "failed": 0, "embedding_dim": null, "messages_queued": 0,
            "complete": false,
            "message": "Embeddings are not available: the model is not loaded",
        })),
        Err(error) => Err(error.into()),
    }
}

/// `POST /v1/memory/consolidate`.
pub async fn consolidate(mut call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let body = call.json().await?;
    let mut fields = Fields::of("body", &body)?;
    let dry_run = fields.boolean("dry_run").some().unwrap_or(false);
    let similarity_threshold = fields.number("similarity_threshold", 0.5, 1.0).some().map(|number| number as f32);
    let model = fields.text_max("model", 256).some().filter(|model| !model.trim().is_empty());
    let preview_llm = fields.boolean("preview_llm").some().unwrap_or(false);
    let later = fields.boolean("async").some().unwrap_or(false);
    fields.finish()?;
    if later {
        let payload = json!({
            "dry_run": dry_run, "similarity_threshold": similarity_threshold, "model": model,
            "preview_llm": preview_llm,
        });
        return later::submit(&call, &whose, TaskType::MemoryConsolidation, payload).await;
    }
    let _hold = later::hold(&call, JobType::MemoryConsolidation, &whose).await?;
    let cancel = CancellationToken::new();
    let _stop = cancel.clone().drop_guard();
    let options =
        ConsolidateOptions { dry_run, similarity_threshold, model, preview_llm, everything: true, max_clusters: None };
    let done = call.house.distill.consolidate(&call.house.brief(&whose.bot), &options, &cancel).await?;
    let verb = if dry_run { "would be merged" } else { "merged" };
    let (merged, found) = (done.clusters_merged, done.clusters_found);
    let mut told = json!(done);
    told["success"] = true.into();
    told["message"] = format!("{merged} of {found} groups {verb}, {} memories", done.memories_consolidated).into();
    answer::json(&told)
}

impl From<DistillError> for ApiError {
    fn from(error: DistillError) -> Self {
        match error {
            DistillError::Memory(error) => error.into(),
            error => {
                let (class, retry_after) = (error.class(), error.retry_after());
                Self::Room { class, message: error.to_string(), safe: false, retry_after }
            }
        }
    }
}

impl From<SummarizeError> for ApiError {
    fn from(error: SummarizeError) -> Self {
        match error {
            SummarizeError::Summary(error) => error.into(),
            error => Self::room(error.class(), error),
        }
    }
}
