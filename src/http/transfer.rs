//! Moving house over HTTP: `POST /v1/import` takes records, one per line, and `GET /v1/export` gives them. An import is
//! idempotent by id, so a client that does not know what became of a request sends it again. A bad line is told with its
//! number and the rest goes in. An export is read in pages and written as it is read; its last line says how much it was.

use std::collections::HashMap;

use bytes::Bytes;
use greenroom_memory::{ImportReport, MemoryDraft, MemoryError};
use greenroom_protocol::{BotSlug, UserId};
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::Instrument;
use uuid::Uuid;

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;
use super::whose::Whose;
use crate::house::House;
use crate::transfer::{
    Identifier, Line, MemoryRecord, MessageRecord, Overrides, RECORDS_PER_REQUEST, Record, Totals, end_line,
};

/// Messages of one transaction.
const MESSAGES_AT_ONCE: usize = 2000;
/// Memories of one transaction.
const MEMORIES_AT_ONCE: usize = 500;
/// Bad lines that are named; all are counted.
const ERRORS_TOLD: usize = 1000;
/// Chunks of an export that wait for the client.
const AHEAD: usize = 2;

/// Something of a line of the request.
type OfLine<T> = (u64, T);

/// The records of one bot.
#[derive(Default)]
struct OfBot {
    messages: Vec<OfLine<MessageRecord>>,
    memories: Vec<OfLine<MemoryRecord>>,
}

/// The records of a request.
#[derive(Default)]
struct Sorted {
    received: u64,
    bots: HashMap<BotSlug, OfBot>,
    errors: Vec<OfLine<String>>,
    too_many: bool,
}

/// `POST /v1/import`.
pub async fn import(mut call: Call) -> Answer {
    if let Some(kind) = call.headers.get(CONTENT_TYPE)
        && !is_lines(kind.to_str().unwrap_or_default())
    {
        let message = "Input should be one JSON record per line, with content type application/x-ndjson";
        return Err(ApiError::complaint("model_attributes_type", &["body"], message, Value::Null));
    }
    let mut fields = call.query().fields();
    let extract = fields.boolean("extract").some().unwrap_or(false);
    fields.finish()?;
    let body = call.bytes().await?;
    let sorting = tokio::task::spawn_blocking(move || sort(&body));
    let sorted = sorting.await.map_err(|error| ApiError::Internal(error.to_string()))?;
    if sorted.too_many {
        let message = format!("A request takes at most {RECORDS_PER_REQUEST} lines");
        return Err(ApiError::complaint("too_long", &["body"], &message, Value::Null));
    }
    let mut outcome = Outcome { errors: sorted.errors, ..Outcome::default() };
    for (bot, records) in sorted.bots {
        outcome.import(&call.house, &bot, records, extract).await?;
    }
    answer::json(&outcome.answer(sorted.received))
}

fn is_lines(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let lines = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];
    lines.contains(&essence.as_str()) || matches!(essence.as_str(), "application/json" | "text/plain")
}

/// Reads the lines and sorts them by bot. Takes a while for a large request, so it has a thread of its own.
fn sort(body: &[u8]) -> Sorted {
    let mut sorted = Sorted::default();
    let (mut identifier, overrides) = (Identifier::default(), Overrides::default());
    for (number, line) in (1u64..).zip(body.split(|byte| *byte == b'\n')) {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        sorted.received += 1;
        if sorted.received > RECORDS_PER_REQUEST as u64 {
            sorted.too_many = true;
            break;
        }
        match Line::parse(line, &overrides) {
            Ok(Line::Record(mut record)) => {
                identifier.name(&mut record);
                let of_bot = sorted.bots.entry(record.bot().clone()).or_default();
                match *record {
                    Record::Message(message) => of_bot.messages.push((number, message)),
                    Record::Memory(memory) => of_bot.memories.push((number, memory)),
                }
            }
            Ok(Line::End(_)) => sorted.received -= 1,
            Ok(Line::Broken(why)) => sorted.errors.push((number, format!("the export broke off: {why}"))),
            Err(error) => sorted.errors.push((number, error.0)),
        }
    }
    sorted
}

#[derive(Default)]
struct Outcome {
    stored: Totals,
    known: Totals,
    forgotten: Totals,
    errors: Vec<OfLine<String>>,
}

impl Outcome {
    async fn import(&mut self, house: &House, bot: &BotSlug, records: OfBot, extract: bool) -> Result<(), ApiError> {
        let Ok(whose) = Whose::named(house, Some(bot.as_str())) else {
            let lines = records.messages.iter().map(|(line, _)| *line);
            let lines = lines.chain(records.memories.iter().map(|(line, _)| *line));
            self.errors.extend(lines.map(|line| (line, format!("bot_id: there is no bot '{bot}'"))));
            return Ok(());
        };
        let nobody = house.bots.user_or_default(None);
        let gap = whose.bot.turn_settings.session_gap();
        for (lines, messages) in parts(records.messages, MESSAGES_AT_ONCE) {
            let messages = messages.into_iter().map(|message| for_room(message, &nobody)).collect();
            let report = whose.namespace.import_messages(messages, gap, extract).await?;
            add(&mut self.stored.messages, report.stored);
            add(&mut self.known.messages, report.known);
            add(&mut self.forgotten.messages, report.forgotten);
            self.reject(&lines, report);
        }
        for (lines, memories) in parts(records.memories, MEMORIES_AT_ONCE) {
            let (mut ours, mut theirs) = (Vec::with_capacity(lines.len()), Vec::with_capacity(lines.len()));
            for (line, memory) in lines.into_iter().zip(memories) {
                match memory_for_room(memory) {
                    Ok(memory) => {
                        ours.push(line);
                        theirs.push(memory);
                    }
                    Err(why) => self.errors.push((line, why)),
                }
            }
            let lines = ours;
            let report = whose.namespace.import_memories(theirs).await?;
            add(&mut self.stored.memories, report.stored);
            add(&mut self.known.memories, report.known);
            add(&mut self.forgotten.memories, report.forgotten);
            self.reject(&lines, report);
        }
        Ok(())
    }

    fn reject(&mut self, lines: &[u64], report: ImportReport) {
        let rejected = report.rejected.into_iter().filter_map(|(index, why)| Some((*lines.get(index)?, why)));
        self.errors.extend(rejected);
    }

    fn answer(mut self, received: u64) -> Value {
        self.errors.sort();
        let told: Vec<Value> =
            self.errors.iter().take(ERRORS_TOLD).map(|(line, why)| json!({"line": line, "detail": why})).collect();
        json!({
            "received": received, "stored": self.stored, "known": self.known, "forgotten": self.forgotten,
            "failed": self.errors.len(), "errors": told,
        })
    }
}

/// Cuts a list into parts, each with the lines it came from.
fn parts<T>(all: Vec<OfLine<T>>, most: usize) -> Vec<(Vec<u64>, Vec<T>)> {
    let mut parts = Vec::with_capacity(all.len().div_ceil(most));
    let mut rest = all.into_iter().peekable();
    while rest.peek().is_some() {
        parts.push(rest.by_ref().take(most).unzip());
    }
    parts
}

fn add(count: &mut u64, more: usize) {
    *count += more as u64;
}

fn for_room(message: MessageRecord, nobody: &UserId) -> greenroom_memory::MessageRecord {
    greenroom_memory::MessageRecord {
        id: message.id,
        role: message.role,
        content: message.content,
        at: message.at,
        user: Some(message.user_id.unwrap_or_else(|| nobody.clone())),
        session: message.session,
        partial: message.partial,
    }
}

fn memory_for_room(memory: MemoryRecord) -> Result<greenroom_memory::MemoryRecord, String> {
    let sources: Result<Vec<Uuid>, _> = memory.source_message_ids.iter().map(|id| Uuid::parse_str(id)).collect();
    let sources = sources.map_err(|_| "source_message_ids: Input should be UUIDs".to_owned())?;
    let mut draft =
        MemoryDraft { tags: memory.tags, user: memory.user_id, sources, ..MemoryDraft::new(memory.content) };
    draft.created_at = memory.at;
    if let Some(importance) = memory.importance {
        draft.importance = importance as f32;
    }
    Ok(greenroom_memory::MemoryRecord { id: memory.id, memory: draft })
}

/// `GET /v1/export`.
pub async fn export(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let bot = fields.text_max("bot_id", 256).some();
    let kind = fields.text("kind").some().filter(|kind| !kind.is_empty());
    let (messages, memories) = match kind.as_deref() {
        None => (true, true),
        Some("message") => (true, false),
        Some("memory") => (false, true),
        Some(_) => {
            fields.complain("literal_error", "kind", "Input should be 'message' or 'memory'");
            (false, false)
        }
    };
    fields.finish()?;
    let bots = match bot.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        Some(name) => vec![Whose::named(&call.house, Some(name))?],
        None => {
            let slugs: Vec<BotSlug> = call.house.bots.directory().iter().map(|bot| bot.slug().clone()).collect();
            slugs.iter().filter_map(|slug| Whose::named(&call.house, Some(slug.as_str())).ok()).collect()
        }
    };
    let mut pages = Pages::new(bots, messages, memories);
    // The first page is read before the answer begins, so that a database that is away is told as it should be.
    let first = pages.next().await?;
    let (chunks, arriving) = mpsc::channel(AHEAD);
    let writing = async move {
        let mut page = first;
        while let Some(chunk) = page {
            if chunks.send(chunk).await.is_err() {
                return; // the client has gone
            }
            page = match pages.next().await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(source = %error, "an export broke off");
                    let line = json!({"kind": "error", "detail": "the database went away"});
                    let _ = chunks.send(Bytes::from(format!("{line}\n"))).await;
                    return;
                }
            };
        }
        let line = Value::Object(end_line(pages.totals));
        let _ = chunks.send(Bytes::from(format!("{line}\n"))).await;
    };
    // Owned by the answer: when that is dropped, the next piece cannot be sent and the task ends.
    tokio::spawn(writing.in_current_span());
    Ok(answer::lines(arriving))
}

/// What is still to be read.
struct Pages {
    bots: std::vec::IntoIter<Whose>,
    now: Option<Whose>,
    messages: bool,
    memories: bool,
    /// Behind which row to read on.
    at: At,
    rows: i64,
    totals: Totals,
}

#[derive(Clone, Copy)]
enum At {
    Messages(Option<(jiff::Timestamp, i64)>),
    Memories(Option<i64>),
}

impl Pages {
    /// Most and fewest rows of a page; how many it is depends on how large they are.
    const ROWS: (i64, i64) = (1000, 8);
    /// A page that is larger is followed by shorter ones.
    const LARGE: usize = 4 << 20;

    fn new(bots: Vec<Whose>, messages: bool, memories: bool) -> Self {
        let mut bots = bots.into_iter();
        let now = bots.next();
        Self { bots, now, messages, memories, at: At::Messages(None), rows: 200, totals: Totals::default() }
    }

    /// The next page as lines; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, MemoryError> {
        loop {
            let Some(whose) = &self.now else { return Ok(None) };
            let mut lines = Vec::new();
            // Where this bot goes on, or that it is done.
            let on = match self.at {
                At::Messages(after) if self.messages => {
                    let page = whose.namespace.export_messages(after, self.rows).await?;
                    self.totals.messages += page.len() as u64;
                    let on = page.last().map_or(At::Memories(None), |last| At::Messages(Some((last.ts, last.seq))));
                    page.into_iter().for_each(|row| write(&mut lines, &Record::Message(message_of_room(whose, row))));
                    Some(on)
                }
                At::Messages(_) => Some(At::Memories(None)),
                At::Memories(after) if self.memories => {
                    let page = whose.namespace.export_memories(after, self.rows).await?;
                    self.totals.memories += page.len() as u64;
                    let on = page.last().map(|last| At::Memories(Some(last.seq)));
                    page.into_iter().for_each(|row| write(&mut lines, &Record::Memory(memory_of_room(whose, row))));
                    on
                }
                At::Memories(_) => None,
            };
            match on {
                Some(at) => self.at = at,
                None => self.turn_over(),
            }
            if !lines.is_empty() {
                self.adapt(lines.len());
                return Ok(Some(lines.into()));
            }
        }
    }

    fn turn_over(&mut self) {
        self.now = self.bots.next();
        self.at = At::Messages(None);
    }

    fn adapt(&mut self, bytes: usize) {
        let (most, fewest) = Self::ROWS;
        self.rows = if bytes > Self::LARGE { (self.rows / 4).max(fewest) } else { (self.rows * 2).min(most) };
    }
}

fn write(lines: &mut Vec<u8>, record: &Record) {
    // Writing to a vector cannot fail, and every member can be written.
    if serde_json::to_writer(&mut *lines, record).is_ok() {
        lines.push(b'\n');
    }
}

fn message_of_room(whose: &Whose, row: greenroom_memory::StoredMessage) -> MessageRecord {
    MessageRecord {
        bot_id: whose.bot.slug().clone(),
        id: Some(row.client_id().map_or_else(|| row.id.to_string(), str::to_owned)),
        role: row.role,
        content: row.content,
        at: row.ts,
        user_id: row.user,
        session: row.session.map(|session| session.to_string()),
        partial: row.partial,
    }
}

fn memory_of_room(whose: &Whose, row: greenroom_memory::StoredMemory) -> MemoryRecord {
    MemoryRecord {
        bot_id: whose.bot.slug().clone(),
        id: Some(row.id.to_string()),
        content: row.content,
        tags: row.tags,
        importance: Some(plain(row.importance)),
        at: Some(row.created_at),
        user_id: row.user,
        source_message_ids: row.sources.iter().map(ToString::to_string).collect(),
    }
}

/// The shortest decimal that is this `f32`, so that 0.7 is written as 0.7.
pub(super) fn plain(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_by_bot_and_bad_ones_are_named() {
        let body = concat!(
            "{\"kind\":\"memory\",\"bot_id\":\"a\",\"content\":\"x\"}\n",
            "\r\n",
            "nonsense\n",
            "{\"kind\":\"message\",\"bot_id\":\"B\",\"role\":\"user\",\"content\":\"y\",\"at\":\"2024-01-01T00:00:00Z\"}\n",
            "{\"kind\":\"end\",\"messages\":1,\"memories\":1}",
        );
        let sorted = sort(body.as_bytes());
        assert_eq!((sorted.received, sorted.too_many), (3, false));
        assert_eq!(sorted.errors.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3]);
        let (a, b) = (&sorted.bots[&BotSlug::from_stored("a")], &sorted.bots[&BotSlug::from_stored("b")]);
        assert_eq!((a.memories[0].0, b.messages[0].0), (1, 4));
        assert!(a.memories[0].1.id.is_some() && b.messages[0].1.id.is_some());
    }

    #[test]
    fn too_many_lines_are_too_many() {
        assert!(!sort("x\n".repeat(RECORDS_PER_REQUEST).as_bytes()).too_many);
        assert!(sort("x\n".repeat(RECORDS_PER_REQUEST + 1).as_bytes()).too_many);
    }

    #[test]
    fn parts_keep_their_lines() {
        let cut = parts(vec![(1, 'a'), (5, 'b'), (9, 'c')], 2);
        assert_eq!(cut, [(vec![1, 5], vec!['a', 'b']), (vec![9], vec!['c'])]);
        assert_eq!(parts(Vec::<OfLine<char>>::new(), 2), []);
    }

    #[test]
    fn numbers_are_written_as_they_were_meant() {
        assert_eq!((plain(0.7), plain(0.1), plain(1.0)), (0.7, 0.1, 1.0));
    }

    #[test]
    fn only_lines_are_taken() {
        for kind in ["application/x-ndjson", "application/jsonl; charset=utf-8", "text/plain"] {
            assert!(is_lines(kind), "{kind}");
        }
        assert!(!is_lines("multipart/form-data") && !is_lines("text/html"));
    }
}
