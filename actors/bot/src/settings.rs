//! Reading and writing runtime settings (http-api §9.1).
//!
//! Invariant: a stored value of a known key fits its schema; a batch is applied whole or not at all, and the directory
//! shows a write when its answer is given.

use greenroom_protocol::BotSlug;
use greenroom_protocol::fields::{Complaint, Fields};
use jiff::Timestamp;
use serde_json::Value;

use crate::bots::{Bots, now};
use crate::error::BotsError;
use crate::layers::Setting;
use crate::profile::holds_nul;
use crate::repository::{SettingFilter, SettingRepository, SettingRow};
use crate::tunable::{KEY_MAX, ScopeType, checked, tunable};

/// Most items of a batch.
pub const BATCH_MAX: usize = 500;
/// Most settings of one place that are listed.
const PLACE_MAX: i64 = 10_000;
/// Largest stored value, in bytes of JSON.
pub const VALUE_MAX: usize = 256 * 1024;

/// A value to be set, as a client sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingDraft {
    /// Whom it concerns.
    pub scope_type: ScopeType,
    /// The bot, when one is named.
    pub scope_id: Option<String>,
    /// The key.
    pub key: String,
    /// The value, in canonical form.
    pub value: Value,
}

/// A setting's place after normalisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingPlace {
    /// Whom it concerns.
    pub scope_type: ScopeType,
    /// `*`, or the bot's slug.
    pub scope_id: String,
}

/// What a write did.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The rows as they are stored now.
    pub rows: Vec<SettingRow>,
    /// Keys among them that this service does not know.
    pub unknown_keys: Vec<String>,
}

/// What a deletion did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Where.
    pub place: SettingPlace,
    /// The key.
    pub key: String,
    /// Whether there was a value.
    pub deleted: bool,
}

/// One page of settings.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingPage {
    /// The page, by scope and key.
    pub rows: Vec<SettingRow>,
    /// How many pass the filter.
    pub total_count: i64,
}

impl SettingDraft {
    /// Reads one item.
    ///
    /// # Errors
    /// Every complaint about it.
    pub fn read(body: &Value) -> Result<Self, Vec<Complaint>> {
        let mut fields = Fields::of("body", body)?;
        let word = fields.required_text("scope_type", 16);
        let scope_type = ScopeType::parse(&word);
        if scope_type.is_none() && !word.is_empty() {
            fields.complain("literal_error", "scope_type", "Input should be 'global' or 'bot'");
        }
        let scope_id = fields.text_max("scope_id", 128).some();
        let key = fields.required_text("key", KEY_MAX).trim().to_owned();
        if key.chars().any(char::is_control) {
            fields.complain("value_error", "key", "A key must not contain control characters");
        }
        let value = match fields.raw("value") {
            None => {
                fields.missing("value");
                Value::Null
            }
            Some(value) if value.to_string().len() > VALUE_MAX => {
                fields.complain("too_long", "value", format!("A value has at most {VALUE_MAX} bytes"));
                Value::Null
            }
            Some(value) if holds_nul(value) => {
                fields.complain("value_error", "value", "Text must not contain NUL characters");
                Value::Null
            }
            Some(value) => match checked(&key, value) {
                Ok(value) => value,
                Err(complaint) => {
                    fields.add([complaint]);
                    Value::Null
                }
            },
        };
        if scope_type == Some(ScopeType::Bot) && tunable(&key).is_some_and(|known| known.global_only) {
            fields.complain("value_error", "key", format!("'{key}' can only be set globally"));
        }
        fields.finish()?;
        // `finish` has refused everything without a scope.
        let scope_type = scope_type.unwrap_or(ScopeType::Bot);
        Ok(Self { scope_type, scope_id, key, value })
    }

    /// Reads a batch: `{items: […]}`.
    ///
    /// # Errors
    /// Every complaint, with the item's place.
    pub fn read_batch(body: &Value) -> Result<Vec<Self>, Vec<Complaint>> {
        let mut fields = Fields::of("body", body)?;
        let items = match fields.list("items").some() {
            Some(items) => items,
            None => {
                match fields.raw("items") {
                    None => fields.missing("items"),
                    Some(Value::Null) => fields.complain("list_type", "items", "Input should be a valid list"),
                    Some(_) => {}
                }
                return Err(fields.finish().err().unwrap_or_default());
            }
        };
        if items.len() > BATCH_MAX {
            fields.complain("too_long", "items", format!("A batch has at most {BATCH_MAX} items"));
            return Err(fields.finish().err().unwrap_or_default());
        }
        let mut drafts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match Self::read(item) {
                Ok(draft) => drafts.push(draft),
                Err(complaints) => {
                    let place = [Value::from("items"), Value::from(index)];
                    fields.add(complaints.into_iter().map(|complaint| complaint.under(&place)));
                }
            }
        }
        fields.finish()?;
        Ok(drafts)
    }
}

impl Bots {
    /// The place that a client means: `scope_type` in any case, the default bot when a bot scope names none.
    ///
    /// # Errors
    /// [`BotsError::Refused`] for a scope that is none.
    pub fn setting_place(&self, scope_type: &str, scope_id: Option<&str>) -> Result<SettingPlace, BotsError> {
        let scope_type = ScopeType::parse(&scope_type.trim().to_lowercase())
            .ok_or_else(|| BotsError::Refused("scope_type must be 'global' or 'bot'".into()))?;
        self.place(scope_type, scope_id)
    }

    fn place(&self, scope_type: ScopeType, scope_id: Option<&str>) -> Result<SettingPlace, BotsError> {
        let needed = || BotsError::Refused("scope_id is required for bot scope".into());
        let scope_id = match (scope_type, scope_id.map(|id| id.trim().to_lowercase())) {
            (ScopeType::Global, _) => "*".to_owned(),
            (ScopeType::Bot, Some(id)) if id.is_empty() || id.contains('\0') => return Err(needed()),
            (ScopeType::Bot, Some(id)) => id,
            (ScopeType::Bot, None) => self.directory().default_bot().ok_or_else(needed)?.slug().to_string(),
        };
        Ok(SettingPlace { scope_type, scope_id })
    }

    /// The stored settings of one place, by key.
    ///
    /// # Errors
    /// The database's error.
    pub async fn settings_at(&self, place: &SettingPlace) -> Result<Vec<SettingRow>, BotsError> {
        let filter = SettingFilter {
            scope_type: Some(place.scope_type),
            scope_id: Some(place.scope_id.clone()),
            ..SettingFilter::default()
        };
        Ok(self.settings_page(&filter, PLACE_MAX, 0).await?.rows)
    }

    /// One page of the stored settings.
    ///
    /// # Errors
    /// The database's error.
    pub async fn settings_page(
        &self,
        filter: &SettingFilter,
        limit: i64,
        offset: i64,
    ) -> Result<SettingPage, BotsError> {
        if [&filter.scope_id, &filter.key, &filter.key_prefix].into_iter().flatten().any(|text| text.contains('\0')) {
            return Ok(SettingPage { rows: Vec::new(), total_count: 0 });
        }
        let db = self.inner.store.connection().await?;
        let (rows, total_count) = SettingRepository::page_on(&db, filter, limit, offset).await?;
        Ok(SettingPage { rows, total_count })
    }

    /// The effective settings of one place with their sources: of the bot, or of the service as a whole.
    #[must_use]
    pub fn effective_settings(&self, place: &SettingPlace) -> Vec<Setting> {
        let directory = self.directory();
        match place.scope_type {
            ScopeType::Global => directory.globals().iter().cloned().collect(),
            ScopeType::Bot => {
                let bot = directory.get(&BotSlug::from_stored(place.scope_id.as_str()));
                bot.map(|bot| bot.settings.iter().cloned().collect()).unwrap_or_default()
            }
        }
    }

    /// Sets values, all of them or none.
    ///
    /// # Errors
    /// [`BotsError::UnknownBot`] for a bot that does not exist, [`BotsError::Refused`] for a bad scope, the database.
    pub async fn put_settings(&self, drafts: Vec<SettingDraft>) -> Result<Applied, BotsError> {
        let at: Timestamp = now();
        let mut rows = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let place = self.place(draft.scope_type, draft.scope_id.as_deref())?;
            let SettingPlace { scope_type, scope_id } = place;
            if scope_type == ScopeType::Bot && self.directory().named(&scope_id).is_none() {
                return Err(BotsError::UnknownBot(scope_id));
            }
            rows.push(SettingRow { scope_type, scope_id, key: draft.key, value: draft.value, updated_at: at });
        }
        let mut unknown_keys: Vec<String> =
            rows.iter().filter(|row| tunable(&row.key).is_none()).map(|row| row.key.clone()).collect();
        unknown_keys.sort_unstable();
        unknown_keys.dedup();
        if rows.is_empty() {
            return Ok(Applied { rows, unknown_keys });
        }
        self.complete(move |inner| async move {
            let _one_at_a_time = inner.writing().await;
            let mut db = inner.store.connection().await?;
            let transaction = inner.transaction(&mut db).await?;
            for row in &rows {
                SettingRepository::put_on(&transaction, row).await?;
            }
            inner.commit(transaction).await?;
            Ok(Applied { rows, unknown_keys })
        })
        .await
    }

    /// Takes a value away.
    ///
    /// # Errors
    /// The database's error.
    pub async fn delete_setting(&self, place: SettingPlace, key: &str) -> Result<Removed, BotsError> {
        let key = key.trim().to_owned();
        if key.contains('\0') {
            return Ok(Removed { place, key, deleted: false });
        }
        self.complete(move |inner| async move {
            let _one_at_a_time = inner.writing().await;
            let mut db = inner.store.connection().await?;
            let transaction = inner.transaction(&mut db).await?;
            let deleted = SettingRepository::delete_on(&transaction, place.scope_type, &place.scope_id, &key).await?;
            if deleted {
                inner.commit(transaction).await?;
            }
            Ok(Removed { place, key, deleted })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_is_typed_by_its_key() {
        let draft = SettingDraft::read(&json!({
            "scope_type": "bot", "scope_id": "nova", "key": " temperature ", "value": "0.5",
        }))
        .unwrap();
        assert_eq!((draft.key.as_str(), draft.value), ("temperature", json!(0.5)));
        let own = SettingDraft::read(&json!({"scope_type": "global", "key": "mine", "value": null})).unwrap();
        assert_eq!(own.value, Value::Null);
    }

    #[test]
    fn faults_are_named_with_their_place() {
        let places = |body: Value| -> Vec<String> {
            let complaints = SettingDraft::read_batch(&body).unwrap_err();
            let place = |complaint: &Complaint| {
                complaint.loc.iter().map(|part| part.to_string().replace('"', "")).collect::<Vec<_>>().join(".")
            };
            complaints.iter().map(place).collect()
        };
        assert_eq!(
            places(json!({"items": [
                {"scope_type": "bot", "key": "top_p", "value": 0.5},
                {"scope_type": "planet", "key": "", "value": 1},
                {"scope_type": "global", "key": "temperature", "value": 7},
                {"scope_type": "bot", "key": "profile_maintenance_interval_minutes", "value": 7},
                {"scope_type": "bot", "key": "k".repeat(129)},
                5,
            ]})),
            [
                "body.items.1.scope_type",
                "body.items.1.key",
                "body.items.2.value",
                "body.items.3.key",
                "body.items.4.key",
                "body.items.4.value",
                "body.items.5",
            ]
        );
        assert_eq!(places(json!({})), ["body.items"]);
        assert_eq!(places(json!({"items": null})), ["body.items"]);
        assert_eq!(places(json!({"items": vec![0; BATCH_MAX + 1]})), ["body.items"]);
        assert_eq!(SettingDraft::read_batch(&json!({"items": []})), Ok(Vec::new()));
    }
}
