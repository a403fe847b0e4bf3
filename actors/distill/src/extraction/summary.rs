//! Facts from summaries (memory.md §8.7): only where the messages themselves were not read, and never where some of them
//! must not be.

use greenroom_memory::upkeep::{
    ExtractableSummary, ExtractionOutcome, ExtractionRecord, ExtractionSource, SummaryClaim,
};
use greenroom_memory::{Exclusive, MemoryError};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::facts::{self, Evidence};
use super::settle::{Found, Origin, Settled};
use super::{ExtractOptions, FACT_TOKENS, Reader, subject};
use crate::brief::BotBrief;
use crate::distill::Distill;
use crate::error::DistillError;

/// Failures after which a summary is only marked.
const MOST_FAILURES: i64 = 3;

/// What came of reading summaries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SummaryExtractionResult {
    /// Summaries that waited.
    pub summaries_found: usize,
    /// Those that were read.
    pub summaries_read: usize,
    /// Those that were only marked: their messages had been read, or must not be.
    pub summaries_skipped: usize,
    /// Facts that were found and passed the checks.
    pub facts_extracted: usize,
    /// Memories that came of them.
    pub facts_stored: usize,
    /// Why it ended early, or did not begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Distill {
    /// Reads active summaries without a mark, oldest first, at most `limit`. There is no reading by rules.
    ///
    /// # Errors
    /// [`DistillError`] when nothing could be begun.
    pub async fn extract_summaries(
        &self,
        brief: &BotBrief,
        model: Option<&str>,
        limit: i64,
        cancel: &CancellationToken,
    ) -> Result<SummaryExtractionResult, DistillError> {
        let mut result = SummaryExtractionResult::default();
        if let Some(reason) = self.extraction_is_off(brief) {
            result.reason = Some(reason.into());
            return Ok(result);
        }
        let options = ExtractOptions { model: model.map(str::to_owned), ..ExtractOptions::default() };
        for summary in brief.namespace.summaries_to_extract(limit).await? {
            if cancel.is_cancelled() {
                result.reason = Some("cancelled".into());
                break;
            }
            result.summaries_found += 1;
            let given_up = brief.namespace.summary_failures(&summary).await? >= MOST_FAILURES;
            if summary.claim == SummaryClaim::Mark || given_up {
                self.mark(brief, summary).await?;
                result.summaries_skipped += 1;
                continue;
            }
            let reader = match self.reader(brief, &options)? {
                Ok(reader @ Reader::Model(_)) => reader,
                Ok(Reader::Rules) => {
                    result.reason = Some("summaries are not read by rules".into());
                    break;
                }
                Err(reason) => {
                    result.reason = Some(reason);
                    break;
                }
            };
            match self.read_summary(brief, &reader, &summary, cancel).await {
                Ok(settled) => {
                    result.summaries_read += 1;
                    result.facts_extracted += settled.extracted;
                    result.facts_stored += settled.stored;
                }
                Err(error) => {
                    result.reason = Some(error.to_string());
                    self.note_failure(brief, &reader, &summary, &error).await;
                    break;
                }
            }
        }
        Ok(result)
    }

    async fn read_summary(
        &self,
        brief: &BotBrief,
        reader: &Reader,
        summary: &ExtractableSummary,
        cancel: &CancellationToken,
    ) -> Result<Settled, DistillError> {
        let Reader::Model(model) = reader else { return Err(DistillError::Invalid("a model is needed".into())) };
        let began = std::time::Instant::now();
        let user = subject(summary.user.as_ref(), brief);
        let minute = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M").to_string();
        let (start, end) = (minute(summary.start), minute(summary.end));
        let variables =
            [("summary_text", summary.content.as_str()), ("start_date", start.as_str()), ("end_date", end.as_str())];
        let task = self.prompts().render("memory.extraction.summary", Some(&brief.slug), &variables).await?.text;
        let evidence = Evidence::of_text(&summary.content, &[user.as_str(), &brief.name]);
        let (facts, dropped) =
            self.ask_json(model, &task, FACT_TOKENS, cancel, |reply| facts::read(reply, &evidence)).await?;
        let found = Found { facts, dropped, user, began };
        self.settle(brief, reader, Origin::Summary(summary.clone()), found, cancel).await
    }

    async fn mark(&self, brief: &BotBrief, summary: ExtractableSummary) -> Result<(), DistillError> {
        let now = Timestamp::now();
        let marked = brief.namespace.exclusive("mark summary", move |x: &mut Exclusive<'_>| {
            Box::pin(async move {
                summary.finish_on(x, now).await?;
                Ok::<(), MemoryError>(())
            })
        });
        match marked.await {
            // It changed in the meantime and comes up again.
            Ok(()) | Err(MemoryError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn note_failure(
        &self,
        brief: &BotBrief,
        reader: &Reader,
        summary: &ExtractableSummary,
        error: &DistillError,
    ) {
        tracing::warn!(bot = %brief.slug, %error, "a summary could not be read for facts");
        if error.is_cancelled() || !error.is_about_the_text() {
            return;
        }
        let record = ExtractionRecord {
            at: Timestamp::now(),
            source: ExtractionSource::Summary,
            message_ids: Vec::new(),
            summary_id: Some(summary.id),
            user: summary.user.clone(),
            model: reader.alias(),
            method: reader.method(),
            outcome: ExtractionOutcome::Retry,
            found: 0,
            stored: 0,
            dropped: 0,
            facts: json!([]),
            actions: json!([]),
            error: Some(error.class().code().to_owned()),
            took_ms: 0,
        };
        if let Err(error) = brief.namespace.log_extraction(&record).await {
            tracing::debug!(bot = %brief.slug, %error, "a failed extraction was not recorded");
        }
    }
}
