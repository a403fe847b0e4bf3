//! What a question asks for: its words, whose saying it is about, whether it asks for a time, and which time it names. A
//! question never fails to parse. Invariant: names of people who speak are no search words; they say who is meant, and a
//! vector that contains them is pulled to whatever the *other* person says to them. Deliberately absent: the index.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::dates::{Named, named};
use crate::stop_words::is_stop_word;
use crate::words::{Kind, pieces, stemmer, term_of};

/// Characters of a question that count.
const MAX_CHARS: usize = 4_000;
/// Words of a name.
const MAX_NAME_WORDS: usize = 4;
/// People a question can be about.
const MAX_VOICES: usize = 4;
/// What a pronoun counts beside a name: "I" is in most questions, whoever is meant.
const PRONOUN: f32 = 0.5;

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A person.
    User,
    /// The bot.
    Assistant,
    /// A tool or the system.
    Other,
}

/// Who is in a conversation, and where they are.
#[derive(Debug, Clone)]
pub struct Cast {
    /// Display name of who asks.
    pub user: Option<String>,
    /// Display name of who answers.
    pub bot: Option<String>,
    /// Their clock, for "yesterday".
    pub zone: TimeZone,
}

impl Default for Cast {
    fn default() -> Self {
        Self { user: None, bot: None, zone: TimeZone::UTC }
    }
}

/// Whose saying a question is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Voice {
    /// Name in lower case, as speakers are known; none when only a role is meant.
    pub(crate) name: Option<String>,
    /// The role of messages that name no speaker.
    pub(crate) role: Option<Role>,
    /// How surely this one is meant: 1 for the first, less for others.
    pub(crate) weight: f32,
}

/// A parsed question.
#[derive(Debug, Clone)]
pub struct Question {
    pub(crate) terms: Vec<String>,
    pub(crate) voices: Vec<Voice>,
    pub(crate) asks_when: bool,
    pub(crate) times: Vec<Named>,
    pub(crate) zone: TimeZone,
    vector_text: String,
}

/// A word of a question.
struct Token {
    text: String,
    start: usize,
    end: usize,
    capital: bool,
}

impl Question {
    /// Parses a question as it is asked at `now`, knowing nobody but the cast. Use `EpisodeIndex::question` where there is an
    /// index: it also knows who has spoken. Text beyond 4,000 characters does not count.
    #[must_use]
    pub fn parse(text: &str, cast: &Cast, now: Timestamp) -> Self {
        Self::parse_knowing(text, cast, now, |_, _| None)
    }

    /// Parses a question; `speaker` finds the full name of somebody who has spoken, given words in lower case as written in
    /// the question, and whether they are capitalised there.
    pub(crate) fn parse_knowing(
        text: &str,
        cast: &Cast,
        now: Timestamp,
        speaker: impl Fn(&str, bool) -> Option<String>,
    ) -> Self {
        let text = text.char_indices().nth(MAX_CHARS).map_or(text, |(end, _)| text.get(..end).unwrap_or(text)).trim();
        let tokens = tokens(text);
        let (voices, names) = people(text, &tokens, cast, speaker);
        let words: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
        let times = named(&words, cast.zone.to_datetime(now).date());
        // "yesterday" is another day in every message; "June" is the same.
        let relative = times.iter().filter(|(named, _)| matches!(named, Named::Days(..)));
        let relative: Vec<&Token> = relative.filter_map(|(_, words)| tokens.get(words.clone())).flatten().collect();
        let is_relative = |start: usize| relative.iter().any(|token| token.start == start);
        let is_name = |start: usize, end: usize| names.iter().any(|&(from, to)| from <= start && end <= to);
        let stemmer = stemmer();
        let (mut terms, mut of_names) = (Vec::new(), Vec::new());
        pieces(text, |piece| {
            if is_relative(piece.start) {
                return;
            }
            let list = if is_name(piece.start, piece.end) { &mut of_names } else { &mut terms };
            list.extend(term_of(&stemmer, &piece).filter(|term| !list.contains(term)));
        });
        Self {
            terms: if terms.is_empty() { of_names } else { terms },
            voices: if voices.is_empty() { pronouns(&words) } else { voices },
            asks_when: asks_when(&words),
            times: times.into_iter().map(|(named, _)| named).collect(),
            zone: cast.zone.clone(),
            vector_text: without(text, &names),
        }
    }

    /// What to embed: the question without the names of those who speak. The trimmed text when it names nobody, or nothing
    /// else.
    #[must_use]
    pub fn vector_text(&self) -> &str {
        &self.vector_text
    }

    /// The words to look for, as the index knows them.
    #[must_use]
    pub fn terms(&self) -> &[String] {
        &self.terms
    }

    /// How well a message of that day fits the times that are named; 0 when none is.
    pub(crate) fn fits(&self, day: Option<Date>) -> f32 {
        let fit = |day| self.times.iter().map(|named| named.fits(day)).fold(0.0, f32::max);
        day.map_or(0.0, fit)
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    pieces(text, |piece| {
        if piece.kind != Kind::Compound {
            let original = text.get(piece.start..piece.end).unwrap_or_default();
            let word = piece.text.strip_suffix("'s").unwrap_or(piece.text);
            let capital = original.starts_with(|c: char| c.is_alphabetic() && !c.is_lowercase());
            tokens.push(Token { text: word.to_owned(), start: piece.start, end: piece.end, capital });
        }
    });
    tokens
}

/// The people named, the first one first, and the bytes that name them.
fn people(
    text: &str,
    tokens: &[Token],
    cast: &Cast,
    speaker: impl Fn(&str, bool) -> Option<String>,
) -> (Vec<Voice>, Vec<(usize, usize)>) {
    let actors: Vec<(String, Role)> = [(&cast.user, Role::User), (&cast.bot, Role::Assistant)]
        .into_iter()
        .filter_map(|(name, role)| Some((spoken(name.as_deref()?), role)).filter(|(name, _)| !name.is_empty()))
        .collect();
    let (mut voices, mut names) = (Vec::<Voice>::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let mut taken = 1;
        for length in (1..=MAX_NAME_WORDS.min(tokens.len() - at)).rev() {
            let Some([first, .., last] | [first @ last]) = tokens.get(at..at + length) else { continue };
            let words: Vec<&str> = tokens.iter().skip(at).take(length).map(|token| token.text.as_str()).collect();
            // Not "Will" at the beginning, but "will" nowhere either.
            let sure = first.capital && at > 0;
            if length == 1 && !sure && (is_stop_word(&first.text) || crate::dates::is_time_word(&first.text)) {
                continue;
            }
            let words = words.join(" ");
            let actor = actors.iter().find(|(name, _)| {
                *name == words || (length == 1 && name.split(' ').next() == Some(&words) && words.len() > 1)
            });
            let heard = speaker(&words, first.capital);
            if actor.is_none() && heard.is_none() {
                continue;
            }
            names.push((first.start, last.end));
            let name = heard.or_else(|| actor.map(|(name, _)| name.clone()));
            if !voices.iter().any(|voice| voice.name == name) && voices.len() < MAX_VOICES {
                let weight = if voices.is_empty() { 1.0 } else { 0.5 };
                voices.push(Voice { name, role: actor.map(|(_, role)| *role), weight });
            }
            taken = length;
            break;
        }
        at += taken;
    }
    if voices.is_empty() {
        // Scripts without spaces: a name is found where it stands.
        for (name, role) in actors.iter().filter(|(name, _)| !name.is_ascii()) {
            if let Some(start) = text.find(name.as_str()) {
                names.push((start, start + name.len()));
                voices.push(Voice { name: Some(name.clone()), role: Some(*role), weight: 1.0 });
            }
        }
    }
    (voices, names)
}

/// A name as its words are read: lower case, without accents and punctuation.
pub(crate) fn spoken(name: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut unspaced = false;
    pieces(name, |piece| match piece.kind {
        Kind::Word => words.push(piece.text.to_owned()),
        Kind::Compound => {}
        Kind::Pair => unspaced = true,
    });
    if unspaced { name.trim().to_lowercase() } else { words.join(" ") }
}

fn without(text: &str, names: &[(usize, usize)]) -> String {
    let mut rest = String::with_capacity(text.len());
    let mut from = 0;
    for &(start, end) in names {
        rest.push_str(text.get(from..start).unwrap_or_default());
        rest.push(' ');
        from = end;
    }
    rest.push_str(text.get(from..).unwrap_or_default());
    if names.is_empty() || !rest.chars().any(char::is_alphanumeric) {
        return text.to_owned();
    }
    rest.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// "What did I say" is about the user, "what did you say" about the bot. A polite beginning ("can you tell me") is skipped.
fn pronouns(words: &[&str]) -> Vec<Voice> {
    const POLITE: [&str; 12] =
        ["can", "could", "would", "will", "do", "please", "tell", "remember", "recall", "remind", "know", "and"];
    let asks =
        |word: &&str| matches!(*word, "what" | "when" | "where" | "who" | "which" | "why" | "how" | "that" | "if");
    let start = words.iter().take(8).position(asks).unwrap_or_else(|| {
        let polite = |word: &&&str| POLITE.contains(*word) || matches!(**word, "you" | "me");
        words.iter().take(6).take_while(polite).count()
    });
    let mut voices: Vec<Voice> = Vec::new();
    for word in words.iter().skip(start) {
        let role = match word.split('\'').next().unwrap_or_default() {
            "i" | "my" | "mine" | "me" | "myself" | "we" | "our" | "us" => Role::User,
            "you" | "your" | "yours" | "yourself" => Role::Assistant,
            _ => continue,
        };
        if !voices.iter().any(|voice| voice.role == Some(role)) {
            let weight = if voices.is_empty() { PRONOUN } else { PRONOUN / 2.0 };
            voices.push(Voice { name: None, role: Some(role), weight });
        }
    }
    voices
}

fn asks_when(words: &[&str]) -> bool {
    let asking = words.iter().take(8).position(|word| {
        matches!(
            *word,
            "when"
                | "what"
                | "which"
                | "where"
                | "who"
                | "why"
                | "how"
                | "wann"
                | "quand"
                | "cuando"
                | "quando"
                | "когда"
        )
    });
    let Some(at) = asking else { return false };
    let follows = |names: &[&str]| words.get(at + 1).is_some_and(|word| names.contains(word));
    match words.get(at).copied().unwrap_or_default() {
        "what" | "which" => follows(&["year", "month", "date", "day", "time", "week", "weekday"]),
        "how" => follows(&["long", "recently"]),
        "where" | "who" | "why" => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Cast, Question, Role};

    fn ask(text: &str) -> Question {
        let cast = Cast { user: Some("Ann Lee".into()), bot: Some("Nova".into()), ..Cast::default() };
        Question::parse_knowing(text, &cast, Timestamp::UNIX_EPOCH, |words, _| {
            ["caroline", "will"].iter().find(|name| **name == words).map(|name| (*name).to_owned())
        })
    }

    #[test]
    fn names_say_who_is_meant_and_are_no_words() {
        let question = ask("When did Caroline's dog meet Ann, the vet?");
        assert_eq!(question.terms(), ["dog", "meet", "vet"]);
        assert_eq!(question.vector_text(), "When did dog meet , the vet?");
        assert!(question.asks_when);
        let voices: Vec<_> =
            question.voices.iter().map(|voice| (voice.name.as_deref(), voice.role, voice.weight)).collect();
        assert_eq!(voices, [(Some("caroline"), None, 1.0), (Some("ann lee"), Some(Role::User), 0.5)]);
        assert_eq!(ask("Nova?").vector_text(), "Nova?");
        assert_eq!(ask("Nova?").terms(), ["nova"]);
    }

    #[test]
    fn a_name_that_is_a_common_word_needs_its_capital() {
        assert_eq!(ask("Will it rain?").voices, []);
        assert_eq!(ask("what will happen").voices, []);
        assert_eq!(ask("what did Will say").voices.len(), 1);
        assert_eq!(ask("what did caroline say").voices.len(), 1);
    }

    #[test]
    fn pronouns_hint_at_the_role() {
        let role = |text| ask(text).voices.first().and_then(|voice| voice.role);
        assert_eq!(role("Do you remember what I said about cheese?"), Some(Role::User));
        assert_eq!(role("Can you tell me what you recommended?"), Some(Role::Assistant));
        assert_eq!(role("I've bought a bike"), Some(Role::User));
        assert_eq!(role("which film was it"), None);
    }

    #[test]
    fn hostile_questions_are_harmless() {
        for text in ["", " ", "\0", "'''''", &"a ".repeat(50_000), &"💥".repeat(9_000), "İİİ ẞ", "\u{202e}abc"] {
            let question = ask(text);
            assert!(question.vector_text().chars().count() <= 4_000);
        }
    }
}
