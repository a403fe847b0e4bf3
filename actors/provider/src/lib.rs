//! The provider room: what models there are, and calling them.
//!
//! - [`Providers`]: the room's handle. [`Catalogue`] is an immutable snapshot of all models with their availability;
//!   definitions are kept in the database, seeded from `config/models.yaml`.
//! - [`Engine`]: one alias bound to what serves it. [`Engine::stream`] is the only way to call a model; a whole answer is
//!   the folded stream.
//! - One supervised actor per provider, `provider:<name>`: it admits calls, opens and closes the circuit, and remembers
//!   what was learned about a model's parameters. Tokens never pass through it.
//!
//! Kinds of provider: servers that speak Chat Completions, OpenAI's Responses API, Anthropic's Messages API or Ollama's own
//! interface (`wires`, called by `http`), models in GGUF files that run in this process (`local`), and the built-in `echo`.
//! Deliberately absent: which model answers whom (bot room), prompts, tools and falling back (turn room), HTTP surfaces
//! (front door).

mod base_url;
mod catalogue;
mod circuit;
mod definition;
mod definitions_repository;
mod desk;
mod discovery;
mod draft;
mod echo;
mod endpoint;
mod engine;
mod error;
mod event;
mod http;
mod keeper;
mod local;
mod probe;
mod prompt;
mod provider;
mod providers;
mod secrets;
mod seeds;
mod settings;
mod stream;
mod transport;
mod view;
mod windows;
mod wires;

pub use catalogue::{Catalogue, ModelListing, Source};
pub use definition::{Capabilities, ModelDefinition, ModelOptions, ModelType, Price, TokenParam};
pub use desk::{Deletion, ReloadOutcome, SeedOutcome};
pub use discovery::{UpstreamModel, UpstreamModels};
pub use engine::Engine;
pub use error::{ProviderError, ProvidersError, UpstreamModelsError, Waiting};
pub use event::{CompletionRequest, ProviderEvent};
pub use local::{LocalSettings, Unloading};
pub use probe::ProviderProbe;
pub use provider::Health;
pub use providers::Providers;
pub use settings::{BUILT_IN_SEEDS, ProviderSettings, SecretLookup, Timeouts};
pub use stream::ProviderStream;
pub use view::DefinitionView;
