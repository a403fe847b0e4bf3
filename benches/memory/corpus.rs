//! Made-up talk that is the same each time: sentences about a small world, and words whose n-th is about n times rarer
//! than the first, as in any language. Deliberately absent: meaning beyond a sentence.

use serde_json::{Value, json};

/// Words in the language.
const WORDS: u64 = 20_000;

const PEOPLE: &[&str] = &[
    "my sister",
    "my neighbour",
    "Ines",
    "Tomas",
    "the new colleague",
    "our landlord",
    "my father",
    "grandmother",
    "Priya",
    "the dentist",
    "a friend from school",
    "Jonas",
    "the children",
    "my boss",
    "Marek",
    "aunt Rosa",
    "the choir",
    "our team",
    "my flatmate",
    "the vet",
    "Leila",
    "the gardener",
    "my cousin",
    "the twins",
];
const DEEDS: &[&str] = &[
    "bought",
    "repaired",
    "lost",
    "found",
    "painted",
    "sold",
    "borrowed",
    "cooked",
    "photographed",
    "forgot",
    "cleaned",
    "planted",
    "carried",
    "described",
    "wrapped",
    "ordered",
    "drew",
    "returned",
    "hid",
    "polished",
    "measured",
    "recommended",
    "complained about",
    "dreamt of",
    "wrote a poem about",
    "took a course on",
];
const THINGS: &[&str] = &[
    "an old bicycle",
    "the piano",
    "a wooden boat",
    "apricot jam",
    "the winter coat",
    "a telescope",
    "the red kettle",
    "a beehive",
    "the tax papers",
    "a novel about whales",
    "the greenhouse",
    "a violin",
    "the camera",
    "two tickets",
    "a leather armchair",
    "the hearing aid",
    "a chess set",
    "the sourdough",
    "an aquarium",
    "the sewing machine",
    "a motorcycle",
    "the wedding ring",
    "a tent",
    "the vegetable garden",
    "a laptop",
    "the guitar",
    "a birthday cake",
    "the medicine",
    "a map of Lisbon",
    "the stamp collection",
    "a kayak",
    "the washing machine",
];
const PLACES: &[&str] = &[
    "in Lisbon",
    "at the market",
    "near the lake",
    "in the cellar",
    "at work",
    "in the hospital",
    "on the balcony",
    "at the library",
    "in the mountains",
    "on the train to Graz",
    "at the harbour",
    "in the old town",
    "behind the church",
    "at the airport",
    "in the school gym",
    "by the river",
    "at grandmother's house",
];
const TIMES: &[&str] = &[
    "yesterday",
    "last spring",
    "on Monday",
    "two years ago",
    "before the exam",
    "during the holidays",
    "this morning",
    "after the concert",
    "in October",
    "at midnight",
    "on her birthday",
    "when it snowed",
    "last weekend",
];
const REASONS: &[&str] = &[
    "because it was cheap",
    "and was proud of it",
    "although nobody asked",
    "to save money",
    "and cried a little",
    "since the doctor said so",
    "and wants to do it again",
    "for the wedding",
    "as a surprise",
    "out of boredom",
    "but regrets it now",
    "and nearly missed the bus",
    "to impress the neighbours",
    "with great patience",
];
const SYLLABLES: &[&str] = &[
    "ba", "cor", "del", "fen", "gri", "hal", "jun", "kel", "lor", "mas", "nim", "ost", "pra", "quil", "ren", "sol",
    "tam", "ulf", "ver", "wen", "yor", "zan",
];

/// A small generator of numbers that look random and are the same each time.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, with a deviation of 0.58.
    pub fn bell(&mut self) -> f32 {
        ((0..4).map(|_| self.share()).sum::<f64>() - 2.0) as f32
    }

    /// Below `most`.
    pub fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from.get(self.below(from.len())).copied().unwrap_or_default()
    }

    /// A word of the language; the n-th is about n times rarer than the first.
    pub fn word(&mut self) -> String {
        let rank = ((WORDS as f64).powf(self.share()) - 1.0) as u64;
        let base = SYLLABLES.len() as u64;
        let syllable = |digit: u64| SYLLABLES.get((digit % base) as usize).copied().unwrap_or_default();
        // Different for each rank: a number in the base of the syllables, with a mark for its length.
        match rank {
            rank if rank < base => format!("{}o", syllable(rank)),
            rank if rank < base * base => format!("{}{}a", syllable(rank), syllable(rank / base)),
            rank => format!("{}{}{}", syllable(rank), syllable(rank / base), syllable(rank / base / base)) + "e",
        }
    }

    /// Some words of the language.
    pub fn words(&mut self, count: usize) -> String {
        (0..count).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    /// Something that happened.
    pub fn sentence(&mut self) -> String {
        let (who, did, what) = (self.pick(PEOPLE), self.pick(DEEDS), self.pick(THINGS));
        match self.below(3) {
            0 => format!("{who} {did} {what} {} {}", self.pick(PLACES), self.pick(TIMES)),
            1 => format!("{} {who} {did} {what} {}", self.pick(TIMES), self.pick(REASONS)),
            _ => format!("{who} {did} {what} {} {}", self.pick(PLACES), self.pick(REASONS)),
        }
    }

    /// A question about something that may have happened.
    pub fn question(&mut self) -> String {
        let (who, what) = (self.pick(PEOPLE), self.pick(THINGS));
        match self.below(3) {
            0 => format!("What did {who} do with {what} {}?", self.pick(PLACES)),
            1 => format!("Do you remember when {who} talked about {what}? It was {}, I think.", self.pick(TIMES)),
            _ => format!("Why was it that {who} {} {what}?", self.pick(DEEDS)),
        }
    }

    /// What one says in a chat: a sentence and some words of its own.
    pub fn remark(&mut self) -> String {
        let own = 3 + self.below(8);
        format!("{}, {}", self.sentence(), self.words(own))
    }
}

/// Import records of a conversation of two, one message a minute up to `until` (seconds since 1970), a session an hour.
pub fn conversation(bot: &str, messages: usize, until: i64, dice: &mut Dice) -> Vec<Value> {
    (0..messages)
        .map(|n| {
            let at = until - 60 * (messages - n) as i64;
            let at = jiff::Timestamp::from_second(at).unwrap_or_default();
            let role = if n % 2 == 0 { "user" } else { "assistant" };
            json!({"kind": "message", "bot_id": bot, "role": role, "content": dice.remark(), "at": at.to_string(),
                "user_id": "ann", "session": format!("hour {}", n / 60), "id": format!("{bot}-{n}")})
        })
        .collect()
}

/// Import records of memories.
pub fn memories(bot: &str, count: usize, dice: &mut Dice) -> Vec<Value> {
    (0..count)
        .map(|n| {
            json!({"kind": "memory", "bot_id": bot, "content": format!("{}; {}", dice.sentence(), dice.words(4)),
                "tags": ["fact"], "importance": dice.share(), "user_id": "ann", "id": format!("{bot}-memory-{n}")})
        })
        .collect()
}
