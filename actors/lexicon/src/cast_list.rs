//! Everybody who has spoken in a namespace by name, and whom a name in a question means. A name counts once it has begun two
//! messages, so that "Paris: what a city" makes nobody of Paris.

use std::collections::HashMap;

use crate::dates::is_time_word;
use crate::inverted::NONE;
use crate::question::spoken;
use crate::stop_words::is_stop_word;

/// Messages that make a name a speaker.
const HEARD: u32 = 2;
/// With more speakers than this, short forms of names are not looked for.
const FEW: usize = 64;
/// Letters of a short form.
const SHORT_FORM: usize = 3;

/// Speakers by number.
#[derive(Default)]
pub(crate) struct CastList {
    names: Vec<String>,
    messages: Vec<u32>,
    by_name: HashMap<String, u32>,
    by_first: HashMap<String, Vec<u32>>,
}

impl CastList {
    /// Notes a message of somebody and gives his number, or [`NONE`].
    pub(crate) fn heard(&mut self, name: Option<&str>) -> u32 {
        let Some(name) = name.map(spoken).filter(|name| !name.is_empty()) else { return NONE };
        let known = self.by_name.get(&name).copied();
        let number = known.unwrap_or_else(|| {
            let number = u32::try_from(self.names.len()).unwrap_or(NONE);
            let first = name.split(' ').next().unwrap_or_default().to_owned();
            self.by_first.entry(first).or_default().push(number);
            self.by_name.insert(name.clone(), number);
            self.names.push(name);
            self.messages.push(0);
            number
        });
        if let Some(messages) = self.messages.get_mut(number as usize) {
            *messages += 1;
        }
        number
    }

    /// Takes a message back.
    pub(crate) fn unheard(&mut self, number: u32) {
        if let Some(messages) = self.messages.get_mut(number as usize) {
            *messages = messages.saturating_sub(1);
        }
    }

    /// The number of a full name as it is spoken.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The full name that words of a question mean: all of it, its first word, or when capitalised the beginning of it if
    /// nobody else's name begins so.
    pub(crate) fn meant(&self, words: &str, capital: bool) -> Option<String> {
        let name = |number: &u32| self.names.get(*number as usize).filter(|_| self.is_speaker(*number));
        if let Some(name) = self.by_name.get(words).and_then(name) {
            return Some(name.clone());
        }
        if words.contains(' ') {
            return None;
        }
        if let Some(numbers) = self.by_first.get(words) {
            let busiest = numbers.iter().max_by_key(|number| self.messages.get(**number as usize));
            return busiest.and_then(name).cloned();
        }
        let may_be_short = capital
            && words.chars().count() >= SHORT_FORM
            && self.names.len() <= FEW
            && !is_stop_word(words)
            && !is_time_word(words);
        let mut long = (0_u32..)
            .zip(&self.names)
            .filter(|(number, name)| may_be_short && self.is_speaker(*number) && name.starts_with(words));
        match (long.next(), long.next()) {
            (Some((_, name)), None) => Some(name.clone()),
            _ => None,
        }
    }

    fn is_speaker(&self, number: u32) -> bool {
        self.messages.get(number as usize).is_some_and(|messages| *messages >= HEARD)
    }

    /// Roughly the bytes it takes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.names.len() * 160
    }
}
