//! Who answers: the turn's model, and those that take its place when it fails before it has said anything in a pass.
//!
//! The prompt is put together anew for whoever takes over, in that model's tool format and for its window. A model whose
//! server refuses tools is asked again in text. Nothing is tried again once something of a pass was shown.

use std::sync::Arc;

use greenroom_dialect::ToolFormat;
use greenroom_provider::{Engine, ProviderError};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, TurnFailure};
use crate::assembly::{Assembly, Brief, Manner};
use crate::kit::Kit;
use crate::pass::{self, Hearing, PassFailure, Relay, Said, failure, listen};
use crate::rounds::Transcript;
use crate::structured;
use crate::turn::TurnShared;

/// The model that answers now, and what it may call.
pub(crate) struct Speaker<'a> {
    shared: &'a Arc<TurnShared>,
    kit: Kit,
    /// Kept as long as somebody else may have to answer.
    brief: Option<Brief>,
    engine: Engine,
    format: ToolFormat,
    assembly: Assembly,
    guidance: String,
    /// How many of the plan's fallbacks have been used up.
    used: usize,
}

impl<'a> Speaker<'a> {
    /// The turn's own model.
    ///
    /// # Errors
    /// When the prompt does not fit it.
    pub(crate) async fn new(
        shared: &'a Arc<TurnShared>,
        kit: Kit,
        brief: Brief,
        behind: &Transcript,
    ) -> Result<Self, TurnFailure> {
        let engine = shared.plan.engine.clone();
        let format = engine.tool_format();
        let may_change = !shared.plan.fallbacks.is_empty() || (format == ToolFormat::Native && !kit.is_empty());
        let kept = may_change.then(|| brief.clone());
        let assembly = Assembly::of(shared, &kit, brief, &engine, format, behind).await?;
        let guidance = match kit.own.is_empty() {
            true => String::new(),
            false => shared.template("tools.result_guidance", &[]).await,
        };
        Ok(Self { shared, kit, brief: kept, engine, format, assembly, guidance, used: 0 })
    }

    /// What may be called.
    pub(crate) fn kit(&self) -> &Kit {
        &self.kit
    }

    /// Whether the wanted shape of the answer is ours to see to.
    pub(crate) fn enforces(&self) -> bool {
        self.assembly.enforces
    }

    /// Whether calls are written as text.
    pub(crate) fn speaks_in_text(&self) -> bool {
        self.format.is_text()
    }

    /// Asks for one pass, if need be of the next in the list.
    pub(crate) async fn ask(
        &mut self,
        relay: &mut Relay<'_>,
        behind: &mut Transcript,
        manner: Manner,
        answer: &mut Answer,
        cancel: &CancellationToken,
    ) -> Result<Said, TurnFailure> {
        let plan = &self.shared.plan;
        loop {
            let asked = {
                self.assembly.make_room(behind);
                let messages = behind.messages(self.format, &self.guidance);
                answer.begin_pass(&self.engine, || self.assembly.characters(&messages));
                let request = self.assembly.request(plan, &self.kit, manner, &messages);
                let snapshot = || self.assembly.snapshot(plan, &self.kit, manner, &messages);
                pass::ask(self.shared, &self.engine, request, snapshot, cancel).await
            };
            let heard = match asked {
                Ok(stream) => {
                    // A server that knew no such wish until now has answered without it.
                    self.assembly.enforces |= structured::must_be_enforced(plan, &self.engine, false);
                    if self.kit.is_empty() && !self.assembly.enforces {
                        // There will be no other pass: nothing of the prompt is kept for the life of the stream.
                        self.assembly.forget();
                    }
                    let (engine, hold) = (&self.engine, self.assembly.enforces);
                    listen(relay, stream, Hearing { engine, format: self.format, names: &self.kit.names, hold }, answer)
                        .await
                }
                Err(error) => Err(PassFailure::Provider { error, shown: false }),
            };
            match heard {
                Ok(said) => return Ok(said),
                Err(PassFailure::Stopped(failure)) => return Err(failure),
                Err(PassFailure::Provider { error, shown: true }) => return Err(failure(&error)),
                Err(PassFailure::Provider { error, shown: false }) => Box::pin(self.recover(error, behind)).await?,
            }
        }
    }

    /// Finds who is to be asked instead.
    async fn recover(&mut self, error: ProviderError, behind: &Transcript) -> Result<(), TurnFailure> {
        if error == ProviderError::ToolsUnsupported && self.format == ToolFormat::Native {
            tracing::info!(model = self.engine.alias(), "the model's server refuses tools, they are written as text");
            let engine = self.engine.clone();
            return self.become_(engine, ToolFormat::React, behind).await;
        }
        if !error.may_fall_back() {
            return Err(failure(&error));
        }
        while let Some(next) = self.shared.plan.fallbacks.get(self.used) {
            self.used += 1;
            let (before, after) = (self.engine.alias().to_owned(), next.alias().to_owned());
            if let Err(unfit) = self.become_(next.clone(), next.tool_format(), behind).await {
                tracing::warn!(model = after, %unfit, "a fallback cannot take this prompt");
                continue;
            }
            metrics::counter!("greenroom_model_fallbacks_total").increment(1);
            tracing::warn!(from = before, to = after, %error, "moving on to a fallback");
            self.shared.warn(&format!("model_fallback: '{before}' failed ({error}); '{after}' answers instead"));
            return Ok(());
        }
        Err(failure(&error))
    }

    async fn become_(&mut self, engine: Engine, format: ToolFormat, behind: &Transcript) -> Result<(), TurnFailure> {
        let Some(brief) = self.brief.clone() else {
            return Err(TurnFailure::new(greenroom_protocol::ErrorClass::Internal, "the prompt is gone"));
        };
        self.assembly = Assembly::of(self.shared, &self.kit, brief, &engine, format, behind).await?;
        (self.engine, self.format) = (engine, format);
        Ok(())
    }
}
