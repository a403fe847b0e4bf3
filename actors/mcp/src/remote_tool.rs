//! A server's tools as we take them: bounded in number and size, in an order that does not change, under names that models
//! may call. A tool that does not fit is left out and counted, never repaired into something else.

use std::sync::Arc;

use rmcp::model::Tool;
use serde_json::{Map, Value};

use crate::settings::ServerSettings;

/// Most tools of one server.
pub(crate) const MOST_TOOLS: usize = 256;
/// Longest name, the limit of the model interfaces.
const MOST_NAME_CHARS: usize = 64;
/// Longest description.
const MOST_DESCRIPTION_CHARS: usize = 2_000;
/// Largest schema, as JSON.
const MOST_SCHEMA_BYTES: usize = 32 * 1024;
/// Largest sum of all schemas.
const MOST_SCHEMAS_BYTES: usize = 512 * 1024;
/// Deepest nesting of a schema.
const MOST_DEPTH: usize = 24;

/// What a tool says about its effects. A server that says nothing gets what MCP assumes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotations {
    /// It changes nothing.
    pub read_only: bool,
    /// Calling it again with the same arguments changes nothing more.
    pub idempotent: bool,
    /// It may destroy something.
    pub destructive: bool,
}

impl Annotations {
    /// Whether a call whose outcome is unknown may be made again.
    #[must_use]
    pub fn may_repeat(self) -> bool {
        self.read_only || self.idempotent
    }
}

/// A tool of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteTool {
    /// `[A-Za-z0-9_-]{1,64}`, unique per server.
    pub name: String,
    /// Never empty, at most 2,000 characters, without control and invisible characters.
    pub description: String,
    /// JSON schema of the arguments as the server gives it: an object of at most 32 KiB.
    pub input_schema: Arc<Value>,
    /// What it says about its effects.
    pub annotations: Annotations,
}

/// What a discovery found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Listing {
    /// Sorted by name.
    pub tools: Arc<[RemoteTool]>,
    /// How many did not fit.
    pub left_out: usize,
}

impl Listing {
    /// Takes what counts and fits. Of two tools with one name the first stays.
    pub(crate) fn of(found: Vec<Tool>, settings: &ServerSettings) -> Self {
        let (mut tools, mut left_out, mut bytes): (Vec<RemoteTool>, usize, usize) = (Vec::new(), 0, 0);
        for tool in found.into_iter().filter(|tool| settings.counts(&tool.name)) {
            let Some((tool, size)) = admit(tool, &settings.id) else {
                left_out += 1;
                continue;
            };
            let known = tools.iter().any(|other| other.name == tool.name);
            if known || tools.len() == MOST_TOOLS || bytes + size > MOST_SCHEMAS_BYTES {
                left_out += 1;
                continue;
            }
            bytes += size;
            tools.push(tool);
        }
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Self { tools: tools.into(), left_out }
    }
}

fn admit(tool: Tool, server: &str) -> Option<(RemoteTool, usize)> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if tool.name.is_empty() || tool.name.len() > MOST_NAME_CHARS || !tool.name.bytes().all(fits) {
        return None;
    }
    let (input_schema, size) = schema(&tool.input_schema)?;
    let told = tool.description.as_deref().map(visible).filter(|text| !text.is_empty());
    let told = told.or_else(|| tool.title.as_deref().map(visible).filter(|text| !text.is_empty()));
    let hints = tool.annotations.unwrap_or_default();
    let annotations = Annotations {
        read_only: hints.read_only_hint.unwrap_or(false),
        idempotent: hints.idempotent_hint.unwrap_or(false),
        destructive: hints.destructive_hint.unwrap_or(true),
    };
    let description = told.unwrap_or_else(|| format!("Tool {} of {server}.", tool.name));
    Some((RemoteTool { name: tool.name.into_owned(), description, input_schema, annotations }, size))
}

/// The schema of an object, unchanged; a missing `type` counts as one.
fn schema(given: &Map<String, Value>) -> Option<(Arc<Value>, usize)> {
    let mut schema = given.clone();
    if schema.entry("type").or_insert_with(|| "object".into()) != "object" {
        return None;
    }
    let schema = Value::Object(schema);
    if depth(&schema) > MOST_DEPTH {
        return None;
    }
    let size = serde_json::to_vec(&schema).ok()?.len();
    (size <= MOST_SCHEMA_BYTES).then(|| (Arc::new(schema), size))
}

/// How deep a value nests. The parser has bounded it to 128 already, so this may recurse.
fn depth(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A description as people would see it: what cannot be seen is not said to a model either.
fn visible(text: &str) -> String {
    let hidden = |character: char| {
        (character.is_control() && character != '\n')
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
            || matches!(character, '\u{e0000}'..='\u{e007f}')
    };
    let seen: String = text.chars().filter(|character| !hidden(*character)).take(MOST_DESCRIPTION_CHARS).collect();
    seen.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(value: Value) -> Tool {
        serde_json::from_value(value).unwrap()
    }

    fn listed(found: Vec<Value>) -> Listing {
        Listing::of(found.into_iter().map(tool).collect(), &ServerSettings::new("home", "http://h"))
    }

    fn plain(name: &str) -> Value {
        json!({"name": name, "inputSchema": {"type": "object"}})
    }

    #[test]
    fn the_order_is_by_name_whatever_the_server_says() {
        let names = |listing: &Listing| listing.tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>();
        let one = listed(vec![plain("b"), plain("a"), plain("C")]);
        assert_eq!(names(&one), ["C", "a", "b"]);
        assert_eq!(one, listed(vec![plain("C"), plain("b"), plain("a")]));
    }

    #[test]
    fn hostile_names_are_left_out() {
        let bad = ["", "a b", "a.b", "näh", "x\"},{", "../x", &"x".repeat(65)];
        let listing = listed(bad.iter().map(|name| plain(name)).chain([plain(&"y".repeat(64)), plain("y")]).collect());
        assert_eq!((listing.tools.len(), listing.left_out), (2, bad.len()));
        let twice =
            listed(vec![plain("a"), json!({"name": "a", "description": "2", "inputSchema": {"type": "object"}})]);
        assert_eq!((twice.tools.len(), twice.left_out, twice.tools[0].description.as_str()), (1, 1, "Tool a of home."));
    }

    #[test]
    fn hostile_schemas_are_left_out() {
        let mut deep = json!({"type": "object"});
        for _ in 0..40 {
            deep = json!({"type": "object", "properties": {"x": deep}});
        }
        let large = json!({"type": "object", "description": "x".repeat(40_000)});
        let text = json!({"type": "string"});
        for schema in [deep, large, text] {
            let listing = listed(vec![json!({"name": "a", "inputSchema": schema})]);
            assert_eq!((listing.tools.len(), listing.left_out), (0, 1));
        }
    }

    #[test]
    fn there_are_never_more_than_fit() {
        let many = listed((0..1000).map(|at| plain(&format!("t{at}"))).collect());
        assert_eq!((many.tools.len(), many.left_out), (MOST_TOOLS, 1000 - MOST_TOOLS));
        let big = |at| json!({"name": format!("t{at}"), "inputSchema": {"type": "object", "x": "x".repeat(30_000)}});
        let heavy = listed((0..100).map(big).collect());
        assert_eq!((heavy.tools.len(), heavy.left_out), (17, 83));
    }

    #[test]
    fn the_schema_passes_unchanged() {
        let given = json!({"type": "object", "properties": {"area": {"type": "string", "enum": ["a"]}, "b": {"anyOf": [{"type": "integer"}]}},
            "required": ["area"], "x-own": {"k": [1]}});
        let listing = listed(vec![json!({"name": "a", "inputSchema": given}), json!({"name": "b", "inputSchema": {}})]);
        assert_eq!(*listing.tools[0].input_schema, given);
        assert_eq!(*listing.tools[1].input_schema, json!({"type": "object"}));
    }

    #[test]
    fn what_is_hidden_in_a_description_is_not_told() {
        let text = format!("Turns on.\n\u{200b}\u{e0041}\u{202e}\u{1b}[0m{}", "x".repeat(5000));
        let listing = listed(vec![json!({"name": "a", "description": text, "inputSchema": {}})]);
        let told = &listing.tools[0].description;
        assert!(told.starts_with("Turns on.\n[0mxxx"), "{told:?}");
        assert_eq!(told.chars().count(), MOST_DESCRIPTION_CHARS);
        let titled = listed(vec![json!({"name": "a", "title": "Lamp", "description": "\u{200b}", "inputSchema": {}})]);
        assert_eq!(titled.tools[0].description, "Lamp");
    }

    #[test]
    fn silence_about_effects_means_what_the_protocol_says() {
        let listing = listed(vec![
            plain("a"),
            json!({"name": "b", "inputSchema": {}, "annotations": {"readOnlyHint": true}}),
            json!({"name": "c", "inputSchema": {}, "annotations": {"idempotentHint": true, "destructiveHint": false}}),
        ]);
        let of = |at: usize| listing.tools[at].annotations;
        assert_eq!(of(0), Annotations { read_only: false, idempotent: false, destructive: true });
        assert!(!of(0).may_repeat() && of(1).may_repeat() && of(2).may_repeat() && !of(2).destructive);
    }
}
