//! One alias bound to what serves it. An engine keeps its definition and its provider through any reload, so a turn ends
//! with the model it began with.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use greenroom_dialect::{Adapter, ToolFormat};
use tokio_util::sync::CancellationToken;

use crate::catalogue::Entry;
use crate::definition::{Capabilities, ModelDefinition};
use crate::echo;
use crate::endpoint::Route;
use crate::error::ProviderError;
use crate::event::CompletionRequest;
use crate::http::call::Call;
use crate::local::{LocalCall, LocalModels};
use crate::prompt;
use crate::provider::{Lease, ModelFacts, ProviderHandle};
use crate::settings::ProviderSettings;
use crate::stream::{Prepared, ProviderStream};
use crate::transport::Transport;

/// A model ready to be called. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) entry: Arc<Entry>,
    pub(crate) provider: Arc<ProviderHandle>,
    pub(crate) settings: Arc<ProviderSettings>,
    pub(crate) transport: Transport,
    pub(crate) local: LocalModels,
    /// The model called last, for `/status`.
    pub(crate) last_called: Arc<ArcSwapOption<ModelDefinition>>,
}

impl Engine {
    /// The alias as it is spelled in the catalogue.
    #[must_use]
    pub fn alias(&self) -> &str {
        &self.entry.definition.alias
    }

    /// What the alias stands for.
    #[must_use]
    pub fn definition(&self) -> &ModelDefinition {
        &self.entry.definition
    }

    /// What the model can do: by its definition, less what its server has refused since the process began.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let facts = self.facts();
        let told = self.entry.definition.capabilities();
        let native = told.native_tools && !facts.refuses_tools;
        Capabilities {
            native_tools: native,
            parallel_tool_calls: native && told.parallel_tool_calls,
            response_format: told.response_format && !facts.refuses_format,
            ..told
        }
    }

    /// How the model is offered tools. What is native by definition becomes ReAct once the server has refused tools.
    #[must_use]
    pub fn tool_format(&self) -> ToolFormat {
        match self.entry.definition.tool_format() {
            ToolFormat::Native if self.facts().refuses_tools => ToolFormat::React,
            format => format,
        }
    }

    /// What the model's family needs done to its output.
    #[must_use]
    pub fn adapter(&self) -> Adapter {
        self.entry.definition.adapter()
    }

    /// Tokens that fit the model: by its definition, and never more than its server has loaded it for.
    #[must_use]
    pub fn context_window(&self) -> u64 {
        self.entry.context_window()
    }

    fn facts(&self) -> ModelFacts {
        self.provider.shared.facts(self.entry.definition.called())
    }

    /// Most tokens it generates.
    #[must_use]
    pub fn max_output_tokens(&self) -> u32 {
        self.entry.definition.max_output_tokens(self.settings.default_max_tokens)
    }

    /// Name of its provider's actor, `provider:<name>`.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider.name
    }

    /// Host of the server that is called, in lower case and without port; `None` for what runs in this process.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        self.provider.endpoint().and_then(|endpoint| endpoint.base.host())
    }

    /// Whether the model can answer at once: true for everything but a local model that has to be read from its file first.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.provider.local().is_none_or(|model| self.local.is_loaded(model))
    }

    /// Calls that the model's provider has open now, whoever made them.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.provider.shared.in_use()
    }

    /// Calls the model and returns as soon as there is something to pass on. Until then the call may be tried again;
    /// from then on it is not.
    ///
    /// # Errors
    /// [`ProviderError`], typed; never as text of the answer. [`ProviderError::Cancelled`] as soon as `cancel` is, at
    /// any time, with the connection closed.
    pub async fn stream(
        &self,
        request: CompletionRequest,
        cancel: CancellationToken,
    ) -> Result<ProviderStream, ProviderError> {
        // boxed: what opening a call needs is gone when the stream is open, and callers stay small
        let opening = Box::pin(self.open(request, cancel.clone()));
        tokio::select! { biased;
            () = cancel.cancelled() => Err(ProviderError::Cancelled),
            opened = opening => opened,
        }
    }

    async fn open(
        &self,
        request: CompletionRequest,
        cancel: CancellationToken,
    ) -> Result<ProviderStream, ProviderError> {
        let definition = &self.entry.definition;
        let lease = self.provider.lease(definition.called().into()).await?;
        self.last_called.store(Some(self.entry.definition.clone()));
        match &self.provider.route {
            Route::Http(endpoint) => {
                let call = Call {
                    endpoint,
                    definition,
                    request: &request,
                    timeouts: &self.settings.timeouts,
                    transport: &self.transport,
                };
                Ok(ProviderStream::new(call.open(lease, cancel).await?))
            }
            Route::Local(model) => {
                let timeouts = &self.settings.timeouts;
                let call = LocalCall { models: &self.local, model, definition, request: &request, timeouts };
                Ok(ProviderStream::new(call.open(lease, cancel).await?))
            }
            Route::Echo => Ok(echoed(definition, &request, lease, cancel)),
        }
    }
}

fn echoed(
    definition: &ModelDefinition,
    request: &CompletionRequest,
    mut lease: Lease,
    cancel: CancellationToken,
) -> ProviderStream {
    let batches = echo::answer(request, &definition.alias);
    lease.answered(None);
    ProviderStream::new(Prepared::new(batches, prompt::characters(&request.messages), cancel, lease))
}
