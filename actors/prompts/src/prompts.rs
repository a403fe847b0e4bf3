//! The room's handle: rendering for the other rooms, editing for the front door.
//!
//! Invariant: an edit and its version are one transaction, and a version's number is never given out twice.

use std::collections::HashSet;
use std::sync::Arc;

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use greenroom_protocol::fields::Field;
use greenroom_store::Store;
use jiff::Timestamp;

use crate::cache::{Cache, Resolved};
use crate::error::{Flaw, PromptError};
use crate::language::Syntax;
use crate::registry::{DEFINITIONS, Definition, definition};
use crate::repository::PromptRepository;
use crate::template::{Draft, Key, Scope, Source, Stored, Template, Version, about_body};
use crate::validate::{Trial, Validation, attempt, insert, judge};

/// Handle to the prompts.
#[derive(Clone)]
pub struct Prompts {
    store: Store,
    cache: Arc<Cache>,
}

impl std::fmt::Debug for Prompts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompts").finish_non_exhaustive()
    }
}

/// A prompt ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Where it came from.
    pub source: Source,
    /// The version of the edit, when it is one.
    pub version: Option<i32>,
}

/// What to list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListFilter {
    /// Only of this category.
    pub category: Option<String>,
    /// For whom.
    pub scope: Scope,
    /// Built-in prompts too, as they resolve for the scope; otherwise only the rows of exactly this scope.
    pub include_defaults: bool,
}

/// What a reset did.
#[derive(Debug, Clone, PartialEq)]
pub struct Reset {
    /// Whether there was an edit.
    pub deleted: bool,
    /// What resolves now.
    pub template: Option<Template>,
}

impl Prompts {
    /// The prompts of a database.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, cache: Arc::new(Cache::new()) }
    }

    /// Resolves a key for a bot and puts values in. Every value is data: it can neither leave its place nor pose as
    /// instructions. An edit that cannot be rendered gives way to the built-in text.
    ///
    /// # Errors
    /// [`PromptError::NotFound`] for an unknown key, [`PromptError::Broken`], [`PromptError::Store`].
    pub async fn render(
        &self,
        key: &str,
        bot: Option<&BotSlug>,
        variables: &[(&str, &str)],
    ) -> Result<Rendered, PromptError> {
        let known = definition(key);
        let template = self.resolved(key, bot).await?.ok_or(PromptError::NotFound)?;
        match fill(&template.body, known, variables) {
            Ok(text) => Ok(Rendered { text, source: template.source, version: template.version }),
            Err(flaw) => {
                let Some(known) = known.filter(|_| template.source == Source::DbOverride) else {
                    return Err(PromptError::broken(key, &flaw));
                };
                let scope = template.scope_id.as_str();
                tracing::warn!(key, scope, %flaw, "an edited prompt cannot be rendered, using the built-in one");
                let text = fill(known.body, Some(known), variables).map_err(|flaw| PromptError::broken(key, &flaw))?;
                Ok(Rendered { text, source: Source::CodeDefault, version: None })
            }
        }
    }

    async fn resolved(&self, key: &str, bot: Option<&BotSlug>) -> Result<Resolved, PromptError> {
        let writes = match self.cache.get(key, bot) {
            Ok(resolved) => return Ok(resolved),
            Err(writes) => writes,
        };
        match self.winning(key, bot).await {
            Ok(template) => {
                let resolved = template.map(Arc::new);
                self.cache.keep(key, bot, resolved.clone(), writes);
                Ok(resolved)
            }
            Err(error) => self.cache.stale(key, bot).ok_or(error),
        }
    }

    async fn winning(&self, key: &str, bot: Option<&BotSlug>) -> Result<Option<Template>, PromptError> {
        let db = self.store.connection().await?;
        let stored = PromptRepository::winning_on(&db, key, bot).await?;
        Ok(Template::of(stored.as_ref(), definition(key)))
    }

    /// What a key resolves to in a scope, read now.
    ///
    /// # Errors
    /// [`PromptError::BadKey`], [`PromptError::NotFound`], [`PromptError::Store`].
    pub async fn get(&self, key: &str, scope: &Scope) -> Result<Template, PromptError> {
        let key = Key::parse(key)?;
        self.winning(key.as_str(), scope.bot()).await?.ok_or(PromptError::NotFound)
    }

    /// The stored row of exactly this scope.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn exact(&self, key: &str, scope: &Scope) -> Result<Template, PromptError> {
        let key = Key::parse(key)?;
        let db = self.store.connection().await?;
        let stored = PromptRepository::exact_on(&db, key.as_str(), scope).await?.ok_or(PromptError::NotFound)?;
        Template::of(Some(&stored), definition(key.as_str())).ok_or(PromptError::NotFound)
    }

    /// The prompts of a scope: built-in ones by key as they resolve, then the others.
    ///
    /// # Errors
    /// [`PromptError::Store`].
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<Template>, PromptError> {
        let db = self.store.connection().await?;
        let bot = filter.scope.bot();
        let global = filter.include_defaults || bot.is_none();
        let rows = PromptRepository::list_on(&db, global, bot).await?;
        let mut shown = Vec::new();
        if filter.include_defaults {
            for known in DEFINITIONS {
                // The bot's rows come first.
                let stored = rows.iter().find(|row| row.key == known.key);
                shown.extend(Template::of(stored, Some(known)));
            }
            let built_in: HashSet<&str> = DEFINITIONS.iter().map(|known| known.key).collect();
            let others = rows.iter().filter(|row| !built_in.contains(row.key.as_str()));
            let (global, own): (Vec<&Stored>, Vec<&Stored>) = others.partition(|row| row.scope == Scope::Global);
            shown.extend(global.into_iter().chain(own).filter_map(|row| Template::of(Some(row), None)));
        } else {
            shown.extend(rows.iter().filter_map(|row| Template::of(Some(row), definition(&row.key))));
        }
        shown.retain(|template| filter.category.as_ref().is_none_or(|wanted| template.category == *wanted));
        Ok(shown)
    }

    /// The versions of a prompt, newest first; empty for a key without any.
    ///
    /// # Errors
    /// [`PromptError::BadKey`], [`PromptError::Store`].
    pub async fn versions(&self, key: &str, scope: &Scope) -> Result<Vec<Version>, PromptError> {
        let key = Key::parse(key)?;
        let db = self.store.connection().await?;
        PromptRepository::versions_on(&db, key.as_str(), scope).await
    }

    /// The texts that ship with the program, untouched by edits. They are never copied into the database.
    #[must_use]
    pub fn defaults() -> Vec<Template> {
        DEFINITIONS.iter().filter_map(|known| Template::of(None, Some(known))).collect()
    }

    /// Stores an edit. A new text appends a version; an edit of other fields does not.
    ///
    /// # Errors
    /// [`PromptError::NotValid`], [`PromptError::Invalid`] for a text that is no template, [`PromptError::NotFound`] for an
    /// edit without a text of a prompt that has none.
    pub async fn save(&self, key: &str, draft: Draft) -> Result<Template, PromptError> {
        let key = Key::parse(key)?;
        let known = definition(key.as_str());
        let now = Timestamp::now();
        let mut db = self.store.connection().await?;
        let transaction = db.transaction().await?;
        PromptRepository::lock_on(&transaction, key.as_str(), &draft.scope).await?;
        let before = PromptRepository::exact_on(&transaction, key.as_str(), &draft.scope).await?;
        let mut row = before.unwrap_or_else(|| Stored {
            key: key.as_str().to_owned(),
            scope: draft.scope.clone(),
            title: None,
            category: None,
            format: None,
            body: None,
            required_vars: Vec::new(),
            metadata: serde_json::Map::new(),
            updated_at: now,
            version: None,
        });
        let text = draft.body.some();
        draft.title.apply(&mut row.title);
        draft.category.apply(&mut row.category);
        draft.format.apply(&mut row.format);
        if !draft.required_vars.is_absent() {
            row.required_vars = draft.required_vars.some().unwrap_or_default();
        }
        match draft.metadata {
            Field::Absent => {}
            metadata => row.metadata = metadata.some().unwrap_or_default(),
        }
        row.updated_at = now;
        if let Some(text) = &text {
            row.body = Some(text.clone());
        }
        let body = row.body.as_deref().or_else(|| known.map(|known| known.body)).ok_or(PromptError::NotFound)?;
        let (judgement, syntax) = judge(body, &row.required_vars, known);
        if let Err(error) = syntax {
            return Err(about_body(error.to_string()));
        }
        if !judgement.valid {
            return Err(PromptError::NotValid(Box::new(judgement)));
        }
        PromptRepository::put_on(&transaction, &row, draft.updated_by.as_deref()).await?;
        if let Some(text) = &text {
            let (note, by) = (draft.change_note.as_deref(), draft.updated_by.as_deref());
            let number =
                PromptRepository::append_on(&transaction, key.as_str(), &row.scope, text, note, by, now).await?;
            row.version = Some(number);
        }
        transaction.commit().await?;
        self.cache.clear();
        Template::of(Some(&row), known).ok_or(PromptError::NotFound)
    }

    /// Judges a text for a key without storing it; `preview` also renders it whether or not it is valid.
    ///
    /// # Errors
    /// [`PromptError::NotFound`] when the trial has no text and nothing resolves, [`PromptError::Store`].
    pub async fn validate(
        &self,
        key: &str,
        scope: &Scope,
        trial: &Trial,
        preview: bool,
    ) -> Result<Validation, PromptError> {
        let body = match &trial.body {
            Some(body) => {
                Key::parse(key)?;
                body.clone()
            }
            None => self.get(key, scope).await?.body,
        };
        Ok(attempt(&body, trial, definition(key), preview))
    }

    /// Takes the edit of a scope away; its versions stay, and one more tells of the reset.
    ///
    /// # Errors
    /// [`PromptError::BadKey`], [`PromptError::Store`].
    pub async fn reset(&self, key: &str, scope: &Scope, by: Option<&str>) -> Result<Reset, PromptError> {
        let key = Key::parse(key)?;
        let known = definition(key.as_str());
        let mut db = self.store.connection().await?;
        let transaction = db.transaction().await?;
        PromptRepository::lock_on(&transaction, key.as_str(), scope).await?;
        let deleted = PromptRepository::delete_on(&transaction, key.as_str(), scope).await?;
        let stored = PromptRepository::winning_on(&transaction, key.as_str(), scope.bot()).await?;
        let template = Template::of(stored.as_ref(), known);
        if let Some(gone) = &deleted {
            let (body, note) = match &template {
                Some(now) if now.source == Source::CodeDefault => (Some(&now.body), "reset to the built-in text"),
                Some(now) => (Some(&now.body), "reset to the global text"),
                None => (gone.body.as_ref(), "deleted"),
            };
            if let Some(body) = body {
                let now = Timestamp::now();
                PromptRepository::append_on(&transaction, key.as_str(), scope, body, Some(note), by, now).await?;
            }
        }
        transaction.commit().await?;
        self.cache.clear();
        Ok(Reset { deleted: deleted.is_some(), template })
    }

    /// Makes an earlier version the text again, as a new version.
    ///
    /// # Errors
    /// As [`Self::save`]; [`PromptError::NotFound`] for an unknown number.
    pub async fn restore(
        &self,
        key: &str,
        scope: &Scope,
        number: i32,
        by: Option<&str>,
    ) -> Result<Template, PromptError> {
        let key = Key::parse(key)?;
        let version = {
            let db = self.store.connection().await?;
            PromptRepository::version_on(&db, key.as_str(), scope, number).await?.ok_or(PromptError::NotFound)?
        };
        let mut draft = Draft::of_body(scope.clone(), version.body);
        draft.updated_by = by.map(str::to_owned);
        draft.change_note = Some(format!("version {number} restored"));
        self.save(key.as_str(), draft).await
    }

    /// Removes a bot's prompts inside the caller's transaction; gives the rows removed by table. When the transaction is
    /// through, call [`Self::purged`].
    ///
    /// # Errors
    /// [`PromptError::Store`].
    pub async fn purge(db: &impl GenericClient, bot: &BotSlug) -> Result<Vec<(&'static str, u64)>, PromptError> {
        let (rows, versions) = PromptRepository::purge_on(db, bot).await?;
        Ok(vec![("prompt_template_versions", versions), ("prompt_templates", rows)])
    }

    /// Prompts were removed outside of this handle: everything is read anew.
    pub fn purged(&self) {
        self.cache.clear();
    }
}

fn fill(body: &str, known: Option<&Definition>, variables: &[(&str, &str)]) -> Result<String, Flaw> {
    let value = |name: &str| {
        let given = variables.iter().find(|(given, _)| *given == name);
        given.map(|(_, text)| insert(known, name, text))
    };
    Ok(Syntax::parse(body)?.render(value)?)
}
