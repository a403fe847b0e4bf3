//! A model in a file, as a definition names it. Whoever has a [`LocalModel`] knows that its file was there, whole and of a
//! kind that can be run when the catalogue was loaded; a file that is replaced makes another model of it.

use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use greenroom_gguf::{Facts, GgufError, LoadOptions, inspect, plan_context};

use super::{LocalSettings, QUEUE};
use crate::definition::ModelDefinition;

/// A file and how it is to be loaded.
#[derive(Debug)]
pub(crate) struct LocalModel {
    path: PathBuf,
    modified: Option<SystemTime>,
    facts: Facts,
    /// Tokens of context that are wished for.
    wish: u32,
    chat_format: Option<String>,
    /// Tokens that fit it: as planned, then as loaded.
    window: AtomicU32,
}

impl PartialEq for LocalModel {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.modified, self.facts.file_bytes, self.wish, &self.chat_format)
            == (&other.path, other.modified, other.facts.file_bytes, other.wish, &other.chat_format)
    }
}

impl LocalModel {
    /// Looks at the file that a definition names. Reads from the disk: not for an async task.
    ///
    /// # Errors
    /// Why the model cannot be used, for people; folders are not named.
    pub(crate) fn survey(definition: &ModelDefinition, settings: &LocalSettings) -> Result<Self, String> {
        let path = path_of(definition, &settings.models_dir)?;
        let facts = inspect(&path).map_err(|error| words(&path, &error))?;
        let modified = path.metadata().and_then(|data| data.modified()).ok();
        let options = &definition.options;
        let wish = options.context_window.unwrap_or(u64::from(settings.context));
        let wish = wish.min(options.native_context_limit.unwrap_or(u64::MAX));
        let wish = u32::try_from(wish).unwrap_or(u32::MAX);
        // What the machine has to spare is known when the model is loaded; what the operator allows is known now.
        let window = plan_context(&facts, Some(wish), settings.memory_limit).map_err(|error| words(&path, &error))?;
        let chat_format = options.chat_format.clone();
        Ok(Self { path, modified, facts, wish, chat_format, window: AtomicU32::new(window) })
    }

    /// The file's name without its ending.
    pub(crate) fn name(&self) -> &str {
        self.path.file_stem().and_then(|name| name.to_str()).unwrap_or("model")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Tokens that fit it: as it was loaded last, before that as it is planned.
    pub(crate) fn window(&self) -> u32 {
        self.window.load(Ordering::Relaxed)
    }

    /// Publishes the context that there really is.
    pub(super) fn loaded_with(&self, context: u32) {
        self.window.store(context, Ordering::Relaxed);
    }

    /// Bytes that it takes with so much context.
    pub(super) fn bytes(&self, context: u32) -> u64 {
        let cache = self.facts.kv_bytes_per_token.saturating_mul(u64::from(context));
        self.facts.file_bytes.saturating_add(cache)
    }

    pub(super) fn load_options(&self, threads: usize, memory: Option<u64>) -> LoadOptions {
        LoadOptions {
            threads: threads.max(1),
            context: Some(self.wish),
            memory,
            chat_format: self.chat_format.clone(),
            queue: QUEUE,
        }
    }
}

/// The file of a definition: below the models' folder, or anywhere when its name is absolute.
fn path_of(definition: &ModelDefinition, models_dir: &Path) -> Result<PathBuf, String> {
    let (Some(repo), Some(file)) = (&definition.repo_id, &definition.filename) else {
        return Err("repo_id and filename are needed".to_owned());
    };
    if Path::new(file).is_absolute() {
        return Ok(file.into());
    }
    let below = Path::new(repo).join(file);
    if below.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(models_dir.join(below))
    } else {
        Err("repo_id and filename must stay inside the models' folder".to_owned())
    }
}

/// What is wrong with a file, without the folders above it.
pub(super) fn words(path: &Path, error: &GgufError) -> String {
    match error {
        GgufError::Missing(_) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!("there is no file '{name}' in its place below the models' folder")
        }
        other => other.to_string(),
    }
}
