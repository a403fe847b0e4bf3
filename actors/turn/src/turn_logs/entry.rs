//! One tool call as clients see it: the union of the finalized and the live shape, so that a UI needs only one.

use serde::Serialize;
use serde_json::{Value, json};

/// A tool call. `result` is null while it runs and a text when it is over; an empty result is an empty text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolCallEntry {
    /// Position in the turn, from 1.
    pub index: usize,
    /// Model pass, from 1.
    pub iteration: i32,
    /// Tool name.
    pub name: String,
    /// The same, as live views call it.
    pub tool: String,
    /// Arguments as an object.
    pub arguments: Value,
    /// The same, as live views call it.
    pub parameters: Value,
    /// Result text, null while running.
    pub result: Option<String>,
    /// `pending` or `completed`.
    pub status: &'static str,
    /// Call id.
    pub call_id: Option<String>,
    /// Start in Unix seconds.
    pub started_at: Option<f64>,
    /// End in Unix seconds.
    pub ended_at: Option<f64>,
    /// Run time in milliseconds.
    pub duration_ms: Option<f64>,
    /// Whether it succeeded; null while running.
    pub ok: Option<bool>,
    /// `read_only`, `idempotent` or `dangerous`, where the tool declares it.
    pub effects: Option<String>,
}

impl ToolCallEntry {
    /// Entries of a finalized list; anything unreadable is left out.
    pub(super) fn from_final(json: &str) -> Vec<Self> {
        let Ok(Value::Array(list)) = serde_json::from_str(json) else { return Vec::new() };
        let entries = list.iter().enumerate().filter_map(|(at, item)| {
            let name = item["name"].as_str()?.to_owned();
            let arguments = object(item["arguments"].clone());
            let result = item["result"].as_str().map(str::to_owned);
            Some(Self {
                index: at + 1,
                iteration: item["iteration"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(1),
                tool: name.clone(),
                name,
                parameters: arguments.clone(),
                arguments,
                status: if result.is_some() { "completed" } else { "pending" },
                result,
                call_id: item["call_id"].as_str().map(str::to_owned),
                started_at: item["started_at"].as_f64(),
                ended_at: item["ended_at"].as_f64(),
                duration_ms: item["duration_ms"].as_f64(),
                ok: item["ok"].as_bool(),
                effects: item["effects"].as_str().map(str::to_owned),
            })
        });
        entries.collect()
    }

    /// An entry from a live record.
    pub(super) fn from_record(row: &tokio_postgres::Row, index: usize) -> Result<Self, tokio_postgres::Error> {
        let name: String = row.try_get("tool_name")?;
        let arguments: String = row.try_get("arguments_json")?;
        let arguments = object(serde_json::from_str(&arguments).unwrap_or(Value::String(arguments)));
        let ended_at: Option<f64> = row.try_get("ended_at")?;
        let result: Option<String> = row.try_get("result_text")?;
        Ok(Self {
            index,
            iteration: row.try_get("iteration")?,
            tool: name.clone(),
            name,
            parameters: arguments.clone(),
            arguments,
            result: if ended_at.is_some() { Some(result.unwrap_or_default()) } else { None },
            status: if ended_at.is_some() { "completed" } else { "pending" },
            call_id: row.try_get("call_id")?,
            started_at: row.try_get("started_at")?,
            ended_at,
            duration_ms: row.try_get("duration_ms")?,
            ok: row.try_get("ok")?,
            effects: row.try_get("effects")?,
        })
    }
}

fn object(value: Value) -> Value {
    if value.is_object() { value } else { json!({"raw": value}) }
}
