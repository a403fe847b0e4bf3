//! How a text is taken apart: words in lower case without accents, identifiers whole and in parts, pairs of characters where
//! a script writes no spaces. Every word is at most [`MAX_WORD_BYTES`] long and only the first [`MAX_CHARS`] of a text count,
//! so no text is expensive. Deliberately absent: dictionaries, and stemming of anything but English.

use rust_stemmers::{Algorithm, Stemmer};

use crate::stop_words::is_stop_word;

/// Longer words are cut out of the text: they are noise, or an attack.
pub(crate) const MAX_WORD_BYTES: usize = 64;
/// Characters of a text that are read.
pub(crate) const MAX_CHARS: usize = 500_000;
/// Words of a full-text query that are bound to a statement.
const MAX_QUERY_WORDS: usize = 64;

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word, or a part of an identifier.
    Word,
    /// An identifier, address, date or number with its punctuation; its parts come as words before it.
    Compound,
    /// Two neighbouring characters of a script without spaces, or a lonely one.
    Pair,
}

/// A piece of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    /// Lower case, without accents; an apostrophe inside is kept.
    pub(crate) text: &'a str,
    /// Bytes of the original it stands for.
    pub(crate) start: usize,
    /// One past the last byte.
    pub(crate) end: usize,
    /// What it is.
    pub(crate) kind: Kind,
}

/// Calls `take` with every piece of a text, in order.
pub(crate) fn pieces(text: &str, mut take: impl FnMut(Piece<'_>)) {
    let mut word = Run::default();
    let mut compound = Run::default();
    let mut parts = 0;
    let mut pair: Option<Pair> = None;
    let mut chars = text.char_indices().take(MAX_CHARS).peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|&(_, next)| next);
        let class = class(c);
        if class != Class::Unspaced
            && let Some(Pair { lonely: Some(first), start, end, .. }) = pair.take()
        {
            take(Piece { text: first.encode_utf8(&mut [0; 4]), start, end, kind: Kind::Pair });
        }
        match class {
            Class::Letter => {
                word.push(c, at);
                compound.push(c, at);
            }
            Class::Apostrophe if !word.is_empty() && next.is_some_and(|next| self::class(next) == Class::Letter) => {
                word.push('\'', at);
                compound.push('\'', at);
            }
            Class::Joint if !word.is_empty() && next.is_some_and(|next| self::class(next) == Class::Letter) => {
                word.flush(Kind::Word, &mut take);
                parts += 1;
                compound.push(c, at);
            }
            Class::Unspaced => {
                close(&mut word, &mut compound, &mut parts, &mut take);
                let end = at + c.len_utf8();
                let mut both = String::new();
                if let Some(before) = &pair {
                    both.extend([before.last, c]);
                    take(Piece { text: &both, start: before.start, end, kind: Kind::Pair });
                    pair = Some(Pair { last: c, lonely: None, start: at, end });
                } else {
                    pair = Some(Pair { last: c, lonely: Some(c), start: at, end });
                }
            }
            Class::Apostrophe | Class::Joint | Class::Gap => close(&mut word, &mut compound, &mut parts, &mut take),
        }
    }
    close(&mut word, &mut compound, &mut parts, &mut take);
    if let Some(Pair { lonely: Some(first), start, end, .. }) = pair {
        take(Piece { text: first.encode_utf8(&mut [0; 4]), start, end, kind: Kind::Pair });
    }
}

/// The last character of a script without spaces.
struct Pair {
    last: char,
    /// Set while it is part of no pair.
    lonely: Option<char>,
    start: usize,
    end: usize,
}

/// A word on its way.
#[derive(Default)]
struct Run {
    text: String,
    start: usize,
    end: usize,
    telling: bool,
}

impl Run {
    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn push(&mut self, c: char, at: usize) {
        if self.text.is_empty() {
            (self.start, self.telling) = (at, false);
        }
        self.end = at + c.len_utf8();
        if self.text.len() > MAX_WORD_BYTES {
            return; // too long already; it only has to stay too long
        }
        if c.is_ascii() {
            self.telling |= c.is_ascii_digit() || c == '_' || c == '@';
            self.text.push(c.to_ascii_lowercase());
        } else {
            self.text.extend(c.to_lowercase().filter(|c| !is_accent(*c)).map(without_accent));
        }
    }

    fn flush(&mut self, kind: Kind, take: &mut impl FnMut(Piece<'_>)) {
        if !self.text.is_empty() && self.text.len() <= MAX_WORD_BYTES {
            take(Piece { text: &self.text, start: self.start, end: self.end, kind });
        }
        self.text.clear();
    }
}

fn close(word: &mut Run, compound: &mut Run, parts: &mut usize, take: &mut impl FnMut(Piece<'_>)) {
    word.flush(Kind::Word, take);
    if *parts > 0 && compound.telling {
        compound.flush(Kind::Compound, take);
    }
    compound.text.clear();
    *parts = 0;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Unspaced,
    Apostrophe,
    Joint,
    Gap,
}

fn class(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => Class::Letter,
        '\'' | '\u{2019}' => Class::Apostrophe,
        '_' | '.' | '-' | '@' | '+' | ':' | '/' => Class::Joint,
        '\0'..='\u{7f}' => Class::Gap,
        // Thai to Myanmar, Khmer, kana, Han, Hangul: no spaces, or endings that hide the word.
        '\u{0e01}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17d3}' => Class::Unspaced,
        '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' => {
            Class::Unspaced
        }
        '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}' => {
            Class::Unspaced
        }
        // Marks that belong to the letter before them and that the standard library does not call alphabetic.
        '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0487}' | '\u{0591}'..='\u{05bd}' | '\u{0610}'..='\u{061a}' => {
            Class::Letter
        }
        '\u{064b}'..='\u{065f}' | '\u{0901}'..='\u{0963}' | '\u{0971}'..='\u{0df3}' | '\u{200c}' | '\u{200d}' => {
            Class::Letter
        }
        _ if c.is_alphanumeric() => Class::Letter,
        _ => Class::Gap,
    }
}

fn is_accent(c: char) -> bool {
    matches!(c, '\u{0300}'..='\u{036f}' | '\u{200c}' | '\u{200d}')
}

fn without_accent(c: char) -> char {
    match c {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => 'a',
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => 'c',
        'ď' | 'đ' => 'd',
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => 'e',
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => 'g',
        'ì' | 'í' | 'î' | 'ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => 'i',
        'ĺ' | 'ļ' | 'ľ' | 'ł' => 'l',
        'ñ' | 'ń' | 'ņ' | 'ň' => 'n',
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ŏ' | 'ő' => 'o',
        'ŕ' | 'ŗ' | 'ř' => 'r',
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => 's',
        'ţ' | 'ť' | 'ț' => 't',
        'ù' | 'ú' | 'û' | 'ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => 'u',
        'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        _ => c,
    }
}

/// The term that a piece is indexed under; none for a stop word.
pub(crate) fn term_of(stemmer: &Stemmer, piece: &Piece<'_>) -> Option<String> {
    if piece.kind != Kind::Word {
        return Some(piece.text.to_owned());
    }
    let word = piece.text;
    if is_stop_word(word) {
        return None;
    }
    let word = word.strip_suffix("'s").unwrap_or(word);
    if is_stop_word(word) {
        return None;
    }
    let word = if word.contains('\'') { word.replace('\'', "") } else { word.to_owned() };
    if word.is_empty() {
        return None;
    }
    if word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Some(stemmer.stem(&word).into_owned());
    }
    Some(word)
}

/// The English stemmer.
pub(crate) fn stemmer() -> Stemmer {
    Stemmer::create(Algorithm::English)
}

/// The terms of a text in order, repeated as often as they occur: stems of English words without stop words, words of other
/// languages in lower case without accents, numbers, identifiers and addresses whole and in parts, pairs of characters for
/// scripts without spaces. A term has at most 64 bytes; text beyond 500,000 characters does not count.
#[must_use]
pub fn terms(text: &str) -> Vec<String> {
    let stemmer = stemmer();
    let mut terms = Vec::new();
    pieces(text, |piece| terms.extend(term_of(&stemmer, &piece)));
    terms
}

/// What to bind to `to_tsquery('english', $n)` to look for any word of a text in PostgreSQL: the words that are no stop
/// words, else the first three words longer than two letters. None when there is nothing to look for. Every word is quoted,
/// so no text can break the query.
#[must_use]
pub fn or_query(text: &str) -> Option<String> {
    let stemmer = stemmer();
    let (mut telling, mut plain) = (Vec::<String>::new(), Vec::<String>::new());
    pieces(text, |piece| {
        let word = piece.text.trim_end_matches("'s").replace('\'', "");
        let quoted = match piece.kind {
            Kind::Word | Kind::Compound => format!("'{word}'"),
            Kind::Pair => format!("'{word}':*"),
        };
        if term_of(&stemmer, &piece).is_some() {
            if telling.len() < MAX_QUERY_WORDS && !telling.contains(&quoted) {
                telling.push(quoted);
            }
        } else if plain.len() < 3 && word.chars().count() > 2 && !plain.contains(&quoted) {
            plain.push(quoted);
        }
    });
    let words = if telling.is_empty() { plain } else { telling };
    (!words.is_empty()).then(|| words.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::{MAX_WORD_BYTES, or_query, terms};

    #[test]
    fn english_is_stemmed_and_stop_words_go() {
        assert_eq!(terms("When did Caroline's friends go hiking?"), ["carolin", "friend", "go", "hike"]);
        assert!(terms("What did you say to me the last time?").is_empty());
        assert_eq!(terms("I don’t like o'clock"), ["oclock"]);
    }

    #[test]
    fn identifiers_stay_whole_and_come_in_parts() {
        assert_eq!(terms("mail anna.b@example.com"), ["mail", "anna", "b", "exampl", "com", "anna.b@example.com"]);
        assert_eq!(
            terms("order_id 2024-05-07, v1.2."),
            ["order", "id", "order_id", "2024", "05", "07", "2024-05-07", "v1", "2", "v1.2"]
        );
        assert_eq!(terms("well-known and/or"), ["well", "known"]);
        assert_eq!(terms("...--- @@ ' _ ’"), Vec::<String>::new());
    }

    #[test]
    fn other_scripts_work() {
        assert_eq!(terms("東京に行く"), ["東京", "京に", "に行", "行く"]);
        assert_eq!(terms("犬 and 猫"), ["犬", "猫"]);
        assert_eq!(terms("Café MÜNCHEN cafe\u{301}"), ["cafe", "munchen", "cafe"]);
        assert_eq!(terms("Привет, мир"), ["привет", "мир"]);
        assert_eq!(terms("हिन्दी में"), ["हिन्दी", "में"]);
    }

    #[test]
    fn size_is_bounded() {
        assert!(terms(&"x".repeat(3_000)).is_empty());
        assert!(terms(&"é".repeat(3_000)).is_empty());
        assert_eq!(terms(&"ab ".repeat(400_000)).len(), 166_667);
        assert!(terms(&"a_1".repeat(900)).iter().all(|term| term.len() <= MAX_WORD_BYTES));
    }

    #[test]
    fn full_text_queries_are_quoted() {
        assert_eq!(or_query("the bike's & (red) | !'blue'").as_deref(), Some("'bike' | 'red' | 'blue'"));
        assert_eq!(or_query("what did you say").as_deref(), Some("'what' | 'did' | 'you'"));
        assert_eq!(or_query("?! i"), None);
    }
}
