//! English words that say nothing about a text: function words, and words that talk about talking ("remember", "said").
//! Sorted, so that looking one up is a binary search. Other languages have no list: their frequent words weigh little anyway.

/// Whether a lower-case word, with its apostrophe if it has one, is a stop word.
pub(crate) fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

#[rustfmt::skip]
const STOP_WORDS: &[&str] = &[
    "a", "about", "above", "after", "again", "against", "all", "also", "am", "an", "and", "any", "anything", "are",
    "aren't", "as", "at", "be", "because", "been", "before", "being", "below", "between", "both", "but", "by", "can",
    "can't", "cannot", "conversation", "could", "couldn't", "d", "did", "didn't", "discussed", "do", "does",
    "doesn't", "doing", "don't", "down", "during", "each", "earlier", "few", "for", "from", "further", "get", "gets",
    "got", "had", "hadn't", "has", "hasn't", "have", "haven't", "having", "he", "he'd", "he'll", "he's", "her",
    "here", "here's", "hers", "herself", "hey", "hi", "him", "himself", "his", "how", "how's", "i", "i'd", "i'll",
    "i'm", "i've", "if", "in", "into", "is", "isn't", "it", "it'll", "it's", "its", "itself", "just", "know", "last",
    "let", "let's", "like", "ll", "m", "me", "mention", "mentioned", "more", "most", "my", "myself", "no", "nor",
    "not", "of", "off", "oh", "ok", "okay", "on", "once", "only", "or", "other", "our", "ours", "ourselves", "out",
    "over", "own", "past", "please", "previous", "re", "really", "remember", "s", "said", "same", "say", "says",
    "shan't", "she", "she'd", "she'll", "she's", "should", "shouldn't", "so", "some", "something", "such", "t",
    "talk", "talked", "tell", "than", "that", "that's", "the", "their", "theirs", "them", "themselves", "then",
    "there", "there's", "these", "they", "they'd", "they'll", "they're", "they've", "think", "this", "those",
    "through", "time", "to", "told", "too", "under", "until", "up", "us", "ve", "very", "want", "wanted", "wants",
    "was", "wasn't", "we", "we'd", "we'll", "we're", "we've", "were", "weren't", "what", "what's", "when", "when's",
    "where", "where's", "which", "while", "who", "who's", "whom", "why", "why's", "will", "with", "won't", "would",
    "wouldn't", "yeah", "yep", "yes", "you", "you'd", "you'll", "you're", "you've", "your", "yours", "yourself",
    "yourselves",
];

#[cfg(test)]
mod tests {
    use super::{STOP_WORDS, is_stop_word};

    #[test]
    fn the_list_is_sorted() {
        assert!(STOP_WORDS.is_sorted());
        assert!(is_stop_word("don't") && is_stop_word("remember") && !is_stop_word("bicycle"));
    }
}
