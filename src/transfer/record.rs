//! One record, read with every complaint named and written so that reading gives it back.

use greenroom_protocol::fields::{Complaint, Field, Fields};
use greenroom_protocol::time::wire_time;
use greenroom_protocol::{BotSlug, MessageId, Role, UserId};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// Longest text of a message, in bytes.
pub const CONTENT_LIMIT: usize = 4 << 20;
/// Most records of one request.
pub const RECORDS_PER_REQUEST: usize = 50_000;
/// Longest session label and longest id, in characters.
const LABEL_LIMIT: usize = 128;
/// Most tags, and most sources, that are even looked at.
const LIST_LIMIT: usize = 1000;
/// The last second of the year 9999.
const LATEST: f64 = 253_402_300_799.0;

/// A message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageRecord {
    /// Whose memory.
    pub bot_id: BotSlug,
    /// Who speaks.
    #[serde(serialize_with = "role_word")]
    pub role: Role,
    /// The text.
    pub content: String,
    /// When it was said.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub at: Timestamp,
    /// Who spoke, or for whom; the server's default user without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Messages with the same label are one session; without labels, pauses make sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Names the message for good: the same id is never stored twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The turn broke off; this is what had arrived.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// A distilled memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryRecord {
    /// Whose memory.
    pub bot_id: BotSlug,
    /// The text.
    pub content: String,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance: Option<f64>,
    /// When it was learnt.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_time")]
    pub at: Option<Timestamp>,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Names the memory for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Ids of the messages it came from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_message_ids: Vec<String>,
}

/// What goes in and comes out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// A message.
    Message(MessageRecord),
    /// A memory.
    Memory(MemoryRecord),
}

impl Record {
    /// Whose memory.
    #[must_use]
    pub fn bot(&self) -> &BotSlug {
        match self {
            Self::Message(message) => &message.bot_id,
            Self::Memory(memory) => &memory.bot_id,
        }
    }

    /// Its own id.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Message(message) => message.id.as_deref(),
            Self::Memory(memory) => memory.id.as_deref(),
        }
    }

    /// Gives it an id.
    pub fn set_id(&mut self, id: String) {
        match self {
            Self::Message(message) => message.id = Some(id),
            Self::Memory(memory) => memory.id = Some(id),
        }
    }
}

/// How many records there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Messages.
    pub messages: u64,
    /// Memories.
    pub memories: u64,
}

impl Totals {
    /// Counts one more.
    pub fn count(&mut self, record: &Record) {
        match record {
            Record::Message(_) => self.messages += 1,
            Record::Memory(_) => self.memories += 1,
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.messages + self.memories
    }
}

/// What a line of an export says.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A record.
    Record(Box<Record>),
    /// An export's last line: it is whole.
    End(Totals),
    /// An export's last line: it broke off.
    Broken(String),
}

/// Why a line is no record, in words that name the fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordError(pub String);

impl From<Vec<Complaint>> for RecordError {
    fn from(complaints: Vec<Complaint>) -> Self {
        let words = complaints.iter().map(|complaint| match complaint.loc.get(1).and_then(Value::as_str) {
            Some(field) => format!("{field}: {}", complaint.msg),
            None => complaint.msg.clone(),
        });
        Self(words.collect::<Vec<_>>().join("; "))
    }
}

/// Whom everything belongs to, whatever the records say.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The bot.
    pub bot: Option<BotSlug>,
    /// The user.
    pub user: Option<UserId>,
}

impl Line {
    /// Reads one line of JSON.
    ///
    /// # Errors
    /// [`RecordError`], naming every fault.
    pub fn parse(text: &[u8], overrides: &Overrides) -> Result<Self, RecordError> {
        let value: Value = serde_json::from_slice(text).map_err(|error| RecordError(no_json(&error)))?;
        Self::read(&value, overrides)
    }

    /// Reads one JSON value.
    ///
    /// # Errors
    /// [`RecordError`], naming every fault.
    pub fn read(value: &Value, overrides: &Overrides) -> Result<Self, RecordError> {
        let mut fields = Fields::of("record", value)?;
        let kind = fields.required_text("kind", 32);
        let line = match kind.as_str() {
            "message" => Self::Record(Box::new(Record::Message(message(&mut fields, overrides)))),
            "memory" => Self::Record(Box::new(Record::Memory(memory(&mut fields, overrides)))),
            "end" => {
                Self::End(Totals { messages: count(&mut fields, "messages"), memories: count(&mut fields, "memories") })
            }
            "error" => Self::Broken(fields.text_max("detail", 1000).some().unwrap_or_default()),
            "" => Self::Broken(String::new()),
            _ => {
                fields.complain("enum", "kind", "Input should be 'message' or 'memory'");
                Self::Broken(String::new())
            }
        };
        fields.finish()?;
        Ok(line)
    }
}

/// What is wrong with a text that is no JSON, and where in the line; never the text itself.
pub(crate) fn no_json(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        _ if error.to_string().starts_with("recursion limit") => "it is nested too deeply",
        _ => "it is malformed",
    };
    format!("no JSON: {kind} (column {})", error.column())
}

fn message(fields: &mut Fields<'_>, overrides: &Overrides) -> MessageRecord {
    let bot_id = bot(fields, overrides);
    let role = fields.required_text("role", 32);
    let role = Role::parse(&role.to_lowercase()).unwrap_or_else(|| {
        if !role.is_empty() {
            fields.complain("enum", "role", "Input should be 'user', 'assistant', 'system' or 'tool'");
        }
        Role::User
    });
    let content = content(fields);
    let at = match fields.raw("at") {
        None | Some(Value::Null) => {
            fields.missing("at");
            Timestamp::UNIX_EPOCH
        }
        Some(_) => time(fields, "at").unwrap_or_default(),
    };
    let user_id = user(fields, overrides);
    let session =
        fields.text_max("session", LABEL_LIMIT).some().map(|text| clean(&text)).filter(|text| !text.is_empty());
    let partial = fields.boolean("partial").some().unwrap_or(false);
    MessageRecord { bot_id, role, content, at, user_id, session, id: id(fields), partial }
}

fn memory(fields: &mut Fields<'_>, overrides: &Overrides) -> MemoryRecord {
    let bot_id = bot(fields, overrides);
    MemoryRecord {
        bot_id,
        content: content(fields),
        tags: texts(fields, "tags"),
        importance: fields.number("importance", 0.0, 1.0).some(),
        at: time(fields, "at"),
        user_id: user(fields, overrides),
        id: id(fields),
        source_message_ids: texts(fields, "source_message_ids"),
    }
}

fn bot(fields: &mut Fields<'_>, overrides: &Overrides) -> BotSlug {
    if let Some(bot) = &overrides.bot {
        return bot.clone();
    }
    let text = fields.required_text("bot_id", 256);
    BotSlug::parse(&text).unwrap_or_else(|bad| {
        if !text.is_empty() {
            fields.complain("value_error", "bot_id", bad.to_string());
        }
        BotSlug::from_stored("")
    })
}

fn user(fields: &mut Fields<'_>, overrides: &Overrides) -> Option<UserId> {
    let sent = fields.text("user_id").some();
    if let Some(user) = &overrides.user {
        return Some(user.clone());
    }
    UserId::parse(&sent?).map_err(|bad| fields.complain("value_error", "user_id", bad.to_string())).ok()
}

fn content(fields: &mut Fields<'_>) -> String {
    let text = fields.required_text("content", usize::MAX);
    if text.len() > CONTENT_LIMIT {
        fields.complain("string_too_long", "content", format!("The text is longer than {CONTENT_LIMIT} bytes"));
        return String::new();
    }
    clean(&text)
}

/// NUL is nothing the database takes.
fn clean(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

fn id(fields: &mut Fields<'_>) -> Option<String> {
    let text = match fields.raw("id") {
        // Some exporters number their records.
        Some(Value::Number(number)) => number.to_string(),
        _ => fields.text("id").some()?,
    };
    match MessageId::parse(&text) {
        Ok(id) => Some(id.as_str().to_owned()),
        Err(bad) => {
            fields.complain("value_error", "id", bad.to_string());
            None
        }
    }
}

fn texts(fields: &mut Fields<'_>, name: &str) -> Vec<String> {
    let Field::Value(items) = fields.list(name) else { return Vec::new() };
    let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(clean)).collect();
    match texts {
        Some(texts) if texts.len() <= LIST_LIMIT && texts.iter().all(|text| text.len() <= 4 * LABEL_LIMIT) => texts,
        _ => {
            fields.complain("list_type", name, "Input should be a short list of short texts");
            Vec::new()
        }
    }
}

fn count(fields: &mut Fields<'_>, name: &str) -> u64 {
    fields.integer(name, 0, i64::MAX).some().and_then(|number| number.try_into().ok()).unwrap_or_default()
}

fn time(fields: &mut Fields<'_>, name: &str) -> Option<Timestamp> {
    let parsed = match fields.raw(name)? {
        Value::Null => return None,
        Value::Number(number) => number.as_f64().and_then(from_seconds),
        Value::String(text) => moment(text),
        _ => None,
    };
    if parsed.is_none() {
        fields.complain("datetime_parsing", name, "Input should be an RFC 3339 time between 1970 and 9999");
    }
    parsed
}

/// A moment since 1970, as Unix seconds or as RFC 3339, to the microsecond.
#[must_use]
pub fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Some(moment) = text.parse::<f64>().ok().and_then(from_seconds) {
        return Some(moment);
    }
    let moment: Timestamp = text.parse().ok()?;
    Timestamp::from_microsecond(moment.as_microsecond()).ok().filter(|moment| *moment >= Timestamp::UNIX_EPOCH)
}

fn from_seconds(seconds: f64) -> Option<Timestamp> {
    if !(0.0..=LATEST).contains(&seconds) {
        return None;
    }
    let exact = Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()?;
    Timestamp::from_microsecond(exact.as_microsecond()).ok()
}

fn role_word<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(role.as_str())
}

fn optional_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_str(&wire_time(*time)),
        None => serializer.serialize_none(),
    }
}

/// The last line of a whole export.
#[must_use]
pub fn end_line(totals: Totals) -> Map<String, Value> {
    [("kind", Value::from("end")), ("messages", totals.messages.into()), ("memories", totals.memories.into())]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Line, String> {
        Line::read(&value, &Overrides::default()).map_err(|error| error.0)
    }

    fn record(value: Value) -> Record {
        match read(value) {
            Ok(Line::Record(record)) => *record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let full = json!({"kind": "message", "bot_id": " Nova ", "role": "User", "content": "a\u{0}b", "user_id": "Ann",
            "at": "2024-05-01T10:00:00.123456789+02:00", "session": "s1", "id": 17, "partial": "yes"});
        let message = record(full);
        let written = serde_json::to_value(&message).unwrap();
        assert_eq!(
            written,
            json!({"kind": "message", "bot_id": "nova", "role": "user", "content": "a\u{fffd}b", "user_id": "ann",
                "at": "2024-05-01T08:00:00.123456Z", "session": "s1", "id": "17", "partial": true})
        );
        assert_eq!(record(written), message);
        let memory = record(json!({"kind": "memory", "bot_id": "nova", "content": "likes tea", "tags": ["food"],
            "importance": "0.5", "at": 1_700_000_000.5}));
        let written = serde_json::to_value(&memory).unwrap();
        assert_eq!(
            written,
            json!({"kind": "memory", "bot_id": "nova", "content": "likes tea", "tags": ["food"], "importance": 0.5,
                "at": "2023-11-14T22:13:20.500000Z"})
        );
        assert_eq!(record(written), memory);
    }

    #[test]
    fn every_fault_of_a_line_is_named() {
        let error = read(json!({"kind": "message", "bot_id": "a/b", "role": "narrator", "content": " ", "at": "noon"}));
        let words = error.unwrap_err();
        for field in ["bot_id", "role", "content", "at"] {
            assert!(words.contains(&format!("{field}: ")), "{words}");
        }
        for (bad, word) in [
            (json!([]), "dictionary"),
            (json!({}), "kind: Field required"),
            (json!({"kind": "diary"}), "kind: "),
            (json!({"kind": "memory", "bot_id": "a", "content": "x", "importance": 2}), "importance: "),
            (json!({"kind": "memory", "bot_id": "a", "content": "x", "tags": [1]}), "tags: "),
            (json!({"kind": "memory", "bot_id": "a", "content": "x", "id": "a\nb"}), "id: "),
            (json!({"kind": "message", "bot_id": "a", "content": "x", "role": "user"}), "at: Field required"),
            (json!({"kind": "message", "bot_id": "a", "content": "x", "role": "user", "at": -1}), "at: "),
            (json!({"kind": "message", "bot_id": "a", "content": "x", "role": "user", "at": 1e300}), "at: "),
        ] {
            let words = read(bad.clone()).unwrap_err();
            assert!(words.contains(word), "{bad}: {words}");
        }
        assert!(Line::parse(b"{\"kind\"", &Overrides::default()).unwrap_err().0.contains("ends too early"));
        assert!(Line::parse(b"{]", &Overrides::default()).unwrap_err().0.contains("malformed"));
        let deep = "[".repeat(1000);
        assert!(Line::parse(deep.as_bytes(), &Overrides::default()).unwrap_err().0.contains("nested"));
    }

    #[test]
    fn overrides_win_and_fill() {
        let overrides = Overrides { bot: Some(BotSlug::from_stored("mira")), user: Some(UserId::from_stored("bob")) };
        let value = json!({"kind": "message", "role": "user", "content": "x", "at": 1, "user_id": "ann"});
        let Ok(Line::Record(record)) = Line::read(&value, &overrides) else { panic!() };
        let Record::Message(message) = *record else { panic!() };
        assert_eq!((message.bot_id.as_str(), message.user_id.unwrap().as_str()), ("mira", "bob"));
    }

    #[test]
    fn the_last_line_of_an_export_is_no_record() {
        let totals = Totals { messages: 3, memories: 1 };
        assert_eq!(read(Value::Object(end_line(totals))), Ok(Line::End(totals)));
        assert_eq!(read(json!({"kind": "error", "detail": "gone"})), Ok(Line::Broken("gone".into())));
    }
}
