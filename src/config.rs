//! The configuration: read from its layers, checked as a whole, and able to say where each value comes from.
//!
//! Nothing is bound, started or written before [`load`] has succeeded. No other file of the project reads environment
//! variables for settings; rooms receive just their own section.

mod check;
mod dotenv;
mod local;
mod memory;
mod names;
mod outside;
mod sections;
mod sources;
mod tunables;
mod value;

use std::path::PathBuf;

use figment::Figment;
use serde::{Deserialize, Serialize};

pub use local::LocalModelsSection;
pub use memory::{EmbedderSection, LlmPolicy, MemorySection, SchedulerSection};
pub use outside::{HomeSection, SearchDepth, SearchSection, WebSection};
pub use sections::{
    Auth, BotsSection, Key, KeyRole, Limits, LogFormat, LogSection, ProvidersSection, Server, StoreSection,
    TurnsSection,
};
pub use sources::Surroundings;
pub use tunables::Tunables;
pub use value::{HIDDEN, Names, Size, Span};

/// All settings of the process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the server listens.
    pub server: Server,
    /// How much is let in.
    pub limits: Limits,
    /// Who may come in.
    pub auth: Auth,
    /// The database.
    pub store: StoreSection,
    /// Model providers.
    pub providers: ProvidersSection,
    /// Models that run in this process.
    pub local_models: LocalModelsSection,
    /// Texts to vectors.
    pub embedder: EmbedderSection,
    /// What bots remember.
    pub memory: MemorySection,
    /// Background work.
    pub scheduler: SchedulerSection,
    /// Bots.
    pub bots: BotsSection,
    /// The turn engine.
    pub turns: TurnsSection,
    /// Services that search the web.
    pub search: SearchSection,
    /// Pages of the web.
    pub web: WebSection,
    /// Home Assistant.
    pub home: HomeSection,
    /// Logging.
    pub log: LogSection,
}

impl Config {
    /// The data directory: the configured one or the platform's.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.server.data_dir.as_ref().map_or_else(default_data_dir, PathBuf::from)
    }

    /// Whether any key is configured.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.auth.admin_key.is_some() || !self.auth.keys.is_empty()
    }

    /// Everything that is wrong with the settings, in words.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with all complaints at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let complaints = check::complaints(self);
        if complaints.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(complaints)) }
    }
}

/// `/var/lib/greenroom` as root, `$XDG_DATA_HOME/greenroom` otherwise.
fn default_data_dir() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/greenroom");
    }
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(std::env::temp_dir)
        .join("greenroom")
}

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A named file cannot be read.
    #[error("cannot read {path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// A file that holds a secret cannot be read.
    #[error("cannot read the file named by {name}: {why}")]
    SecretFile {
        /// The variable that names it.
        name: String,
        /// The system's reason.
        why: String,
    },
    /// A layer has the wrong shape or an unknown key.
    #[error("{0}")]
    Shape(String),
    /// Values that do not make sense.
    #[error("the configuration is not usable:\n  - {}", .0.join("\n  - "))]
    Invalid(Vec<String>),
}

/// A configuration with its origins.
pub struct Loaded {
    /// The settings, checked.
    pub config: Config,
    /// Things worth a warning, such as variables without effect.
    pub notes: Vec<String>,
    figment: Figment,
}

/// Without the layers, which hold secrets in the open.
impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).field("notes", &self.notes).finish_non_exhaustive()
    }
}

/// Reads and checks the configuration.
///
/// # Errors
/// [`ConfigError`].
pub fn load(around: &Surroundings) -> Result<Loaded, ConfigError> {
    let loaded = load_unchecked(around)?;
    loaded.config.check()?;
    Ok(loaded)
}

/// Reads the configuration without judging its values: for showing it.
///
/// # Errors
/// [`ConfigError`] of any kind but [`ConfigError::Invalid`].
pub fn load_unchecked(around: &Surroundings) -> Result<Loaded, ConfigError> {
    let sources::Layers { figment, mut notes } = sources::gather(around)?;
    let mut config: Config = figment.extract_lossy().map_err(|error| ConfigError::Shape(describe(&error)))?;
    if let Some(zone) = config.bots.timezone.take_if(|zone| jiff::tz::TimeZone::get(zone).is_err()) {
        notes.push(format!("'{zone}' is no IANA time zone and is ignored"));
    }
    Ok(Loaded { config, notes, figment })
}

fn describe(errors: &figment::Error) -> String {
    let each = errors.clone().into_iter().map(|error| {
        let key = error.path.join(".");
        let source = error.metadata.as_ref().map_or_else(String::new, |metadata| format!(" ({})", metadata.name));
        if key.is_empty() { format!("{}{source}", error.kind) } else { format!("{key}: {}{source}", error.kind) }
    });
    format!("the configuration cannot be read:\n  - {}", each.collect::<Vec<_>>().join("\n  - "))
}

/// One effective setting, as `greenroom config` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Dotted key.
    pub key: String,
    /// Effective value; secrets hidden.
    pub value: serde_json::Value,
    /// Where it comes from.
    pub source: String,
}

impl Loaded {
    /// Every key with its effective value and its source.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut config = self.config.clone();
        let data_dir = config.data_dir().display().to_string();
        config.server.data_dir.get_or_insert(data_dir);
        let tree = serde_json::to_value(&config).unwrap_or_default();
        let mut settings = Vec::new();
        self.flatten("", &tree, &mut settings);
        settings
    }

    fn flatten(&self, prefix: &str, value: &serde_json::Value, into: &mut Vec<Setting>) {
        match value {
            serde_json::Value::Object(map) => {
                for (name, value) in map {
                    let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    self.flatten(&key, value, into);
                }
            }
            value => {
                let source = self.figment.find_metadata(prefix).map_or("built-in default", |found| &found.name);
                into.push(Setting { key: prefix.into(), value: value.clone(), source: source.to_owned() });
            }
        }
    }
}

#[cfg(test)]
mod tests;
