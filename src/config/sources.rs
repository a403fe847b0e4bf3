//! The layers of the configuration, weakest first: built-in defaults, `config/default.toml` of the working directory,
//! the named file, a `.env` file, conventional and legacy environment names, `GREENROOM_SECTION__KEY`, the command line.
//! Each single variable is its own figment provider, so that the source of a value can be named exactly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::names::{ALIASES, Alias, LEGACY_POSTGRES, LEGACY_PREFIX, RESERVED, SECRETS};
use super::{ConfigError, dotenv};

/// Everything configuration is read from, gathered once so that tests can make up their own.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The process's environment.
    pub environment: Variables,
    /// Where relative files are looked for.
    pub working_dir: PathBuf,
    /// The file named by `--config`.
    pub file: Option<PathBuf>,
    /// Keys set on the command line, with the flag that set each.
    pub flags: Vec<(&'static str, String, &'static str)>,
}

impl Surroundings {
    /// The real ones. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            working_dir: std::env::current_dir().unwrap_or_default(),
            ..Self::default()
        }
    }

    /// A variable of the environment, when it is set and not blank.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().rev().find(|(known, _)| known == name)?;
        Some(found.1.trim()).filter(|value| !value.is_empty())
    }
}

/// Names and values, in order.
type Variables = Vec<(String, String)>;

/// The merged layers and what was odd about them.
pub(super) struct Layers {
    pub figment: Figment,
    pub notes: Vec<String>,
}

const BUILT_IN: &str = include_str!("../../config/default.toml");

pub(super) fn gather(around: &Surroundings) -> Result<Layers, ConfigError> {
    let mut notes = Vec::new();
    let mut figment = Figment::new().merge(Named { name: "built-in default".into(), inner: Toml::string(BUILT_IN) });
    let beside = around.working_dir.join("config/default.toml");
    if beside.is_file() {
        figment = figment.merge(file_layer(&beside)?);
    }
    let named = around.file.clone().or_else(|| around.variable("GREENROOM_CONFIG").map(PathBuf::from));
    if let Some(path) = named {
        figment = figment.merge(file_layer(&around.working_dir.join(path))?);
    }
    if let Some((path, variables)) = dotenv_file(around)? {
        let place = path.display().to_string();
        figment = merge_variables(figment, &variables, &place, &mut notes)?;
    }
    figment = merge_variables(figment, &around.environment, "environment", &mut notes)?;
    for (key, value, flag) in &around.flags {
        figment = figment.merge(One::text(key, value, format!("command line {flag}")));
    }
    Ok(Layers { figment, notes })
}

fn file_layer(path: &Path) -> Result<Named<figment::providers::Data<Toml>>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::File { path: path.to_owned(), why: error.to_string() })?;
    Ok(Named { name: format!("file {}", path.display()), inner: Toml::string(&text) })
}

/// The `.env` file: one that is named must be there; one in the working directory counts when it speaks of this service.
fn dotenv_file(around: &Surroundings) -> Result<Option<(PathBuf, Variables)>, ConfigError> {
    let named = ["GREENROOM_ENV_FILE", "LLM_BAWT_ENV_FILE", "LLM_BAWT_DOTENV_PATH"]
        .iter()
        .find_map(|name| around.variable(name));
    if let Some(path) = named {
        let path = around.working_dir.join(path);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError::File { path: path.clone(), why: error.to_string() })?;
        return Ok(Some((path, dotenv::parse(&text))));
    }
    let path = around.working_dir.join(".env");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
    let variables = dotenv::parse(&text);
    let ours = variables.iter().any(|(name, _)| name.starts_with("GREENROOM_") || name.starts_with(LEGACY_PREFIX));
    Ok(ours.then_some((path, variables)))
}

fn merge_variables(
    mut figment: Figment,
    variables: &[(String, String)],
    place: &str,
    notes: &mut Vec<String>,
) -> Result<Figment, ConfigError> {
    let set: BTreeMap<&str, &str> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.trim()))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    if let Some(url) = legacy_database_url(&set) {
        figment = figment.merge(One::text("store.database_url", &url, format!("{place} {LEGACY_POSTGRES}*")));
    }
    for Alias { name, key } in ALIASES {
        if let Some(value) = from_name_or_file(&set, name, SECRETS.contains(key))? {
            figment = figment.merge(One::text(key, &value, format!("{place} {name}")));
        }
    }
    for (name, value) in &set {
        let Some(rest) = name.strip_prefix("GREENROOM_") else {
            note_legacy(name, notes);
            continue;
        };
        if RESERVED.contains(name) {
            continue;
        }
        let Some((section, key)) = rest.split_once("__") else {
            notes.push(format!("{name} is no configuration variable; keys are named GREENROOM_SECTION__KEY"));
            continue;
        };
        let key = format!("{section}__{key}").to_lowercase().replace("__", ".");
        let (key, value) = match key.strip_suffix("_file") {
            Some(secret) if SECRETS.contains(&secret) => (secret.to_owned(), read_secret(name, value)?),
            _ => (key, (*value).to_owned()),
        };
        let source = format!("{place} {name}");
        figment = match parse_structure(&value) {
            Some(structure) => figment.merge(One::value(&key, structure, source)),
            None => figment.merge(One::text(&key, &value, source)),
        };
    }
    Ok(figment)
}

fn from_name_or_file(set: &BTreeMap<&str, &str>, name: &str, secret: bool) -> Result<Option<String>, ConfigError> {
    if let Some(value) = set.get(name) {
        return Ok(Some((*value).to_owned()));
    }
    let file = format!("{name}_FILE");
    match set.get(file.as_str()).filter(|_| secret) {
        Some(path) => read_secret(&file, path).map(Some),
        None => Ok(None),
    }
}

fn read_secret(name: &str, path: &str) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::SecretFile { name: name.to_owned(), why: error.to_string() })?;
    Ok(text.trim().to_owned())
}

/// Lists and tables in a variable are written as JSON.
fn parse_structure(text: &str) -> Option<Value> {
    if !(text.starts_with('[') || text.starts_with('{')) {
        return None;
    }
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    Value::serialize(json).ok()
}

/// A database counts as configured there when its password is not blank.
fn legacy_database_url(set: &BTreeMap<&str, &str>) -> Option<String> {
    let part = |name: &str, default: &str| {
        let value = set.get(format!("{LEGACY_POSTGRES}{name}").as_str()).copied().unwrap_or(default);
        utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
    };
    set.get(format!("{LEGACY_POSTGRES}PASSWORD").as_str())?;
    let host = set.get(format!("{LEGACY_POSTGRES}HOST").as_str()).copied().unwrap_or("localhost");
    let port = set.get(format!("{LEGACY_POSTGRES}PORT").as_str()).copied().unwrap_or("5432");
    let (user, password, database) = (part("USER", "llm_bawt"), part("PASSWORD", ""), part("DATABASE", "llm_bawt"));
    Some(format!("postgres://{user}:{password}@{host}:{port}/{database}"))
}

fn note_legacy(name: &str, notes: &mut Vec<String>) {
    let elsewhere = ["ENV_FILE", "DOTENV_PATH"];
    let Some(rest) = name.strip_prefix(LEGACY_PREFIX) else { return };
    let known = ALIASES.iter().any(|alias| alias.name == name)
        || name.starts_with(LEGACY_POSTGRES)
        || elsewhere.contains(&rest)
        || ALIASES.iter().any(|alias| name.strip_suffix("_FILE") == Some(alias.name));
    if !known {
        notes.push(format!("{name} has no effect in this version"));
    }
}

/// One key from one place.
struct One {
    source: String,
    dict: Dict,
}

impl One {
    fn text(key: &str, text: &str, source: String) -> Self {
        Self::value(key, Value::from(text), source)
    }

    fn value(key: &str, value: Value, source: String) -> Self {
        let mut parts = key.rsplit('.');
        let mut dict = Dict::new();
        dict.insert(parts.next().unwrap_or_default().to_owned(), value);
        for part in parts {
            dict = Dict::from([(part.to_owned(), Value::from(dict))]);
        }
        Self { source, dict }
    }
}

impl Provider for One {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone()).interpolater(|_, keys| keys.join("."))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// A provider under a name of our own.
struct Named<P> {
    name: String,
    inner: P,
}

impl<P: Provider> Provider for Named<P> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone()).interpolater(|_, keys| keys.join("."))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        self.inner.data()
    }
}
