//! What each kind of task may be told: the payload is checked when the task is handed in, so that no worker meets a surprise.
//! Unknown members are dropped.

use greenroom_protocol::fields::{Complaint, Field, Fields};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::task::TaskType;

const MODEL_MAX: usize = 128;
const TEXT_MAX: usize = 2000;
const TEXTS_MAX: usize = 2048;
const MESSAGES_MAX: usize = 5000;
const WORDS_MAX: usize = 64;

/// The payload with its defaults, or every complaint about it.
pub(crate) fn checked(task_type: TaskType, payload: &Value) -> Result<Value, Vec<Complaint>> {
    let mut reader = Reader { fields: Fields::of("payload", payload)?, out: Map::new() };
    match task_type {
        TaskType::ContextCompaction => {
            reader.messages();
            reader.number("target_token_count", 1, 2_000_000, Some(4000));
            reader.text("model", MODEL_MAX);
        }
        TaskType::EmbeddingGeneration => {
            reader.strings("texts", TEXTS_MAX, usize::MAX);
            reader.ids("memory_ids");
            // Instead of single ones: all vectors of the bot, or those that are missing.
            reader.word("mode", &["missing", "all"]);
            let given = |name: &&str| reader.fields.raw(name).is_some_and(|value| !value.is_null());
            if !["texts", "memory_ids", "mode"].iter().any(given) {
                reader.fields.complain("missing", "texts", "One of texts, memory_ids and mode is required");
            }
        }
        TaskType::MemoryConsolidation => {
            reader.flag("dry_run", false);
            reader.fraction("similarity_threshold");
            reader.number("max_clusters", 1, 1000, Some(50));
            reader.text("model", MODEL_MAX);
            reader.given_flag("preview_llm");
        }
        TaskType::MeaningUpdate => {
            reader.id("memory_id");
            for name in ["intent", "stakes", "reason"] {
                reader.text(name, TEXT_MAX);
            }
            reader.fraction("emotional_charge");
            for name in ["recurrence_keywords", "updated_tags"] {
                reader.strings(name, WORDS_MAX, 100);
            }
        }
        TaskType::MemoryMaintenance => {
            let flags = [
                ("run_consolidation", true),
                ("run_recurrence_detection", true),
                ("run_decay_pruning", false),
                ("run_orphan_cleanup", false),
                ("dry_run", false),
            ];
            for (name, default) in flags {
                reader.flag(name, default);
            }
        }
        TaskType::ProfileMaintenance => {
            reader.text("entity_id", 100);
            reader.entity_type();
            reader.flag("dry_run", false);
            reader.text("model", MODEL_MAX);
        }
        TaskType::HistorySummarization => {
            reader.flag("use_heuristic_fallback", true);
            reader.number("max_tokens_per_chunk", 200, 200_000, Some(4000));
            reader.text("model", MODEL_MAX);
            // What somebody asked for through the history's own routes, to be done later.
            reader.given_flag("use_heuristic");
            reader.given_flag("rebuild");
            reader.given_flag("purge_existing");
            reader.number("sessions", 0, 2000, None);
            reader.seconds("start_ts");
            reader.seconds("end_ts");
        }
        TaskType::MemoryExtraction => {
            reader.number("batch_size", 1, 1000, Some(50));
            reader.text("model", MODEL_MAX);
        }
    }
    reader.fields.finish().map_err(|complaints| {
        // They stand inside the request's body.
        complaints.into_iter().map(within_body).collect::<Vec<_>>()
    })?;
    Ok(Value::Object(reader.out))
}

fn within_body(mut complaint: Complaint) -> Complaint {
    complaint.loc.insert(0, "body".into());
    complaint
}

struct Reader<'a> {
    fields: Fields<'a>,
    out: Map<String, Value>,
}

impl Reader<'_> {
    fn keep(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.out.insert(name.to_owned(), value);
        }
    }

    fn flag(&mut self, name: &str, default: bool) {
        let flag = self.fields.boolean(name).some().unwrap_or(default);
        self.keep(name, Some(flag.into()));
    }

    /// A flag that is kept only when it was given.
    fn given_flag(&mut self, name: &str) {
        let flag = self.fields.boolean(name).some();
        self.keep(name, flag.map(Value::from));
    }

    /// Unix seconds up to the year 9999.
    fn seconds(&mut self, name: &str) {
        let number = self.fields.number(name, 0.0, 253_402_300_799.0).some();
        self.keep(name, number.map(Value::from));
    }

    /// One of some words.
    fn word(&mut self, name: &str, words: &[&str]) {
        let word = self.fields.text_max(name, 64).some();
        if word.as_deref().is_some_and(|word| !words.contains(&word)) {
            self.fields.complain("literal_error", name, format!("Input should be one of: {}", words.join(", ")));
        }
        self.keep(name, word.map(Value::from));
    }

    fn number(&mut self, name: &str, min: i64, max: i64, default: Option<i64>) {
        let number = self.fields.integer(name, min, max).some().or(default);
        self.keep(name, number.map(Value::from));
    }

    fn fraction(&mut self, name: &str) {
        let number = self.fields.number(name, 0.0, 1.0).some();
        self.keep(name, number.map(Value::from));
    }

    fn text(&mut self, name: &str, max: usize) {
        let text = self.fields.text_max(name, max).some();
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            self.fields.complain("value_error", name, "Text must not contain NUL characters");
        }
        self.keep(name, text.map(Value::from));
    }

    fn entity_type(&mut self) {
        let word = self.fields.text_max("entity_type", 16).some().unwrap_or_else(|| "user".into()).to_lowercase();
        if word != "user" && word != "bot" {
            self.fields.complain("literal_error", "entity_type", "Input should be 'user' or 'bot'");
        }
        self.keep("entity_type", Some(word.into()));
    }

    fn id(&mut self, name: &str) {
        let text = self.fields.required_text(name, 64);
        match Uuid::parse_str(text.trim()) {
            Ok(id) => self.keep(name, Some(id.to_string().into())),
            Err(_) if text.is_empty() => {}
            Err(_) => self.fields.complain("uuid_parsing", name, "Input should be a valid UUID"),
        }
    }

    fn strings(&mut self, name: &str, most: usize, longest: usize) {
        let list = match self.fields.list(name) {
            Field::Value(list) => list,
            Field::Absent | Field::Null => return,
        };
        let fits = |item: &Value| {
            let text = item.as_str()?;
            (text.chars().count() <= longest && !text.contains('\0')).then(|| Value::from(text))
        };
        match list.iter().map(fits).collect::<Option<Vec<Value>>>() {
            Some(items) if items.len() <= most => self.keep(name, Some(items.into())),
            Some(_) => self.fields.complain("too_long", name, format!("At most {most} items")),
            None => self.fields.complain("string_type", name, "Items should be texts that are not too long"),
        }
    }

    fn ids(&mut self, name: &str) {
        let list = match self.fields.list(name) {
            Field::Value(list) => list,
            Field::Absent | Field::Null => return,
        };
        let id = |item: &Value| Uuid::parse_str(item.as_str()?.trim()).ok().map(|id| Value::from(id.to_string()));
        match list.iter().map(id).collect::<Option<Vec<Value>>>() {
            Some(ids) if ids.len() <= TEXTS_MAX => self.keep(name, Some(ids.into())),
            Some(_) => self.fields.complain("too_long", name, format!("At most {TEXTS_MAX} items")),
            None => self.fields.complain("uuid_parsing", name, "Items should be valid UUIDs"),
        }
    }

    fn messages(&mut self) {
        let list = match self.fields.list("messages") {
            Field::Value(list) => list,
            Field::Absent | Field::Null => {
                self.fields.missing("messages");
                return;
            }
        };
        let message = |item: &Value| {
            let (role, content) = (item.get("role")?.as_str()?, item.get("content")?.as_str()?);
            let known = ["user", "assistant", "system", "tool"].contains(&role);
            (known && !content.contains('\0')).then(|| json!({"role": role, "content": content}))
        };
        match list.iter().map(message).collect::<Option<Vec<Value>>>() {
            Some(messages) if (1..=MESSAGES_MAX).contains(&messages.len()) => {
                self.keep("messages", Some(messages.into()));
            }
            Some(_) => {
                self.fields.complain("too_long", "messages", format!("1 to {MESSAGES_MAX} messages"));
            }
            None => self.fields.complain("value_error", "messages", "Messages have a role and a text as content"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_and_strangers_dropped() {
        let given = json!({"run_decay_pruning": "yes", "stranger": 1});
        let payload = checked(TaskType::MemoryMaintenance, &given).unwrap();
        let expected = json!({"run_consolidation": true, "run_recurrence_detection": true, "run_decay_pruning": true,
                              "run_orphan_cleanup": false, "dry_run": false});
        assert_eq!(payload, expected);
        assert_eq!(checked(TaskType::MemoryExtraction, &json!({})).unwrap(), json!({"batch_size": 50}));
        let profile = checked(TaskType::ProfileMaintenance, &json!({"entity_type": "BOT"})).unwrap();
        assert_eq!(profile, json!({"entity_type": "bot", "dry_run": false}));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        for (task, payload, place) in [
            (TaskType::MeaningUpdate, json!({}), "memory_id"),
            (TaskType::MeaningUpdate, json!({"memory_id": "x"}), "memory_id"),
            (TaskType::MeaningUpdate, json!({"memory_id": Uuid::nil(), "emotional_charge": 2}), "emotional_charge"),
            (TaskType::MeaningUpdate, json!({"memory_id": Uuid::nil(), "updated_tags": [1]}), "updated_tags"),
            (TaskType::EmbeddingGeneration, json!({}), "texts"),
            (TaskType::EmbeddingGeneration, json!({"memory_ids": ["' OR 1=1"]}), "memory_ids"),
            (TaskType::ContextCompaction, json!({"messages": []}), "messages"),
            (TaskType::ContextCompaction, json!({"messages": [{"role": "root", "content": ""}]}), "messages"),
            (TaskType::ContextCompaction, json!({}), "messages"),
            (TaskType::MemoryExtraction, json!({"batch_size": 0}), "batch_size"),
            (TaskType::HistorySummarization, json!({"model": "x".repeat(129)}), "model"),
            (TaskType::ProfileMaintenance, json!({"entity_type": "dog"}), "entity_type"),
        ] {
            let complaints = checked(task, &payload).unwrap_err();
            assert_eq!(complaints.len(), 1, "{complaints:?}");
            assert_eq!(complaints[0].loc, ["body", "payload", place].map(Value::from), "{payload}");
        }
    }
}
