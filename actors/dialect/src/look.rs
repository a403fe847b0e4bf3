//! What can be said about the beginning of a text of which more may come.

/// Invariant of every function that returns one: an answer other than `Maybe` does not change when the text grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look<T> {
    /// It is not what was looked for, whatever follows.
    No,
    /// It may still become it.
    Maybe,
    /// It is.
    Found(T),
}

impl<T> Look<T> {
    /// Another reading, if this one has not succeeded.
    pub(crate) fn or(self, other: impl FnOnce() -> Self) -> Self {
        match (self, other) {
            (Self::Found(found), _) => Self::Found(found),
            (Self::No, other) => other(),
            (Self::Maybe, other) => match other() {
                Self::No => Self::Maybe,
                decided => decided,
            },
        }
    }

    /// What follows from what was found.
    pub(crate) fn map<U>(self, make: impl FnOnce(T) -> U) -> Look<U> {
        match self {
            Self::No => Look::No,
            Self::Maybe => Look::Maybe,
            Self::Found(found) => Look::Found(make(found)),
        }
    }
}

/// Whether `text` begins with `word`, ignoring the case of ASCII letters.
pub(crate) fn word(text: &str, word: &str) -> Look<usize> {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    let shared = text.len().min(word.len());
    match text[..shared].eq_ignore_ascii_case(&word[..shared]) {
        false => Look::No,
        true if shared == word.len() => Look::Found(shared),
        true => Look::Maybe,
    }
}
