//! Raw messages, found for a question by their words, their neighbours' words, who said them and when. It owns the words of
//! each message, its place in its session and a few marks; the text itself stays in a table, which is the truth. Insert and
//! remove are idempotent by id. Deliberately absent: vectors, whose cosines the caller adds when it ranks, and locks.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use uuid::Uuid;

use crate::bm25::{Bm25, Tables};
use crate::cast_list::CastList;
use crate::dates::{day_of, is_time_word};
use crate::inverted::{Inverted, NONE, Wanted};
use crate::question::{Cast, Question, Role};
use crate::rank::{Candidate, Features, without_vectors};
use crate::search::{Effort, best, skip_to};
use crate::sessions::{Key, Moment, Sessions};
use crate::speaker;

/// Messages are short and seldom repeat a word: length and repetition count for little.
const BM25: Bm25 = Bm25 { k1: 0.5, b: 0.25 };
/// Terms of a question that count, the rarest.
const MAX_TERMS: usize = 32;
/// Keeps a question in a namespace of a million messages within two milliseconds.
const EFFORT: Effort = Effort { postings: 200_000, candidates: 1_000 };
/// Messages found by their own words, whose neighbours are looked at too.
const ANCHORS: usize = 100;
/// Messages looked at because they were said when the question says.
const SAID_THEN: usize = 300;
/// Neighbours that lend their words: what was asked just before counts most.
const BEFORE: usize = 4;
const AFTER: usize = 3;
const AROUND: usize = BEFORE + 1 + AFTER;
const NEARNESS: [f32; AROUND] = [0.3, 0.4, 0.6, 0.9, 1.0, 0.6, 0.4, 0.2];

const TIME_WORD: u8 = 1;
const FIRST_PERSON: u8 = 2;
const ASKS: u8 = 4;

/// A message to index.
#[derive(Debug, Clone, Copy)]
pub struct Episode<'a> {
    /// The message.
    pub id: Uuid,
    /// When it was said, in microseconds since 1970.
    pub at: i64,
    /// Its place among messages of the same time.
    pub seq: i64,
    /// The session it belongs to.
    pub session: Option<Uuid>,
    /// Id of the user who spoke or was spoken to.
    pub user: Option<&'a str>,
    /// Whose message it is.
    pub role: Role,
    /// The text; a name and a colon at its beginning say who speaks.
    pub content: &'a str,
}

/// Which messages may be found. The default is all of them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only messages of this user id.
    pub user: Option<String>,
    /// Only messages of this role.
    pub role: Option<Role>,
    /// Only messages from this time on, in microseconds since 1970.
    pub since: Option<i64>,
    /// Only messages before this time, in microseconds since 1970.
    pub until: Option<i64>,
    /// Not these.
    pub exclude: HashSet<Uuid>,
}

/// What is known of a message beside its words.
#[derive(Debug, Clone, Copy)]
struct Facts {
    moment: Moment,
    session: u32,
    user: u32,
    speaker: u32,
    role: Role,
    marks: u8,
}

const NO_FACTS: Facts =
    Facts { moment: Moment { at: 0, seq: 0 }, session: NONE, user: NONE, speaker: NONE, role: Role::Other, marks: 0 };

/// An index over raw messages.
pub struct EpisodeIndex {
    words: Inverted,
    facts: Vec<Facts>,
    sessions: Sessions,
    users: HashMap<Box<str>, u32>,
    cast: CastList,
}

impl Default for EpisodeIndex {
    fn default() -> Self {
        Self {
            words: Inverted::new(BM25),
            facts: Vec::new(),
            sessions: Sessions::default(),
            users: HashMap::new(),
            cast: CastList::default(),
        }
    }
}

impl EpisodeIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message, or replaces the one with this id. Messages may come in any order of time.
    pub fn insert(&mut self, episode: Episode<'_>) {
        self.take_out(&episode.id);
        let (name, text) = speaker::split(episode.content);
        let Some((slot, marks)) = self.words.insert(episode.id, text, mark) else { return };
        let speaker = self.cast.heard(name);
        let user = episode.user.map_or(NONE, |user| {
            let next = u32::try_from(self.users.len()).unwrap_or(NONE);
            self.users.get(user).copied().unwrap_or_else(|| *self.users.entry(user.into()).or_insert(next))
        });
        let marks = marks | if is_question(text) { ASKS } else { 0 };
        let moment = Moment { at: episode.at, seq: episode.seq };
        self.facts.push(Facts { moment, session: NONE, user, speaker, role: episode.role, marks });
        let key = episode.session.map_or(Key::Alone(user), Key::Session);
        let facts = &self.facts;
        let session = self.sessions.insert(key, slot, |slot| moment_of(facts, slot));
        if let Some(facts) = self.facts.get_mut(slot as usize) {
            facts.session = session;
        }
        self.tidy();
    }

    /// Removes a message; false when there was none.
    pub fn remove(&mut self, id: &Uuid) -> bool {
        let removed = self.take_out(id);
        self.tidy();
        removed
    }

    fn take_out(&mut self, id: &Uuid) -> bool {
        let Some(slot) = self.words.remove(id) else { return false };
        let facts = self.facts(slot);
        self.cast.unheard(facts.speaker);
        let all = &self.facts;
        self.sessions.remove(facts.session, slot, |slot| moment_of(all, slot));
        true
    }

    fn tidy(&mut self) {
        if !self.words.is_loose() {
            return;
        }
        let moved = self.words.compact();
        let mut slot = 0;
        self.facts.retain(|_| (moved.get(slot).is_some_and(|place| *place != NONE), slot += 1).0);
        let numbers = self.sessions.renumber(&moved);
        for facts in &mut self.facts {
            facts.session = numbers.get(facts.session as usize).copied().unwrap_or(NONE);
        }
    }

    /// Whether there is a message with this id.
    #[must_use]
    pub fn contains(&self, id: &Uuid) -> bool {
        self.words.slot(id).is_some()
    }

    /// Number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of all messages, in no order.
    pub fn ids(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.words.ids()
    }

    /// Roughly the bytes it takes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.words.bytes() + self.facts.capacity() * size_of::<Facts>() + self.sessions.bytes() + self.cast.bytes()
    }

    /// Parses a question, knowing the cast and everybody whose name has begun messages.
    #[must_use]
    pub fn question(&self, text: &str, cast: &Cast, now: Timestamp) -> Question {
        Question::parse_knowing(text, cast, now, |words, capital| self.cast.meant(words, capital))
    }

    /// The `k` messages that words, speakers and times speak for most, best first. They are those with the words themselves,
    /// their neighbours, and what was said at a time that the question names.
    #[must_use]
    pub fn candidates(&self, question: &Question, filter: &Filter, k: usize) -> Vec<Candidate> {
        let Some(filter) = self.resolve(filter) else { return Vec::new() };
        let wanted = self.words.look_up(&question.terms, MAX_TERMS);
        let tables = self.words.tables();
        let anchors =
            best(&self.words, &tables, &wanted, ANCHORS.max(k / 4), EFFORT, |slot| filter.nearly(&self.facts(slot)));
        let mut slots = self.said_then(question);
        for (slot, _) in anchors {
            slots.extend(self.around(slot, AFTER));
        }
        slots.sort_unstable();
        slots.dedup();
        slots.retain(|slot| self.lets_through(&filter, *slot));
        let mut candidates = self.weigh(question, &tables, &wanted, &slots);
        candidates.sort_by_cached_key(|candidate| (Descending(without_vectors(&candidate.features)), candidate.id));
        candidates.truncate(k);
        candidates
    }

    /// Describes messages that were found by other means, such as vectors. Messages that are unknown or that the filter keeps
    /// back are left out.
    #[must_use]
    pub fn describe(&self, question: &Question, filter: &Filter, ids: &[Uuid]) -> Vec<Candidate> {
        let Some(filter) = self.resolve(filter) else { return Vec::new() };
        let mut slots: Vec<u32> = ids.iter().filter_map(|id| self.words.slot(id)).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.retain(|slot| self.lets_through(&filter, *slot));
        self.weigh(question, &self.words.tables(), &self.words.look_up(&question.terms, MAX_TERMS), &slots)
    }

    /// Features of messages, given in the order of slots.
    fn weigh(&self, question: &Question, tables: &Tables, wanted: &[Wanted<'_>], slots: &[u32]) -> Vec<Candidate> {
        let around: Vec<[u32; AROUND]> = slots.iter().map(|slot| self.around(*slot, BEFORE)).collect();
        let mut involved: Vec<u32> = around.iter().flatten().copied().filter(|slot| *slot != NONE).collect();
        involved.sort_unstable();
        involved.dedup();
        let said = Said::find(&self.words, tables, wanted, &involved);
        // All the information in the question, and as much again as one unheard-of word has: few words prove little.
        let most = wanted.iter().map(|wanted| wanted.idf).sum::<f32>() + self.words.idf(0);
        let voices: Vec<(Option<u32>, Option<Role>, f32)> = question
            .voices
            .iter()
            .map(|voice| (voice.name.as_deref().and_then(|name| self.cast.number(name)), voice.role, voice.weight))
            .collect();
        let describe = |(slot, around): (&u32, &[u32; AROUND])| {
            let facts = self.facts(*slot);
            let (mut own, mut near) = (0.0, 0.0);
            let lines = around.map(|slot| said.of(slot));
            for (term, wanted) in wanted.iter().enumerate() {
                let said = |line: &Option<&[f32]>| line.and_then(|line| line.get(term)).copied().unwrap_or_default();
                near +=
                    wanted.idf * lines.iter().zip(NEARNESS).map(|(line, near)| near * said(line)).fold(0.0, f32::max);
                own += wanted.idf * lines.get(BEFORE).map_or(0.0, said);
            }
            let speaker = voices.iter().map(|(name, role, weight)| match facts.speaker {
                NONE if *role == Some(facts.role) => *weight,
                number if number != NONE && *name == Some(number) => *weight,
                _ => 0.0,
            });
            let is = |mark: u8| f32::from(u8::from(facts.marks & mark != 0));
            let day = if question.times.is_empty() { None } else { day_of(facts.moment.at, &question.zone) };
            let features = Features {
                own: own / most,
                near: near / most,
                speaker: speaker.fold(0.0, f32::max),
                tells_time: if question.asks_when { is(TIME_WORD) } else { 0.0 },
                named_time: question.fits(day),
                asks: is(ASKS),
                first_person: is(FIRST_PERSON),
            };
            Candidate { id: self.words.id(*slot), features }
        };
        slots.iter().zip(&around).map(describe).collect()
    }

    /// What was said at the times that a question names.
    fn said_then(&self, question: &Question) -> Vec<u32> {
        let moment = |slot| moment_of(&self.facts, slot);
        let mut slots = Vec::new();
        if question.times.is_empty() {
            return slots;
        }
        let Some((first, last)) = self.sessions.extent(moment) else { return slots };
        for (from, to) in question.times.iter().flat_map(|named| named.spans(&question.zone, first, last)) {
            slots.extend(self.sessions.within(from, to, SAID_THEN - slots.len(), moment));
            if slots.len() >= SAID_THEN {
                break;
            }
        }
        slots
    }

    fn around(&self, slot: u32, before: usize) -> [u32; AROUND] {
        self.sessions.around(self.facts(slot).session, slot, before, |slot| moment_of(&self.facts, slot))
    }

    fn facts(&self, slot: u32) -> Facts {
        self.facts.get(slot as usize).copied().unwrap_or(NO_FACTS)
    }

    /// A filter in terms of this index; none when it lets nothing through.
    fn resolve<'a>(&self, filter: &'a Filter) -> Option<Resolved<'a>> {
        let user = match &filter.user {
            Some(user) => Some(*self.users.get(user.as_str())?),
            None => None,
        };
        let (since, until) = (filter.since.unwrap_or(i64::MIN), filter.until.unwrap_or(i64::MAX));
        Some(Resolved { user, role: filter.role, since, until, exclude: &filter.exclude })
    }

    fn lets_through(&self, filter: &Resolved<'_>, slot: u32) -> bool {
        let facts = self.facts(slot);
        slot != NONE
            && !self.words.is_gone(slot)
            && filter.nearly(&facts)
            && filter.role.is_none_or(|role| role == facts.role)
            && (filter.exclude.is_empty() || !filter.exclude.contains(&self.words.id(slot)))
    }
}

/// A filter with the index's numbers.
struct Resolved<'a> {
    user: Option<u32>,
    role: Option<Role>,
    since: i64,
    until: i64,
    exclude: &'a HashSet<Uuid>,
}

impl Resolved<'_> {
    /// Whether a message or its neighbours may pass: the question before an answer may have another role.
    fn nearly(&self, facts: &Facts) -> bool {
        let at = facts.moment.at;
        self.user.is_none_or(|user| user == facts.user) && self.since <= at && at < self.until
    }
}

/// Which of the wanted terms some messages contain.
struct Said {
    slots: Vec<u32>,
    terms: usize,
    saturated: Vec<f32>,
}

impl Said {
    fn find(words: &Inverted, tables: &Tables, wanted: &[Wanted<'_>], slots: &[u32]) -> Self {
        let terms = wanted.len();
        let mut all = vec![0.0_f32; slots.len() * terms];
        let mut any = vec![false; slots.len()];
        for (term, wanted) in wanted.iter().enumerate() {
            let mut rest = wanted.postings;
            for (line, (slot, any)) in slots.iter().zip(&mut any).enumerate() {
                rest = skip_to(rest, *slot);
                let Some(posting) = rest.first() else { break };
                if posting.slot() == *slot
                    && let Some(place) = all.get_mut(line * terms + term)
                {
                    *place = tables.saturated(posting.count(), words.length(*slot));
                    *any = true;
                }
            }
        }
        let mut said = Self { slots: Vec::new(), terms, saturated: Vec::new() };
        for (line, (slot, _)) in slots.iter().zip(&any).enumerate().filter(|(_, (_, any))| **any) {
            said.slots.push(*slot);
            said.saturated.extend_from_slice(all.get(line * terms..(line + 1) * terms).unwrap_or_default());
        }
        said
    }

    /// The saturated frequencies of the terms in a message, in their order; none when it contains none of them.
    fn of(&self, slot: u32) -> Option<&[f32]> {
        let line = self.slots.binary_search(&slot).ok()?;
        self.saturated.get(line * self.terms..(line + 1) * self.terms)
    }
}

/// Sorts the highest first.
#[derive(PartialEq)]
struct Descending(f32);

impl Eq for Descending {}

impl PartialOrd for Descending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Descending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.total_cmp(&self.0)
    }
}

fn moment_of(facts: &[Facts], slot: u32) -> Moment {
    facts.get(slot as usize).map_or(NO_FACTS.moment, |facts| facts.moment)
}

fn mark(word: &str) -> u8 {
    let first_person =
        matches!(word.split('\'').next(), Some("i" | "my" | "we" | "our" | "me" | "mine" | "myself")) && word != "me's";
    (if first_person { FIRST_PERSON } else { 0 }) | (if is_time_word(word) { TIME_WORD } else { 0 })
}

/// Whether a text ends by asking, a description of an attached picture aside.
fn is_question(text: &str) -> bool {
    let text = text.trim_end();
    let text = text.strip_suffix(']').and_then(|text| text.rfind('[').and_then(|at| text.get(..at))).unwrap_or(text);
    text.trim_end().ends_with(['?', '？', '؟'])
}
